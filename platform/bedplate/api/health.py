"""/livez, /readyz and /metrics: what supervises this server asks them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import ConfigDict

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import Answer
from bedplate.metrics import CONTENT_TYPE
from bedplate.workspace import Workspace
from bedplate_registry.errors import Unavailable

__all__ = ["routes"]

routes = Routes("", "health")
ROUND_SECONDS = 30.0  # a round of the loop takes far less


class Alive(Answer):
    """This process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]


class Readiness(Answer):
    """Whether this server works, and what of it does not."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "problems": []}]})

    status: Literal["ok", "not ready"]
    problems: list[Literal["database", "loop", "audit", "stopping"]]


class PrometheusText(Response):
    media_type = CONTENT_TYPE


@routes.route("GET", "/livez", "open", response_model=Alive)
async def livez() -> Any:
    """This process answers."""
    return {"status": "ok"}


@routes.route("GET", "/readyz", "open", response_model=Readiness, responses={503: {"model": Readiness}})
def readyz(workspace: WorkspaceOf) -> Any:
    """This server works: else 503, with what is wrong."""
    problems = [name for name, is_well in CHECKS.items() if not is_well(workspace)]
    body = {"status": "not ready" if problems else "ok", "problems": problems}
    return JSONResponse(body, 503 if problems else 200)


@routes.route("GET", "/metrics", "read", response_class=PrometheusText)
def metrics(request: Request) -> Any:
    """For Prometheus, in its text format."""
    return PrometheusText(request.app.state.metrics.text())


def _database_answers(workspace: Workspace) -> bool:
    try:
        workspace.jobs.find(limit=1)
    except Unavailable:
        return False
    return True


CHECKS: dict[str, Callable[[Workspace], bool]] = {
    "database": _database_answers,
    "loop": lambda workspace: time.monotonic() - workspace.last_round < ROUND_SECONDS,
    "audit": lambda workspace: not workspace.audit.is_broken,
    "stopping": lambda workspace: not workspace.is_stopping,
}
