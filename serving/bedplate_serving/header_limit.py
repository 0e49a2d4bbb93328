"""HTTP as the gateway takes it: uvicorn's fast parser, with a limit to a request's head and answers that have a code.

uvicorn keeps whatever headers a client sends; this one stops at a limit and answers 431.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bedplate_serving.problems import CONTENT_TYPE, Problem

__all__ = ["LimitedHttpProtocol"]

MAX_HEAD_BYTES = 64 * 1024
TOO_LARGE = Problem(
    431, "head-too-large", f"The head of this request is larger than {MAX_HEAD_BYTES} bytes.", "Send fewer headers."
)
NOT_HTTP = Problem(400, "bad-request", "This is no valid HTTP request.")


class LimitedHttpProtocol(HttpToolsProtocol):
    """Counts the bytes of a request's head as they arrive, and once more when it is complete: it may come at once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True
        self._head_bytes = 0
        self._fault = NOT_HTTP

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
        elif self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._end_with(TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._in_head = False
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
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._end_with(self._fault)

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _end_with(self, problem: Problem) -> None:
        body = problem.body()
        head = f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {CONTENT_TYPE}\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()
