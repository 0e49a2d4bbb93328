"""One request at the gateway, and the answer that it gets: its id, its status, its problem document."""

from __future__ import annotations

import os

from bedplate_serving.asgi import Message, Receive, Scope, Send, header, refuse_websocket, send_answer
from bedplate_serving.problems import Problem

__all__ = ["Exchange"]

ID_CHARACTERS = 128
PATH_CHARACTERS = 200  # of a path in a line of the log


class Exchange:
    """What is known of a request while it is answered; `endpoint` and `key_id` as far as it was looked at."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.id = _request_id(scope)
        self.status: int | None = None  # of the answer, once that has begun
        self.endpoint: str | None = None
        self.key_id: str | None = None

    @property
    def facts(self) -> dict[str, object]:
        """What a line in the log says of it. No query: it may hold what is nobody's business."""
        facts = {
            "request_id": self.id,
            "method": self.scope.get("method", "WEBSOCKET"),
            "path": self.scope["path"][:PATH_CHARACTERS],
            "status": self.status,
            "key": self.key_id,
            "endpoint": self.endpoint,
        }
        return {name: value for name, value in facts.items() if value is not None}

    async def send(self, message: Message) -> None:
        if self.status is None:
            self.status = message.get("status") or (101 if message["type"] == "websocket.accept" else 403)
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """An answer cut off in the middle has no status left to say so: the connection is closed on it instead."""
        if self.status is not None:
            return
        headers = [*problem.all_headers, ("x-request-id", self.id)]
        if self.scope["type"] == "websocket":
            await refuse_websocket(self.scope, self.send, problem.status, problem.body(), headers)
        else:
            await send_answer(self.send, problem.status, problem.body(), headers)


def _request_id(scope: Scope) -> str:
    """The caller's, where it is one word of a sane length; else a new one."""
    given = header(scope, b"x-request-id") or ""
    is_good = 0 < len(given) <= ID_CHARACTERS and given.isascii() and given.isprintable() and " " not in given
    return given if is_good else os.urandom(16).hex()
