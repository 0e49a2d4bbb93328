"""Errors as RFC 9457 problem documents: a stable `code`, what happened, what to do next; no path, no traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from bedplate.api.access import Unauthorized
from bedplate_registry.errors import (
    BedplateError,
    Changed,
    Conflict,
    Forbidden,
    NoRoom,
    NotFound,
    Refused,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)

__all__ = ["Problem", "add_problem_handlers", "codes", "problem", "problem_of"]

log = logging.getLogger(__name__)

# The most particular class first.
STATUS: tuple[tuple[type[BedplateError], int, str], ...] = (
    (Unauthorized, 401, "Unauthorized"),
    (Forbidden, 403, "Forbidden"),
    (NotFound, 404, "Not found"),
    (Changed, 412, "Changed"),
    (Conflict, 409, "Conflict"),
    (TooLarge, 413, "Too large"),
    (UnsupportedMedia, 415, "Unsupported media type"),
    (Refused, 422, "Refused"),
    (NoRoom, 507, "No room"),
    (Unavailable, 503, "Unavailable"),
    (BedplateError, 500, "Failed"),
)
HTTP_CODES = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}
LEFT = 499  # as a status: the caller hung up, and nobody reads the answer
ROUTES = "What there is stands at /docs, for programs at /openapi.json."
SHOWN = 80  # characters of a value that is refused


class Problem(BaseModel):
    """Why a call was refused (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not found",
                    "status": 404,
                    "code": "not-found",
                    "detail": "There is no job 'finetune-1a2b3c4d'.",
                    "hint": "List them with: bedplate jobs list",
                    "request_id": "6f1e0d9c8b7a4f5e9d8c7b6a5f4e3d2c",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    code: Annotated[str, Field(description="Stable: programs go by it.")]
    detail: Annotated[str, Field(description="What happened, and which value.")]
    hint: Annotated[str, Field(description="What to do next; may be empty.")]
    request_id: Annotated[str | None, Field(description="By which the logs name this call.")] = None


def codes(*names: str) -> dict[int | str, dict[str, Any]]:
    """The codes that a route's errors may have besides those of every route, for `responses`."""
    return {"default": {"description": "Refused", "x-codes": list(names)}}


def problem(status: int, title: str, code: str, detail: str, hint: str = "", **more: Any) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        **more,
    }
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = "1"
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def problem_of(error: BedplateError, scope: Mapping[str, Any]) -> JSONResponse:
    """The answer that tells of one of our own errors, in the request of that scope."""
    status, title = next((status, title) for kind, status, title in STATUS if isinstance(error, kind))
    return problem(status, title, error.code, error.message, error.hint, **_request_id(scope))


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(BedplateError)
    async def _ours(request: Request, exc: BedplateError) -> JSONResponse:
        return problem_of(exc, request.scope)

    @app.exception_handler(RequestValidationError)
    async def _malformed(request: Request, exc: RequestValidationError) -> JSONResponse:
        return problem_of(_refusal(exc.errors()[0]), request.scope)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        code = HTTP_CODES.get(exc.status_code, "http")
        hint = ROUTES if exc.status_code in (404, 405) else ""
        answer = problem(exc.status_code, str(exc.detail), code, str(exc.detail), hint, **_request_id(request.scope))
        answer.headers.update(exc.headers or {})  # Allow, with 405
        return answer

    @app.exception_handler(ClientDisconnect)
    async def _left(request: Request, exc: ClientDisconnect) -> Response:
        return Response(status_code=LEFT)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, exc: Exception) -> JSONResponse:
        route = getattr(request.scope.get("route"), "path", "a path of no route")  # a path may hold what is secret
        log.error("%s %s failed", request.method, route, exc_info=exc, extra=_request_id(request.scope))
        detail = "The server met an error it did not expect."
        return problem(500, "Failed", "internal", detail, "Its log says more.", **_request_id(request.scope))


def _request_id(scope: Mapping[str, Any]) -> dict[str, str]:
    request_id = scope.get("state", {}).get("request_id")
    return {} if request_id is None else {"request_id": request_id}


def _refusal(error: Mapping[str, Any]) -> Refused:
    """What the first thing that is wrong with a request is, in our words."""
    place, *path = error["loc"]
    if not path:
        return Refused("The body is not an object.", hint='Send JSON, as in {"name": "value"}.', code="bad-request")
    name = ".".join(str(part) for part in path)
    if error["type"] == "missing":
        if place != "body":
            return Refused(f"The {place} parameter {name!r} is missing.", hint=f"Give {name}.", code="bad-request")
        return Refused(f"{name} is missing.", hint=f"Give {name}.", code="missing-setting")
    given = error["input"]
    shown = ascii(given[: SHOWN + 1] if isinstance(given, str) else given)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    why = str(error["msg"])
    return Refused(f"{name}={shown} is not accepted.", hint=f"{why}.", code="bad-request")
