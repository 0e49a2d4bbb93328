"""The API's description: what FastAPI reads off the routes, and what all routes have in common.

Every operation gets a summary (the first sentence of its description), an example of every JSON body, the problem
document as its default answer with the codes that it may have, and, unless it is open, what it takes to call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from bedplate.api.problems import Problem
from bedplate.sessions import COOKIE

__all__ = ["describe"]

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/"
ABOUT = """One server for a team: import, evaluate, fine-tune and deploy models, and score with them.

Errors are problem documents (RFC 9457) with a stable `code`. Lists come in pages: give `next` as `after`. What is the
newest state is told by `ETag`; `If-None-Match` saves an answer, `If-Match` a change that somebody else made. Long work
is a job: it is answered with 202, and followed by events. Scoring is the gateway's: POST /endpoints/NAME.
"""
OF_FASTAPI = ("HTTPValidationError", "ValidationError")  # our errors look otherwise
OF_FASTAPI_TOO = "Successful Response"  # which says nothing
SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key: Authorization: Bearer bp_…"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "A browser that signed in."},
}
REQUEST_ID = {"X-Request-ID": {"description": "By which the logs name this call.", "schema": {"type": "string"}}}
ETAG = {"ETag": {"description": "Of this state.", "schema": {"type": "string"}}}


def describe(app: FastAPI) -> Json:
    """The description of all routes, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in OF_FASTAPI:
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        for schema in schemas.values():
            if "examples" in schema:
                schema["examples"] = [_with_nulls(example, schema, schemas) for example in schema["examples"]]
        document["components"]["securitySchemes"] = SECURITY
        for path, method, operation in operations(document):
            _complete(operation, schemas, path, method)
        app.openapi_schema = document
    return app.openapi_schema


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Json]]:
    """(path, method in capitals, operation) of each."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _complete(operation: Json, schemas: Json, path: str, method: str) -> None:
    text = " ".join(operation.get("description", "").split())
    operation["summary"] = text.partition(". ")[0].rstrip(".") or operation["summary"]
    if operation["x-policy"] != "open":
        operation["security"] = [{name: []} for name in SECURITY]
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, response in responses.items():
        if response["description"] == OF_FASTAPI_TOO:
            response["description"] = _outcome(response, int(status), schemas)
    for media in _json_media(operation):
        _exemplify(media, schemas)
    headers = {part["name"].lower() for part in operation.get("parameters", ()) if part["in"] == "header"}
    if "if-none-match" in headers:
        responses["200"]["headers"] = ETAG
        responses["304"] = {"description": "The caller has the newest state.", "headers": ETAG}
    more = responses.get("default", {}).get("x-codes", ())
    responses["default"] = _refusals([*_codes(operation, headers, path, method), *more])


def _codes(operation: Json, headers: set[str], path: str, method: str) -> Iterator[str]:
    """The codes of errors that are no route's own."""
    yield "unavailable"
    if operation["x-policy"] != "open":
        yield from ("unauthorized", "forbidden")
        if method != "GET":
            yield "csrf-failed"
    if "{" in path:
        yield "not-found"
    if any(part["in"] == "query" for part in operation.get("parameters", ())):
        yield from ("bad-request", "unknown-parameter")
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        yield from ("bad-json", "bad-request", "missing-setting", "unknown-setting")
        yield from ("unsupported-media-type", "body-too-large")
    if "if-match" in headers:
        yield "changed"


def _outcome(response: Json, status: int, schemas: Json) -> str:
    """What an answer is: what its schema says, or the name of its status."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return str(_resolved(schema, schemas).get("description") or HTTPStatus(status).phrase)


def _refusals(codes: list[str]) -> Json:
    known = sorted(set(codes))
    return {
        "description": f"Refused. Codes: {', '.join(known)}.",
        "x-codes": known,
        "headers": REQUEST_ID,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": f"{SCHEMAS}Problem"},
                "example": Problem.model_config["json_schema_extra"]["examples"][0],  # type: ignore[index]
            }
        },
    }


def _json_media(operation: Json) -> Iterator[Json]:
    """Every JSON body that an operation takes or gives."""
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        media = body.get("content", {}).get("application/json")
        if media is not None:
            yield media


def _exemplify(media: Json, schemas: Json) -> None:
    """Give a body its example; where it is one of several kinds, one of each, and how they are told apart."""
    options = media.get("schema", {}).get("oneOf", ())
    if not options:
        if not {"example", "examples"} & media.keys():
            media["example"] = example_of(media.get("schema", {}), schemas)
        return
    refs = [{"$ref": _named(option, schemas)} for option in options]
    kinds = [_resolved(ref, schemas)["properties"]["kind"]["const"] for ref in refs]
    mapping = {kind: ref["$ref"] for kind, ref in zip(kinds, refs, strict=True)}
    media["examples"] = {kind: {"value": example_of({"$ref": ref}, schemas)} for kind, ref in mapping.items()}
    media["schema"] = {"oneOf": refs, "discriminator": {"propertyName": "kind", "mapping": mapping}}


def _named(schema: Json, schemas: Json) -> str:
    """The reference to a schema, which is put among the others if it stands here as a whole."""
    if "$ref" in schema:
        return str(schema["$ref"])
    name = schema.get("title") or f"{schema['properties']['kind']['const'].title()}Request"
    schemas[name] = schema
    return f"{SCHEMAS}{name}"


def _with_nulls(example: Any, schema: Json, schemas: Json) -> Any:
    """An example with the nulls that are in it, which FastAPI leaves out, in the order of the schema."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        return _with_nulls(example, schema["anyOf"][0], schemas)
    if isinstance(example, list):
        return [_with_nulls(item, schema.get("items", {}), schemas) for item in example]
    parts = schema.get("properties")
    if not isinstance(example, dict) or parts is None:
        return example
    shown = {name: _with_nulls(value, parts.get(name, {}), schemas) for name, value in example.items()}
    shown |= {name: None for name in schema.get("required", ()) if name not in shown}
    return {name: shown.pop(name) for name in parts if name in shown} | shown


def example_of(schema: Json, schemas: Json) -> Any:
    """The first example of a schema, or one put together from those of its parts."""
    schema = _resolved(schema, schemas)
    if "examples" in schema:
        return schema["examples"][0]
    for name in ("example", "const", "default"):
        if name in schema:
            return schema[name]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas)
    if "properties" in schema:
        return {name: example_of(part, schemas) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    return {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "object": {}}.get(schema.get("type", ""))


def _resolved(schema: Json, schemas: Json) -> Json:
    ref = schema.get("$ref")
    found: Json = schema if ref is None else schemas[ref.removeprefix(SCHEMAS)]
    return found
