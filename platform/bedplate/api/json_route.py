"""How requests are read, on every route: JSON as the standard has it, and no name that the route does not know."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from bedplate_registry.errors import Refused, UnsupportedMedia, nearest

__all__ = ["JsonRoute"]

Handle = Callable[[Request], Coroutine[Any, Any, Response]]
NUL = "\x00"  # no text of PostgreSQL can hold it, and no name of a file


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Refuses NaN, lone surrogates and deep nesting, which Python's own parser takes."""
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = orjson.loads(body)
            if rb"\u0000" in body and _holds_nul(self._json):
                raise json.JSONDecodeError("a text holds a NUL character", "", 0)
        return self._json


class JsonRoute(APIRoute):
    """The class of all our routes."""

    def get_route_handler(self) -> Handle:
        handle = super().get_route_handler()
        known = {field.alias for field in self.dependant.query_params}  # what routes depend on takes none
        takes_json = self.body_field is not None

        async def checked(request: Request) -> Response:
            _check_address(request, known)
            if takes_json:
                _check_type(request)
            return await handle(_JsonRequest(request.scope, request.receive))

        return checked


def _check_address(request: Request, known: set[str]) -> None:
    if NUL in request.url.path or any(NUL in name + value for name, value in request.query_params.multi_items()):
        raise Refused("The address holds a NUL character.", hint="Leave it out.", code="bad-request")
    for name in request.query_params:
        if name not in known:
            hint = nearest(name, known) if known else "This call takes none."
            raise Refused(f"There is no query parameter {name[:80]!r} here.", hint=hint, code="unknown-parameter")


def _check_type(request: Request) -> None:
    headers = request.headers
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    if has_body and given != "application/json" and not given.endswith("+json"):
        raise UnsupportedMedia(
            f"The body is {given[:80] or 'of no stated type'!r}, not JSON.", hint="Send Content-Type: application/json."
        )


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return NUL in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_nul(item) for item in value)
