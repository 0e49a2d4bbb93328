"""The control plane's FastAPI application."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI

from bedplate.api import data, endpoints, jobs, models, server
from bedplate.api.access import find_caller
from bedplate.api.problems import STATUS, add_problem_handlers, problem
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_registry.hubserver import RegistrySource, create_hub_app

__all__ = ["create_app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
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


class _Guarded:
    """A mounted application that needs any valid key, as the routes of its neighbors do."""

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", [])}
        try:
            caller = find_caller(self._workspace, dict(scope), headers.get(b"authorization"), headers.get(b"host", ""))
            if not caller.may("any-key"):
                raise BedplateError("An endpoint's key opens nothing but that endpoint.", code="forbidden")
        except BedplateError as exc:
            status, title = next((status, title) for kind, status, title in STATUS if isinstance(exc, kind))
            await problem(status, title, exc.code, exc.message, exc.hint)(scope, receive, send)
            return
        await self._app(scope, receive, send)
