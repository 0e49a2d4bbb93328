"""Every request to the control plane: its id in all that is logged meanwhile, its line in the log, its count."""

from __future__ import annotations

import logging
import time

from fastapi import FastAPI

from bedplate.metrics import Metrics
from bedplate.workspace import Workspace
from bedplate_serving.asgi import App, Message, Receive, Scope, Send
from bedplate_serving.logs import bound
from bedplate_serving.request_id import request_id_of

__all__ = ["observe"]

log = logging.getLogger("bedplate.access")

QUIET = ("/livez", "/readyz", "/metrics")  # asked all the time, by programs
LEFT = 499  # as a status: the caller hung up before an answer began


def observe(app: FastAPI, workspace: Workspace) -> None:
    """Have `app` name, count and log its requests. What is added after this is around it, and not seen."""
    app.state.metrics = Metrics(workspace)
    app.add_middleware(_Observed, metrics=app.state.metrics)
    app.add_middleware(_Received, workspace=workspace)


class _Received:
    """Notes by which id a request goes, when it came and how long it is open, which keeps a private server there."""

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        state = scope.setdefault("state", {})
        state["received"], state["request_id"] = time.monotonic(), request_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        self._workspace.open_requests += 1  # on the event loop alone
        try:
            await self._app(scope, receive, answer)
        finally:
            self._workspace.open_requests -= 1


class _Observed:
    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        with bound(request_id=scope["state"].get("request_id")):
            try:
                await self._app(scope, receive, answer)
            except Exception:
                answer.begin(500)  # whoever is around us answers so, and logs why
                raise
            finally:
                self._note(scope, answer)

    def _note(self, scope: Scope, answer: _Answer) -> None:
        answer.begin(LEFT)
        route = _template(scope)
        self._metrics.count(scope["method"], route, answer.status, answer.seconds)
        if route in QUIET:
            return
        caller = scope["state"].get("caller")
        facts = {"method": scope["method"], "route": route, "status": answer.status, "ms": answer.elapsed_ms}
        log.info("request", extra={**facts, "user": None if caller is None else caller.name})


class _Answer:
    """The way back of one request: its status, and when it began."""

    def __init__(self, send: Send) -> None:
        self._send, self._started = send, time.perf_counter()
        self.status, self.seconds = 0, 0.0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begin(message["status"])
        await self._send(message)

    def begin(self, status: int) -> None:
        """The first one counts."""
        if not self.status:
            self.status, self.seconds = status, time.perf_counter() - self._started

    @property
    def elapsed_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)


def _template(scope: Scope) -> str:
    """Of the route that answered, such as /api/v1/jobs/{job_id}; empty where none did. Never the path itself."""
    return f"{scope.get('root_path', '')}{getattr(scope.get('route'), 'path', '')}"
