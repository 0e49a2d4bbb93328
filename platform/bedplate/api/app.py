"""The control plane's FastAPI application."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from bedplate.api import (
    audit,
    batch_endpoints,
    datasets,
    docs,
    endpoints,
    evaluations,
    health,
    jobs,
    keys,
    models,
    pages,
    server,
    session,
    uploads,
    users,
)
from bedplate.api.access import SAFE_METHODS, Caller, Routes, check_policies, find_caller
from bedplate.api.observed import observe
from bedplate.api.openapi import describe
from bedplate.api.problems import STATUS, add_problem_handlers, problem
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_registry.hubserver import RegistrySource, create_hub_app

__all__ = ["create_app"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
MAX_BODY_BYTES = 8 << 20
App = Callable[[Scope, Receive, Send], Awaitable[None]]
PARTS: tuple[Routes, ...] = (
    docs.routes,
    health.routes,
    server.routes,
    jobs.routes,
    models.routes,
    uploads.routes,
    datasets.routes,
    evaluations.routes,
    endpoints.routes,
    batch_endpoints.routes,
    session.routes,
    pages.routes,
    users.routes,
    keys.routes,
    audit.routes,
)


def create_app(workspace: Workspace, stop: Callable[[], None]) -> FastAPI:
    """All resources; `stop` ends the server. A new resource is one module and its line in PARTS."""
    app = FastAPI(title="Bedplate", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.workspace = workspace
    app.state.stop = stop
    add_problem_handlers(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    for part in PARTS:
        app.include_router(part.router)
    app.mount("/hub", _Guarded(create_hub_app(RegistrySource(workspace.registry)), workspace))
    check_policies(app)
    app.add_middleware(_BodyLimit)
    app.add_middleware(_Audited, workspace=workspace)
    observe(app, workspace)
    app.add_middleware(_Received)
    return app


class _Received:
    """Notes when a request came, which tells a private server whether it is still wanted, and by which id it goes."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        if not (0 < len(request_id) <= 128 and request_id.isascii() and request_id.isprintable()):
            request_id = uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["received"], state["request_id"] = time.monotonic(), request_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, answer)


class _Audited:
    """Keeps an entry of every unsafe request of a known caller, before its answer goes out.

    An answer that could not be recorded becomes a 503, and until one can be again nothing more is changed.
    """

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        try:
            if self._workspace.audit.is_broken:
                await asyncio.to_thread(self._workspace.audit.check)
            await self._app(scope, receive, _Recording(self._workspace, scope, send))
        except _NotRecorded as failure:
            await _problem_of(failure.error)(scope, receive, send)
        except BedplateError as exc:  # nothing was done yet
            await _problem_of(exc)(scope, receive, send)


def _problem_of(error: BedplateError) -> JSONResponse:
    status, title = next((status, title) for kind, status, title in STATUS if isinstance(error, kind))
    return problem(status, title, error.code, error.message, error.hint)


class _NotRecorded(Exception):
    """The answer that was on its way is held back: what it tells of is not in the audit log."""

    def __init__(self, error: BedplateError) -> None:
        super().__init__(error.message)
        self.error = error


class _Recording:
    """The way back of one audited request."""

    def __init__(self, workspace: Workspace, scope: Scope, send: Send) -> None:
        self._workspace, self._scope, self._send = workspace, scope, send
        self._code: str | None = None

    async def __call__(self, message: Message) -> None:
        caller = self._scope["state"].get("caller")
        if message["type"] == "http.response.start" and caller is not None:
            try:
                await asyncio.to_thread(self._record, caller, message["status"])
            except BedplateError as exc:
                raise _NotRecorded(exc) from exc
        await self._send(message)

    def _record(self, caller: Caller, status: int) -> None:
        scope = self._scope
        detail = {
            "status": status,
            "via": caller.via,
            "key": caller.key,
            "from": _client_of(scope),
            "request_id": scope["state"]["request_id"],
            **scope.get("path_params", {}),
            **scope["state"].get("noted", {}),
        }
        route = getattr(scope.get("route"), "path", "a path of no route")
        self._workspace.audit.record(caller.name, f"{scope['method']} {route}", detail)


def _client_of(scope: Scope) -> str:
    """The address that the gateway saw; nobody else reaches the socket that it calls."""
    address: bytes = dict(scope["headers"]).get(b"x-bedplate-client", b"this machine")
    return address.decode("latin-1")


class _BodyLimit:
    """Refuses a body that is larger than any request here needs to be, while it streams and before a key is asked for.

    Uploads are the exception: they go to disk, and their route checks the key before it reads.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._limited: Any = RequestBodyLimitMiddleware(app, max_body_size=MAX_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/api/v1/uploads/"):
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        is_too_large = stated.isdigit() and (len(stated) > 18 or int(stated) > MAX_BODY_BYTES)
        await (_too_large(scope) if is_too_large else self._limited)(scope, receive, send)


def _too_large(scope: Scope) -> JSONResponse:
    detail = f"A body has at most {MAX_BODY_BYTES >> 20} MiB here."
    hint = "Send files by PUT /api/v1/uploads/SHA256."
    return problem(413, "Too large", "body-too-large", detail, hint, request_id=scope["state"]["request_id"])


class _Guarded:
    """A mounted application that any caller may read, as he may the routes beside it."""

    policy = "read"

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            caller = await asyncio.to_thread(find_caller, self._workspace, scope)
            caller.require(self.policy)
        except BedplateError as exc:
            await _problem_of(exc)(scope, receive, send)
            return
        scope["state"]["caller"] = caller
        await self._app(scope, receive, send)
