"""A stand-in for the control plane: a small ASGI app in a process of its own, on a Unix socket.

python control_app.py SOCKET
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvicorn


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await _echo_websocket(scope, receive, send)
    elif scope["type"] == "http":
        routes = {"/events": _events, "/sink": _sink, "/slow": _slow}
        await routes.get(scope["path"], _echo)(scope, receive, send)


async def _read(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """What arrived, as JSON; the response carries a cookie twice and a header of this connection."""
    body = await _read(receive)
    seen = {
        "pid": os.getpid(),
        "method": scope["method"],
        "raw_path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": [[key.decode(), value.decode()] for key, value in scope["headers"]],
        "body": body.decode(),
    }
    headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


async def _events(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Server-sent events, one each 50 ms, until the caller leaves."""
    await _read(receive)
    gone = asyncio.ensure_future(receive())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    number = 0
    while not gone.done():
        number += 1
        await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
        await asyncio.sleep(0.05)
    print("caller left the events", flush=True)


async def _sink(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Counts a body of any size without keeping it."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def _slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await _read(receive)
    await asyncio.sleep(30)


async def _echo_websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] == "/forbidden":
        await send({"type": "websocket.close", "code": 1008})
        return
    protocol = scope["subprotocols"][0] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": protocol})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            print("websocket closed", message.get("code"), flush=True)
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001})
            return
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


if __name__ == "__main__":
    uvicorn.run(app, uds=sys.argv[1], log_level="warning", lifespan="off")
