"""A Hub that lies: it answers as the loopback Hub does, and then changes the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Liar", "Lie", "on_bytes", "on_info"]


@dataclass
class Answer:
    """What is about to be sent, free to be changed."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    host: str = ""  # as the caller names it
    silent_after: int | None = None  # bytes of the body, and then nothing for as long as the caller waits
    seconds_a_byte: float = 0.0
    claims_bytes: int | None = None  # a Content-Length that is not that of the body

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @value.setter
    def value(self, value: Any) -> None:
        self.body = json.dumps(value).encode()

    async def collect(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {key.decode(): item.decode() for key, item in message["headers"]}
        else:
            self.body += message.get("body", b"")

    async def give(self, send: Any) -> None:
        self.headers["content-length"] = str(len(self.body) if self.claims_bytes is None else self.claims_bytes)
        headers = [(key.encode(), item.encode("latin-1")) for key, item in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.silent_after is not None:
            await send({"type": "http.response.body", "body": self.body[: self.silent_after], "more_body": True})
            await asyncio.sleep(3)
            raise ConnectionResetError("silent on purpose")
        if self.seconds_a_byte:
            for byte in self.body:
                await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
                await asyncio.sleep(self.seconds_a_byte)
        await send({"type": "http.response.body", "body": b"" if self.seconds_a_byte else self.body})
        if self.claims_bytes is not None:
            raise ConnectionResetError("cut on purpose")


Lie = Callable[[str, Answer], None]


class Liar:
    """Around a Hub's application."""

    def __init__(self, app: Any, lie: Lie) -> None:
        self._app, self._lie = app, lie

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        answer = Answer(host=dict(scope["headers"])[b"host"].decode())
        await self._app(scope, receive, answer.collect)
        self._lie(scope["path"], answer)
        await answer.give(send)


def on_info(change: Callable[[Answer], None]) -> Lie:
    """Lie about what the model is, and about the files it has."""
    return _on(lambda path: path.startswith("/api/models/"), change)


def on_bytes(change: Callable[[Answer], None], name: str = "") -> Lie:
    """Lie in the bytes of a file, or of all."""
    return _on(lambda path: "/resolve/" in path and path.endswith(name), change)


def _on(is_meant: Callable[[str], bool], change: Callable[[Answer], None]) -> Lie:
    def lie(path: str, answer: Answer) -> None:
        if is_meant(path):
            change(answer)

    return lie
