"""Who asks for a stream and does not read it keeps neither the model nor the memory of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web
from uvicorn.server import ServerState

from bedplate_serving import replica, scoring
from bedplate_serving.asgi import CallerLeft, Receive, Scope, Send, read_body, watch
from bedplate_serving.exchange import Exchange
from bedplate_serving.header_limit import LimitedHttpProtocol
from bedplate_serving.scoring_paths import ScoringPath
from bedplate_serving.upstream import Pool


async def stuck(message: Any) -> None:
    """As a server's `send` when the caller's window is full: the head goes out, the body waits."""
    if message["type"] == "http.response.body":
        await asyncio.Event().wait()


def test_a_replica_ends_a_stream_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "SEND_SECONDS", 0.05)
    has_ended = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal has_ended
        try:
            while True:
                yield b"data: {}\n\n"
        finally:
            has_ended = True

    spec = replica.ReplicaSpec(Path("s"), Path("m"), "a/b:1", "text-generation", "blue", "m")
    served = replica.Replica(spec, lambda: None)
    asyncio.run(asyncio.wait_for(served._stream(stuck, chunks(), []), 10))
    assert has_ended


class Impatient(LimitedHttpProtocol):
    read_seconds = 0.1


def test_a_gateway_ends_a_stream_that_is_not_read(tmp_path: Path) -> None:
    """Its HTTP looks whether anything is read; then the replica hears that nobody waits any more."""

    async def test() -> None:
        has_left, has_ended = asyncio.Event(), asyncio.Event()

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(bytes(1 << 16))
            finally:
                has_ended.set()

        async def door(scope: Scope, receive: Receive, send: Send) -> None:
            path = ScoringPath.of(scope)
            assert path is not None
            body = await read_body(scope, receive, 100)
            try:
                await watch(scoring._Call(Exchange(scope, receive, send), path, body, 5.0).run(pool, send), receive)
            except CallerLeft:
                has_left.set()

        app = web.Application()
        app.router.add_route("*", "/{any:.*}", endless)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        pool = Pool(str(tmp_path / "s"))
        config = uvicorn.Config(door, log_config=None, access_log=False)
        config.load()
        make = partial(Impatient, config=config, server_state=ServerState(), app_state={})
        async with await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.pause_reading()
            writer.write(b"POST /endpoints/m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            await has_left.wait()
            await has_ended.wait()
            writer.close()
        await pool.session.close()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(test(), 30))
