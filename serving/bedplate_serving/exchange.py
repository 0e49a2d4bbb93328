"""One request at the gateway, and the answer that it gets: its id, its status, its problem document."""

from __future__ import annotations

from bedplate_serving.asgi import Message, Receive, Scope, Send, refuse_websocket, send_answer
from bedplate_serving.problems import ErrorShape, Problem
from bedplate_serving.request_id import request_id_of

__all__ = ["Exchange"]

PATH_CHARACTERS = 200  # of a path in a line of the log


class Exchange:
    """What is known of a request while it is answered; `endpoint` and `key_id` as far as it was looked at."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.id = request_id_of(scope)
        self.error_shape: ErrorShape = "problem"  # another where the path is one that inference clients call
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
        headers = [*problem.headers_in(self.error_shape), ("x-request-id", self.id)]
        body = problem.body_in(self.error_shape, self.id)
        if self.scope["type"] == "websocket":
            await refuse_websocket(self.scope, self.send, problem.status, body, headers)
        else:
            await send_answer(self.send, problem.status, body, headers)
