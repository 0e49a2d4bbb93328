"""The few lines of ASGI that the replica and the gateway share: a body with a limit, an answer, a caller who left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeVar

from bedplate_serving.problems import Problem

__all__ = [
    "App",
    "CallerLeft",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "header",
    "read_body",
    "refuse_encoded",
    "refuse_websocket",
    "send_answer",
    "send_start",
    "watch",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[str, str]]
T = TypeVar("T")


class CallerLeft(Exception):
    """The client closed the connection before it had its answer."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body; beyond the limit a 413, before the rest of it was read."""
    stated = header(scope, b"content-length")
    if stated is not None and stated.isdigit() and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> Problem:
    hint = "Send fewer items in each request, or score a file in batch."
    return Problem(413, "body-too-large", f"The body is larger than {max_bytes} bytes.", hint)


def refuse_encoded(scope: Scope) -> None:
    """Raises a Problem for a body that is packed: a small one may hold any number of bytes. Nothing here unpacks."""
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            plain = value.strip().lower() in (b"", b"identity")
        elif name == b"transfer-encoding":
            plain = value.strip().lower() == b"chunked"
        else:
            continue
        if not plain:
            detail = f"The body comes as {value[:100].decode('latin-1')!r}, which this server does not unpack."
            raise Problem(415, "unsupported-encoding", detail, "Send it as it is, without Content-Encoding.")


async def send_answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    await send_start(send, status, [*headers, ("content-length", str(len(body)))])
    await send({"type": "http.response.body", "body": body})


async def send_start(send: Send, status: int, headers: Headers) -> None:
    """The head of an answer whose body follows in pieces."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def refuse_websocket(scope: Scope, send: Send, status: int, body: bytes, headers: Headers) -> None:
    """An answer instead of the handshake."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "websocket.http.response.start", "status": status, "headers": pairs})
    await send({"type": "websocket.http.response.body", "body": body})


async def watch(work: Awaitable[T], receive: Receive) -> T:
    """Does `work`, and cancels it when the caller hangs up: nobody pays for an answer that nobody reads.

    Raises CallerLeft then. The work runs in the task that asks for it, since a task of its own costs each request more
    than all the checks before it.
    """
    task = asyncio.current_task()
    assert task is not None
    has_left = is_over = False

    def leave(_: object) -> None:
        nonlocal has_left
        if not is_over:
            has_left = task.cancel()

    gone = asyncio.ensure_future(receive())
    gone.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left:
            raise CallerLeft from None
        raise
    finally:
        is_over = True  # `leave` may be on its way already
        gone.cancel()
        if has_left:
            task.uncancel()
