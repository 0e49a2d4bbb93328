"""HTTP as the gateway takes it: uvicorn's fast parser, with limits to a request's head and answers that have a code.

uvicorn keeps whatever headers a client sends, and waits for good for them, for a body and for whoever does not read;
this one answers 431 at a limit of bytes and 408 at one of seconds, and hangs up on who reads nothing. A connection
between two requests is left to uvicorn's own limit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bedplate_serving.problems import Problem

__all__ = ["LimitedHttpProtocol"]

MAX_HEAD_BYTES = 64 * 1024
TOO_LARGE = Problem(
    431, "head-too-large", f"The head of this request is larger than {MAX_HEAD_BYTES} bytes.", "Send fewer headers."
)
TOO_SLOW = Problem(408, "head-too-slow", "The head of this request took too long to arrive.")
BODY_TOO_SLOW = Problem(408, "body-too-slow", "The rest of this request's body did not arrive.", "Send it again.")
NOT_HTTP = Problem(400, "bad-request", "This is no valid HTTP request.")


class LimitedHttpProtocol(HttpToolsProtocol):
    """Counts the bytes of a request's head as they arrive, and once more when it is complete: it may come at once."""

    head_seconds = 20.0  # from the beginning of a connection, or of a later head in it, to the end of that head
    body_seconds = 60.0  # between two parts of a body
    read_seconds = 60.0  # in which a caller must read something of what waits for him

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True
        self._has_begun = False
        self._head_bytes = 0
        self._fault = NOT_HTTP
        self._reading: asyncio.TimerHandle | None = None  # looks whether the caller reads, while more than enough waits
        self._deadline: asyncio.TimerHandle | None = None  # of the head, or the part of a body, that is awaited

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_looking()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
            self._await_body()
        elif self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.end_with(TOO_LARGE)
        elif (self._has_begun or self._head_bytes) and self._deadline is None and not self.transport.is_closing():
            self._await_head()

    def on_message_begin(self) -> None:
        self._has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = self._has_begun = False
        self._stop_waiting()
        if self._head_bytes > MAX_HEAD_BYTES and self._size() > MAX_HEAD_BYTES:  # else the body came along
            self._fault = TOO_LARGE
            raise ValueError(TOO_LARGE.detail)  # the parser ends with it
        if not self.url.startswith(b"/"):
            # An absolute target names the host a second time, and HTTP has it count for more than the header, which
            # the application would see alone. Nobody but a proxy is sent one: without a Host it is refused.
            self.headers[:] = [pair for pair in self.headers if pair[0] != b"host"]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self.end_with(self._fault)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # it comes early: the answer to the request before it is still on its way
        elif self._has_begun:
            self.end_with(TOO_SLOW)
        else:
            self.transport.close()  # whoever has not asked takes no answer

    def _await_body(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.body_seconds, self._give_up_on_body)

    def _give_up_on_body(self) -> None:
        if self.flow.read_paused or self.pipeline:
            self._await_body()  # it is the application that takes its time, with this request or the one before it
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.end_with(BODY_TOO_SLOW)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        self._stop_looking()
        super().resume_writing()

    def _look_again(self) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self.read_seconds, self._look, waiting_bytes)

    def _stop_looking(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look(self, bytes_before: int) -> None:
        if self.transport.get_write_buffer_size() < bytes_before:
            self._look_again()
        else:
            self.transport.abort()  # closing it would wait for the reader, too

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def end_with(self, problem: Problem) -> None:
        """Answer what is no request yet, or none that is taken, and hang up."""
        body = problem.body()
        headers = [*problem.all_headers, ("content-length", str(len(body))), ("connection", "close")]
        lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in headers)]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
