"""Connections that ask for nothing: they are closed in time, and never so many that no file can be opened."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from bedplate_serving.asgi import Receive, Scope, Send, read_body, send_answer, watch
from bedplate_serving.header_limit import LimitedHttpProtocol
from bedplate_serving.open_files import most_connections, raise_limit

BEGUN = b"GET / HTTP/1.1\r\nX-Long: "
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SOON = 0.2


LARGE = 40_000_000  # more than the system takes for a reader who does not read


class Quick(LimitedHttpProtocol):
    head_seconds = body_seconds = read_seconds = SOON


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(3 * SOON if scope["path"] == "/slow" else 0)
    if scope["method"] == "POST":
        await read_body(scope, receive, 1_000_000)
    if scope["path"] == "/watched":
        await receive()
        await watch(asyncio.sleep(3 * SOON), receive)
    await send_answer(send, 200, bytes(LARGE) if scope["path"] == "/large" else b"done", [])


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_keep_alive=75)
    config.load()
    make = partial(Quick, config=config, server_state=ServerState(), app_state={})
    async with await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


async def told(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server hangs up."""
    return await asyncio.wait_for(reader.read(), 10)


async def unless_reset(attempt: Callable[[], Awaitable[bytes]]) -> bytes:
    """Whoever writes to a connection that was closed on him may lose what was said to him last: then once more."""
    for _ in range(9):
        with suppress(ConnectionResetError):
            return await attempt()
    return await attempt()


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"done"), 10)


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
@pytest.mark.parametrize("before", [b"", ASK])
def test_a_connection_without_a_request_is_closed(before: bytes, sent: bytes) -> None:
    async def wait() -> bytes:
        async with connection() as (reader, writer):
            if before:
                writer.write(before)
                await answer(reader)
            writer.write(sent)
            return await told(reader)

    if before and not sent:  # between two requests: uvicorn's own limit
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(wait(), 3 * SOON))
    else:
        assert asyncio.run(wait()) == b""


@pytest.mark.parametrize("before", [b"", ASK])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_that_does_not_end_is_answered_408_however_it_trickles(before: bytes, at_once: bool) -> None:
    """`at_once`: it begins in the same bytes as the request before it."""

    async def trickle() -> bytes:
        async with connection() as (reader, writer):
            pieces = [before + BEGUN] if at_once else [before, BEGUN]
            for piece in pieces:
                writer.write(piece)
                if piece.startswith(ASK):
                    await answer(reader)
            task = asyncio.create_task(told(reader))
            while not task.done():
                writer.write(b"x")
                await asyncio.wait([task], timeout=SOON / 10)
            return task.result()

    head, _, body = asyncio.run(unless_reset(trickle)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "head-too-slow"


def test_an_answer_that_takes_its_time_is_not_cut_off_by_half_of_the_next_request() -> None:
    async def ask() -> tuple[bytes, bytes]:
        async with connection() as (reader, writer):
            writer.write(ASK.replace(b"/ ", b"/slow ") + BEGUN)
            return await answer(reader), await told(reader)

    first, then = asyncio.run(ask())
    assert first.startswith(b"HTTP/1.1 200 ")
    assert then.startswith(b"HTTP/1.1 408 ")


def post(path: str, size: int, method: str = "POST") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


def test_a_body_that_stops_coming_is_answered_408() -> None:
    async def ask() -> bytes:
        async with connection() as (reader, writer):
            writer.write(post("/", 100) + b"x" * 10)
            return await told(reader)

    head, _, body = asyncio.run(ask()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "body-too-slow"


def test_the_rest_of_a_body_that_nobody_wants_any_more_is_not_awaited() -> None:
    async def ask() -> bytes:
        async with connection() as (reader, writer):
            writer.write(post("/", 100, "PUT") + b"x" * 10)
            return await told(reader)

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"done")


def test_an_answer_is_not_cut_off_by_the_next_request_whose_body_stops_coming() -> None:
    async def ask() -> tuple[bytes, bytes]:
        async with connection() as (reader, writer):
            writer.write(ASK.replace(b"/ ", b"/watched ") + post("/", 100) + b"x" * 10)
            return await answer(reader), await told(reader)

    first, then = asyncio.run(ask())
    assert first.startswith(b"HTTP/1.1 200 ")
    assert then.startswith(b"HTTP/1.1 408 ")


def test_a_body_may_take_long_as_long_as_it_comes() -> None:
    async def ask() -> bytes:
        async with connection() as (reader, writer):
            writer.write(post("/", 20))
            for _ in range(20):
                writer.write(b"x")
                await asyncio.sleep(SOON / 5)
            return await answer(reader)

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_waits_for_its_reader_is_not_late() -> None:
    size = 900_000  # far beyond what is read ahead

    async def ask() -> bytes:
        async with connection() as (reader, writer):
            writer.write(post("/slow", size) + b"x" * size)
            return await answer(reader)

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200 ")


def test_an_answer_to_a_whole_body_may_take_long() -> None:
    async def ask() -> bytes:
        async with connection() as (reader, writer):
            writer.write(post("/slow", 10))
            writer.write(b"x" * 10)
            return await answer(reader)

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200 ")


async def sizes(reader: asyncio.StreamReader) -> AsyncIterator[int]:
    """How much has come so far, until the server hangs up."""
    size = 0
    with suppress(ConnectionResetError):
        while part := await asyncio.wait_for(reader.read(1 << 20), 10):
            size += len(part)
            yield size


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_answer_that_nobody_reads_is_given_up(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ask() -> list[int]:
        async with connection() as (reader, writer):
            writer.transport.pause_reading()
            writer.write(ASK.replace(b"/ ", b"/large "))
            await asyncio.sleep(5 * SOON)
            writer.transport.resume_reading()
            return [size async for size in sizes(reader)]

    with asyncio.Runner(loop_factory=loop) as runner:
        assert all(size < LARGE for size in runner.run(ask()))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_answer_that_is_read_slowly_comes_whole(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ask() -> None:
        async with connection() as (reader, writer):
            writer.write(ASK.replace(b"/ ", b"/large "))
            async for size in sizes(reader):
                if size >= LARGE:
                    return
                await asyncio.sleep(SOON / 100)
        raise AssertionError("cut off")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ask())


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert most_connections() == 96
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_gateway_takes_no_more_connections_than_it_can_serve(floor: Any) -> None:
    folder = floor.folder / "f"
    folder.mkdir()
    gateway = floor.start_gateway(folder)
    process = gateway.process.popen.pid
    gateway.route({"blue": (100, [])})
    assert len(set(resource.prlimit(process, resource.RLIMIT_NOFILE))) == 1
    _, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (104, hard))  # 20 connections

    async def crowd() -> list[bytes]:
        host, port = gateway.url.removeprefix("http://").split(":")
        pairs = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
        closed = [asyncio.create_task(reader.read()) for reader, _ in pairs]
        await asyncio.wait_for(asyncio.gather(*closed[20:]), 10)
        assert not any(task.done() for task in closed[:20])
        assert gateway.own_user("/gateway/livez").status_code == 200
        for _, writer in pairs:
            writer.close()
        return [task.result() for task in closed[20:]]

    for answer in asyncio.run(crowd()):
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer
    floor.until(lambda: httpx.get(f"{gateway.url}/gateway/livez").status_code == 200, 5)
    assert len(list(Path(f"/proc/{process}/fd").iterdir())) < 50
