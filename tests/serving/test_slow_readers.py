"""Who asks for a stream and does not read it keeps neither the model nor the memory of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bedplate_serving import replica, scoring
from bedplate_serving.asgi import CallerLeft
from bedplate_serving.exchange import Exchange
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


def test_a_gateway_ends_a_stream_that_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SEND_SECONDS", 0.05)

    async def test() -> None:
        has_ended = asyncio.Event()

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(b"data: {}\n\n")
                    await asyncio.sleep(0.001)
            finally:
                has_ended.set()

        scope = {"type": "http", "method": "POST", "path": "/endpoints/m", "query_string": b"", "headers": []}
        exchange, path = Exchange(scope, asyncio.Event().wait, stuck), ScoringPath.of(scope)
        assert path is not None
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", endless)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        pool = Pool(str(tmp_path / "s"))
        with pytest.raises(CallerLeft):
            await scoring._Call(exchange, path, b"", 5.0).run(pool, stuck)
        await has_ended.wait()
        await pool.session.close()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(test(), 30))
