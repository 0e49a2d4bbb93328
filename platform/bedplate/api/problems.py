"""Errors as RFC 9457 problem documents: a stable `code`, what happened, what to do next; no path, no traceback."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from bedplate.api.access import Unauthorized
from bedplate_registry.errors import BedplateError, Conflict, Forbidden, NotFound, Refused, Unavailable

__all__ = ["STATUS", "add_problem_handlers", "problem"]

log = logging.getLogger(__name__)

# The most particular class first.
STATUS: tuple[tuple[type[BedplateError], int, str], ...] = (
    (Unauthorized, 401, "Unauthorized"),
    (Forbidden, 403, "Forbidden"),
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (Refused, 422, "Refused"),
    (Unavailable, 503, "Unavailable"),
    (BedplateError, 500, "Failed"),
)


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


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(BedplateError)
    async def _ours(request: Request, exc: BedplateError) -> JSONResponse:
        status, title = next((status, title) for kind, status, title in STATUS if isinstance(exc, kind))
        return problem(status, title, exc.code, exc.message, exc.hint)

    @app.exception_handler(RequestValidationError)
    async def _malformed(request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(422, "Refused", "bad-request", f"{where}: {first['msg']}.", "See /openapi.json.")

    @app.exception_handler(HTTPException)
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        return problem(
            exc.status_code, str(exc.detail), "not-found" if exc.status_code == 404 else "http", str(exc.detail)
        )

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, exc: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=exc)
        return problem(500, "Failed", "internal", "The server met an error it did not expect.", "Its log says more.")
