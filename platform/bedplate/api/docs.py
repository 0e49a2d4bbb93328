"""/openapi.json, and /docs: the same as a page for people. It runs no script and fetches nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from bedplate.api.access import Routes
from bedplate.api.bodies import json_answer
from bedplate.api.openapi import describe, example_of, operations
from bedplate.api.pages import HEADERS

__all__ = ["routes"]

routes = Routes("", "about")

CODE = re.compile(r"`([^`]+)`")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>REST · Bedplate</title><link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/pages.css"><link rel="stylesheet" href="/static/docs.css"></head>
<body><header class="bar">
<a class="brand" href="/"><img src="/static/icon.svg" width="28" height="28" alt="">Bedplate</a>
<span><a href="/openapi.json">openapi.json</a> <a href="/account">Account</a></span></header>
<div class="reference"><nav aria-label="Resources"><ul>{links}</ul></nav>
<main><h1>REST</h1><p>{about}</p>{body}</main></div></body></html>
"""


@routes.route("GET", "/openapi.json", "open", include_in_schema=False)
def openapi(request: Request) -> Response:
    """The description of this API, for programs."""
    return json_answer(describe(request.app))


@routes.route("GET", "/docs", "open", include_in_schema=False)
@routes.route("GET", "/", "open", include_in_schema=False)
def docs(request: Request) -> Response:
    """The description of this API, for people."""
    document = describe(request.app)
    found = sorted(operations(document), key=lambda one: one[2]["tags"][0])
    sections = [(tag, list(group)) for tag, group in groupby(found, key=lambda one: one[2]["tags"][0])]
    links = "".join(f'<li><a href="#{_id(tag)}">{escape(tag)}</a></li>' for tag, _ in sections)
    body = "".join("".join(_section(tag, group, document)) for tag, group in sections)
    about = _prose(document["info"]["description"])
    return HTMLResponse(PAGE.format(links=links, about=about, body=body), headers=HEADERS)


def _section(tag: str, found: list[tuple[str, str, Any]], document: Any) -> Iterator[str]:
    yield f'<h2 id="{_id(tag)}">{escape(tag)}</h2>'
    for path, method, operation in found:
        yield f"<details><summary><b class={method.lower()}>{method}</b> <code>{escape(path)}</code>"
        yield f" <span>{_prose(operation['summary'])}</span></summary>"
        yield f"<p>{_prose(operation.get('description', ''))}</p>"
        yield f"<p>Needs <code>{escape(operation['x-policy'])}</code></p>"
        yield from _parameters(operation)
        yield from _bodies("Body", {"": operation.get("requestBody", {})}, document)
        yield from _bodies("Answer", operation["responses"], document)
        yield "</details>"


def _parameters(operation: Any) -> Iterator[str]:
    rows = [(part["name"], part["in"], part.get("description", "")) for part in operation.get("parameters", ())]
    if rows:
        cells = ("".join(f"<td>{_prose(text)}</td>" for text in row) for row in rows)
        yield f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _bodies(title: str, bodies: dict[str, Any], document: Any) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for status, body in bodies.items():
        if body.get("description") or body.get("content"):
            yield f"<h3>{title} {escape(status)}</h3><p>{_prose(body.get('description', ''))}</p>"
        for kind, media in body.get("content", {}).items() if status != "default" else ():
            examples = [one["value"] for one in media.get("examples", {}).values()] or [
                media["example"] if "example" in media else example_of(media.get("schema", {}), schemas)
            ]
            for example in examples:
                text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
                yield f"<p>{escape(kind)}</p><pre>{escape(text)}</pre>"


def _prose(text: str) -> str:
    """A description as HTML: its paragraphs, and what stands in `backticks`."""
    return CODE.sub(r"<code>\1</code>", escape(text)).replace("\n\n", "</p><p>")


def _id(tag: str) -> str:
    return tag.replace(" ", "-")
