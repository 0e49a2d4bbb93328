"""What the gateway's client sends, it sends once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bedplate_serving.control_proxy import ControlProxy
from bedplate_serving.problems import Problem
from bedplate_serving.upstream import open_session


class DyingServer:
    """Answers the first request of each connection and drops the connection on the second, after reading it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen.append(head.split(b" ")[0].decode())
            if number == 0:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("method", ["DELETE", "PUT", "GET", "POST"])
def test_a_request_whose_connection_dies_after_it_was_received_is_not_sent_twice(method: str, run_folder: Path) -> None:
    async def scenario() -> list[str]:
        server, path = DyingServer(), run_folder / "dying.sock"
        async with await asyncio.start_unix_server(server, path), open_session(str(path), 5) as session:
            async with session.get("http://x/first"):
                pass
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.request(method, "http://x/second")
        path.unlink(missing_ok=True)
        return server.seen

    assert asyncio.run(scenario()) == ["GET", method]


class RefusingClient:
    """Stands for aiohttp's session where the connection is refused after it began to read the body."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def request(self, *_: Any, data: Any, **__: Any) -> Any:
        self.sent.append(await anext(data))
        raise aiohttp.ClientConnectorError(None, ConnectionRefusedError())  # type: ignore[arg-type]


@pytest.mark.parametrize("chunks", [[b"all"], [b"one", b"two"]])
def test_a_body_that_began_to_flow_is_not_sent_again_without_its_beginning(
    chunks: list[bytes], run_folder: Path
) -> None:
    async def scenario() -> tuple[list[bytes], Problem]:
        proxy = ControlProxy(run_folder / "nobody.sock")
        await proxy.close()
        proxy._session = client = RefusingClient()  # type: ignore[assignment]
        messages = [
            {"type": "http.request", "body": chunk, "more_body": number + 1 < len(chunks)}
            for number, chunk in enumerate(chunks)
        ]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError(f"nothing should be sent: {message}")

        scope = {"type": "http", "method": "PUT", "raw_path": b"/x", "query_string": b""}
        scope["headers"] = [(b"transfer-encoding", b"chunked")]
        with pytest.raises(Problem) as caught:
            await proxy.http(scope, receive, send, "id")
        return client.sent, caught.value

    started = time.monotonic()
    sent, problem = asyncio.run(scenario())
    assert sent == chunks[:1] and (problem.status, problem.code) == (503, "control-unavailable")
    assert time.monotonic() - started < 5
