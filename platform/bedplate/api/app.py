"""The control plane's FastAPI application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from bedplate.api import (
    audit,
    batch_endpoints,
    card_pages,
    catalog,
    datasets,
    docs,
    endpoint_statistics,
    endpoints,
    evaluations,
    health,
    import_plans,
    job_outputs,
    jobs,
    keys,
    leaderboards,
    model_aliases,
    models,
    pages,
    registry,
    server,
    session,
    uploads,
    users,
)
from bedplate.api.access import Routes, check_policies
from bedplate.api.audited import Audited
from bedplate.api.hub import hub_of
from bedplate.api.observed import observe
from bedplate.api.openapi import describe
from bedplate.api.problems import add_problem_handlers, problem_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import TooLarge
from bedplate_serving.asgi import App, Receive, Scope, Send

__all__ = ["create_app"]

MAX_BODY_BYTES = 8 << 20
TO_DISK = ("/api/v1/uploads/", "/studio/_nicegui/client/")
PARTS: tuple[Routes, ...] = (
    docs.routes,
    health.routes,
    server.routes,
    jobs.routes,
    job_outputs.routes,
    catalog.routes,
    import_plans.routes,
    models.routes,
    model_aliases.routes,
    card_pages.routes,
    registry.routes,
    uploads.routes,
    datasets.routes,
    evaluations.routes,
    leaderboards.routes,
    endpoints.routes,
    endpoint_statistics.routes,
    batch_endpoints.routes,
    session.routes,
    pages.routes,
    users.routes,
    keys.routes,
    audit.routes,
)


class Pages(Protocol):
    """The web UI, which calls what it is mounted on: floor 4 hands it down, and this package imports none of it."""

    place: str
    policy: str
    rest: FastAPI | None

    def while_served(self, app: FastAPI) -> AbstractAsyncContextManager[None]: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def create_app(workspace: Workspace, stop: Callable[[], None], studio: Pages | None = None) -> FastAPI:
    """All resources; `stop` ends the server. A new resource is one module and its line in PARTS."""
    lifespan = None if studio is None else studio.while_served
    app = FastAPI(title="Bedplate", version="1", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.workspace = workspace
    app.state.stop = stop
    app.state.front = "/docs" if studio is None else f"{studio.place}/"
    add_problem_handlers(app)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    for part in PARTS:
        app.include_router(part.router)
    app.mount("/hub", hub_of(workspace))
    if studio is not None:
        studio.rest = app
        app.mount(studio.place, studio)
    check_policies(app)
    app.add_middleware(_BodyLimit)
    app.add_middleware(Audited, workspace=workspace)
    observe(app, workspace)
    return app


class _BodyLimit:
    """Refuses a body that is larger than any request here needs to be, while it streams and before a key is asked for.

    Uploads are the exception: they go to disk, and their route checks the key before it reads. So does Studio, to
    which browsers send files by forms.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._limited: Any = RequestBodyLimitMiddleware(app, max_body_size=MAX_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(TO_DISK):
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        is_too_large = stated.isdigit() and (len(stated) > 18 or int(stated) > MAX_BODY_BYTES)
        await (_too_large(scope) if is_too_large else self._limited)(scope, receive, send)


def _too_large(scope: Scope) -> JSONResponse:
    detail = f"A body has at most {MAX_BODY_BYTES >> 20} MiB here."
    return problem_of(TooLarge(detail, hint="Send files by PUT /api/v1/uploads/SHA256.", code="body-too-large"), scope)
