"""Everything that is not scoring goes to the control plane's socket, bytes as they come: HTTP, streams, websockets.

The control plane may be restarting: a connection is tried for ten seconds before the caller is told to come back. Once
a request was sent, only GET and HEAD are sent again; anything else may have been done already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
from yarl import URL

from bedplate_serving.asgi import CallerLeft, Message, Receive, Scope, Send, refuse_websocket, watch
from bedplate_serving.handover import FORWARDED, named_file, send_file
from bedplate_serving.peer import client_of, scheme_of
from bedplate_serving.problems import Problem
from bedplate_serving.upstream import forwarded_headers, open_session, returned_headers

__all__ = ["ControlProxy"]

CONNECT_SECONDS = 10.0
RETRY_SECONDS = 0.05
OURS = (FORWARDED, b"x-bedplate-client", b"x-bedplate-scheme", b"x-request-id")
HANDSHAKE = tuple(f"sec-websocket-{name}".encode() for name in ("key", "version", "extensions", "protocol", "accept"))
T = TypeVar("T")


class ControlProxy:
    """One client of the control plane."""

    def __init__(self, socket: Path, *, behind_proxy: bool = False) -> None:
        self._behind_proxy = behind_proxy
        # Shorter than uvicorn keeps an idle connection (5 s), so that no request meets one just closed.
        self._session = open_session(str(socket), keep_alive_seconds=2)

    async def close(self) -> None:
        await self._session.close()

    async def http(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        body = _Body(receive)
        if not _has_body(scope):
            await body.drain()
        await watch(self._pass(scope, body, send, request_id), body.gone)

    async def _pass(self, scope: Scope, body: _Body, send: Send, request_id: str) -> None:
        async with await self._patiently(lambda: self._request(scope, body, request_id), scope, body) as response:
            headers = returned_headers(response.raw_headers)
            path = named_file(headers)
            if not any(key == b"x-request-id" for key, _ in headers):
                headers.append((b"x-request-id", request_id.encode("latin-1")))
            if path is not None:
                await send_file(path, response.status, headers, send)
                return
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _request(self, scope: Scope, body: _Body, request_id: str) -> aiohttp.ClientResponse:
        return await self._session.request(
            scope["method"],
            _url(scope),
            headers=self._headers(scope, request_id),
            data=body.chunks() if not body.is_read else None,
            allow_redirects=False,
        )

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], scope: Scope, body: _Body | None = None) -> T:
        """`attempt`, again while nobody listens, and again after a cut-off answer where that is harmless."""
        deadline = time.monotonic() + CONNECT_SECONDS
        may_repeat = scope.get("method") in ("GET", "HEAD") and body is not None and body.is_read
        while True:
            try:
                return await attempt()
            except aiohttp.ClientConnectorError as error:
                if body is not None and body.is_spent:  # the second attempt would send the rest as if it were the whole
                    raise _restarting("stopped during this request") from error
                if time.monotonic() > deadline:
                    raise _restarting("does not answer") from error
            except aiohttp.ClientConnectionError as error:
                if body is not None and body.caller_left:
                    raise CallerLeft from error
                if not may_repeat or time.monotonic() > deadline:
                    raise _restarting("stopped during this request") from error
            await asyncio.sleep(RETRY_SECONDS)

    def _headers(self, scope: Scope, request_id: str, drop: tuple[bytes, ...] = ()) -> list[tuple[str, str]]:
        """What a client sent under our own names is dropped: the control plane trusts these."""
        return [
            *forwarded_headers(scope["headers"], frozenset(OURS + drop)),
            ("x-bedplate-forwarded", "gateway"),
            ("x-bedplate-client", client_of(scope, behind_proxy=self._behind_proxy)),
            ("x-bedplate-scheme", scheme_of(scope, behind_proxy=self._behind_proxy)),
            ("x-request-id", request_id),
        ]

    # --- websockets

    async def websocket(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """Raises a Problem before the handshake where the control plane does not answer."""
        await receive()
        try:
            upstream = await self._patiently(lambda: self._connect(scope, request_id), scope)
        except aiohttp.WSServerHandshakeError as error:
            await refuse_websocket(scope, send, error.status, b"", [("x-request-id", request_id)])
            return
        async with upstream:
            await send({"type": "websocket.accept", "subprotocol": upstream.protocol})
            await _both_ways(upstream, receive, send)

    async def _connect(self, scope: Scope, request_id: str) -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(
            _url(scope),
            protocols=scope["subprotocols"],
            headers=self._headers(scope, request_id, HANDSHAKE),
            max_msg_size=0,
        )


class _Body:
    """A request's body as it comes in, and the news that its sender has gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = asyncio.Event()
        self.caller_left = False
        self.is_spent = False  # whether any of it was handed on: it cannot be had again

    @property
    def is_read(self) -> bool:
        return self._read.is_set()

    async def chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.caller_left = True
                raise CallerLeft
            if message.get("body"):
                self.is_spent = True
                yield message["body"]
            more = message.get("more_body", False)
        self._read.set()

    async def drain(self) -> None:
        async for _ in self.chunks():
            pass

    async def gone(self) -> Message:
        await self._read.wait()
        return await self._receive()


async def _both_ways(upstream: aiohttp.ClientWebSocketResponse, receive: Receive, send: Send) -> None:
    tasks = {asyncio.ensure_future(_upward(upstream, receive)), asyncio.ensure_future(_downward(upstream, send))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _upward(upstream: aiohttp.ClientWebSocketResponse, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            await upstream.close(code=message.get("code") or 1000)
            return
        if message.get("text") is not None:
            await upstream.send_str(message["text"])
        else:
            await upstream.send_bytes(message["bytes"])


async def _downward(upstream: aiohttp.ClientWebSocketResponse, send: Send) -> None:
    async for message in upstream:
        if message.type is aiohttp.WSMsgType.TEXT:
            await _tell(send, {"type": "websocket.send", "text": message.data})
        elif message.type is aiohttp.WSMsgType.BINARY:
            await _tell(send, {"type": "websocket.send", "bytes": message.data})
    code = upstream.close_code
    # 1006 means that the connection broke; on the wire only 1012, "service restart", may say so.
    await _tell(send, {"type": "websocket.close", "code": 1012 if code in (None, 1006) else code})


async def _tell(send: Send, message: Message) -> None:
    """An OSError is how a server of ASGI says that the client has gone, as with each page that is left."""
    try:
        await send(message)
    except OSError as error:
        raise CallerLeft from error


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _url(scope: Scope) -> URL:
    """The target as it came, escapes and all: it is not ours to read."""
    query = "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
    return URL(f"http://control{scope['raw_path'].decode('latin-1')}{query}", encoded=True)


def _restarting(what: str) -> Problem:
    hint = "It may be restarting; scoring goes on meanwhile."
    return Problem(503, "control-unavailable", f"The control plane {what}.", hint, retry_after_seconds=2)
