"""/openapi.json, and /docs: the same as a page for people. It runs no script and fetches nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from bedplate.api.access import Routes
from bedplate.api.bodies import json_answer
from bedplate.api.field_table import fields
from bedplate.api.openapi import describe, example_of, operations
from bedplate.api.pages import HEADERS

__all__ = ["routes"]

routes = Routes("", "about")

SENTENCE = re.compile(r"\.\s+")
CODE = re.compile(r"`([^`]+)`")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>REST · Bedplate</title><link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/pages.css"><link rel="stylesheet" href="/static/docs.css"></head>
<body><header class="bar">
<a class="brand" href="/"><img src="/static/icon.svg" width="28" height="28" alt="">Bedplate</a>
<span><a href="/openapi.json">openapi.json</a> <a href="/account">Account</a></span></header>
<div class="reference"><nav aria-label="Resources"><ul>{links}</ul></nav>
<main><h1>REST</h1><p>{about}</p>{scoring}{body}</main></div></body></html>
"""


SCORED = (  # what is asked for, its path, and the body that is sent
    ("The dialect of Hugging Face: a text or a list of texts.", "", '{"inputs": "my card is lost"}'),
    ("Azure ML, the newer form.", "/score", '{"input_data": ["my card is lost"], "params": {}}'),
    ("Azure ML, the older form.", "/score", '{"inputs": {"input_string": ["my card is lost"]}, "parameters": {}}'),
    ("Whether the model answers.", "/health", None),
    ("What is served, and how busy it is.", "/info", None),
)


@routes.route("GET", "/openapi.json", "open", include_in_schema=False)
def openapi(request: Request) -> Response:
    """The description of this API, for programs."""
    return json_answer(describe(request.app))


@routes.route("GET", "/docs", "open", include_in_schema=False)
def docs(request: Request) -> Response:
    """The description of this API, for people."""
    document = describe(request.app)
    found = sorted(operations(document), key=lambda one: one[2]["tags"][0])
    sections = [(tag, list(group)) for tag, group in groupby(found, key=lambda one: one[2]["tags"][0])]
    links = '<li><a href="#scoring">scoring</a></li>' + "".join(
        f'<li><a href="#{_id(tag)}">{escape(tag)}</a></li>' for tag, _ in sections
    )
    body = "".join("".join(_section(tag, group, document)) for tag, group in sections)
    about = _prose(document["info"]["description"])
    return HTMLResponse(PAGE.format(links=links, about=about, scoring="".join(_scoring()), body=body), headers=HEADERS)


def _scoring() -> Iterator[str]:
    """How an endpoint is called, which OpenAPI does not describe: the gateway answers that, not this server."""
    yield '<h2 id="scoring">scoring</h2><p>With the key of the endpoint, or one with the scope <code>infer</code>:</p>'
    for what, path, body in SCORED:
        sent = "" if body is None else f" \\\n  -H 'Content-Type: application/json' -d '{body}'"
        line = f'curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8686/endpoints/support{path}{sent}'
        yield f"<p>{escape(what)}</p><pre>{escape(line)}</pre>"


def _section(tag: str, found: list[tuple[str, str, Any]], document: Any) -> Iterator[str]:
    yield f'<h2 id="{_id(tag)}">{escape(tag)}</h2>'
    for path, method, operation in found:
        yield f"<details><summary><b class={method.lower()}>{method}</b> <code>{escape(path)}</code>"
        yield f" <span>{_prose(operation['summary'])}</span></summary>"
        more = SENTENCE.split(operation.get("description", ""), maxsplit=1)[1:]  # the first one is the summary
        yield from (f"<p>{_prose(text)}</p>" for text in more)
        policy = operation["x-policy"]
        yield "<p>Open to everybody.</p>" if policy == "open" else f"<p>Needs <code>{escape(policy)}</code>.</p>"
        yield from _parameters(operation)
        yield from _bodies("Body", {"": operation.get("requestBody", {})}, document)
        yield from _bodies("Answer", operation["responses"], document)
        yield "</details>"


def _parameters(operation: Any) -> Iterator[str]:
    rows = [(part["name"], part["in"], part.get("description", "")) for part in operation.get("parameters", ())]
    if rows:
        yield "<h3>Parameters</h3>"
        yield _table(("Name", "In", "Description"), rows)


def _bodies(title: str, bodies: dict[str, Any], document: Any) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for status, body in bodies.items():
        if body.get("description") or body.get("content"):
            yield f"<h3>{title} {escape(status)}</h3><p>{_prose(body.get('description', ''))}</p>"
        for kind, media in body.get("content", {}).items() if status != "default" else ():
            schema = media.get("schema", {})
            for option, example in zip(schema.get("oneOf", [schema]), _examples(media, schemas), strict=True):
                text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
                rows = [field if title == "Body" else field._replace(need="") for field in fields(option, schemas)]
                shown = (
                    _table(("Field", "Type", "Needed" if title == "Body" else "", "Range", "Description"), rows)
                    if rows
                    else ""
                )
                yield f'<p class="hint">{escape(kind)}</p><div class="body"><pre>{escape(text)}</pre>{shown}</div>'


def _examples(media: Any, schemas: Any) -> list[Any]:
    """One of each kind that a body can be of."""
    several = [one["value"] for one in media.get("examples", {}).values()]
    return several or [media["example"] if "example" in media else example_of(media.get("schema", {}), schemas)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = (
        f"<td><code>{escape(row[0])}</code></td>" + "".join(f"<td>{_prose(text)}</td>" for text in row[1:])
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _prose(text: str) -> str:
    """A description as HTML: its paragraphs, and what stands in `backticks`."""
    return CODE.sub(r"<code>\1</code>", escape(text)).replace("\n\n", "</p><p>")


def _id(tag: str) -> str:
    return tag.replace(" ", "-")
