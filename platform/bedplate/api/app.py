"""The control plane's FastAPI application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from bedplate.api import data, endpoints, jobs, models, server
from bedplate.api.access import find_caller
from bedplate.api.problems import STATUS, add_problem_handlers, problem
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Forbidden
from bedplate_registry.hubserver import RegistrySource, create_hub_app

__all__ = ["create_app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
MAX_BODY_BYTES = 8 << 20
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def create_app(workspace: Workspace, stop: Callable[[], None]) -> FastAPI:
    """All resources; `stop` ends the server."""
    app = FastAPI(title="Bedplate", version="1", docs_url=None, redoc_url=None)  # its pages load scripts from elsewhere
    app.state.workspace = workspace
    app.state.stop = stop
    add_problem_handlers(app)
    for part in (server.health, server.routes, jobs.routes, models.routes, data.uploads, data.datasets):
        app.include_router(part.router)
    for part in (data.evaluations, endpoints.routes):
        app.include_router(part.router)
    app.mount("/hub", _Guarded(create_hub_app(RegistrySource(workspace.registry)), workspace))
    app.add_middleware(_BodyLimit)
    app.add_middleware(_Received)
    return app


class _Received:
    """Notes when a request came, which tells a private server whether it is still wanted."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["received"] = time.monotonic()
        await self._app(scope, receive, send)


class _BodyLimit:
    """Refuses a body that is larger than any request here needs to be, while it streams and before a key is asked for.

    Uploads are the exception: they go to disk, and their route checks the key before it reads.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._limited: Any = RequestBodyLimitMiddleware(app, max_body_size=MAX_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_upload = scope["type"] == "http" and scope["path"].startswith("/api/v1/uploads/")
        await (self._app if is_upload else self._limited)(scope, receive, send)


class _Guarded:
    """A mounted application that needs any valid key, as the routes of its neighbors do."""

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", [])}
        try:
            caller = await asyncio.to_thread(
                find_caller, self._workspace, dict(scope), headers.get(b"authorization"), headers.get(b"host", "")
            )
            if not caller.may("any-key"):
                raise Forbidden("An endpoint's key opens nothing but that endpoint.")
        except BedplateError as exc:
            status, title = next((status, title) for kind, status, title in STATUS if isinstance(exc, kind))
            await problem(status, title, exc.code, exc.message, exc.hint)(scope, receive, send)
            return
        await self._app(scope, receive, send)
