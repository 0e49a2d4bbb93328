"""How requests are read, on every route: JSON as the standard has it, and no name that the route does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from bedplate_registry.errors import Refused, TooLarge, UnsupportedMedia, nearest

__all__ = ["JsonRoute"]

Handle = Callable[[Request], Coroutine[Any, Any, Response]]
NUL = "\x00"  # no text of PostgreSQL can hold it, and no name of a file
MOST_OPEN_BYTES = 4 << 10  # of a body that anybody may send
MOST_PARTS = 400_000  # of a body: the 76,000 files that one of 8 MiB can list are some 300,000
MARKS = (b",", b"[", b"{")  # whatever is in a body stands behind one of them
AT_ONCE_BYTES = 64 << 10  # what takes longer to parse than a trip to a thread


class _JsonRequest(Request):
    async def read_json(self, most_bytes: int | None) -> None:
        """Read the body, before FastAPI does. Raises TooLarge, and Refused where it is not JSON."""
        body = self._body = await self._read(most_bytes)
        if body:
            _check_parts(body)
            self._json = _parsed(body) if len(body) <= AT_ONCE_BYTES else await asyncio.to_thread(_parsed, body)

    async def _read(self, most_bytes: int | None) -> bytes:
        """Not to its end where that is beyond the limit."""
        body = bytearray()
        async for chunk in self.stream():
            body += chunk
            if most_bytes is not None and len(body) > most_bytes:
                raise TooLarge(f"A body has at most {most_bytes >> 10} KiB here.", code="body-too-large")
        return bytes(body)


class JsonRoute(APIRoute):
    """The class of all our routes."""

    def get_route_handler(self) -> Handle:
        handle = super().get_route_handler()
        asked = (self.dependant, *self.dependant.dependencies)  # a dependency may stand for some of the parameters
        known = {field.alias for one in asked for field in one.query_params}
        takes_json = self.body_field is not None
        most_bytes = MOST_OPEN_BYTES if (self.openapi_extra or {}).get("x-policy") == "open" else None

        async def checked(request: Request) -> Response:
            _check_address(request, known)
            read = _JsonRequest(request.scope, request.receive)
            if takes_json:
                _check_type(request)
                await read.read_json(most_bytes)
            return await handle(read)

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


def _check_parts(body: bytes) -> None:
    """Raises TooLarge for what would become a hundred times larger in memory. It counts in texts too, being quick."""
    if sum(body.count(mark) for mark in MARKS) > MOST_PARTS:
        hint = "Send files by PUT /api/v1/uploads/SHA256."
        raise TooLarge(f"A body has at most {MOST_PARTS} names and values here.", hint=hint, code="body-too-large")


def _parsed(body: bytes) -> Any:
    """Refuses NaN, lone surrogates and deep nesting, which Python's own parser takes."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Refused(f"The body is not JSON: {exc.msg}.", hint="Send one object.", code="bad-json") from None
    if rb"\u0000" in body and _holds_nul(found):
        raise Refused("The body is not JSON: a text holds a NUL character.", hint="Leave it out.", code="bad-json")
    return found


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return NUL in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_nul(item) for item in value)
