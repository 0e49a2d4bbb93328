"""Endpoints: models that answer over HTTP, and names for models that score files."""

from __future__ import annotations

from typing import Any

from bedplate.aio.endpoints import Endpoint
from bedplate.studio.frame import page
from bedplate.studio.parts.endpoint_batch import batch_endpoints
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.live import every
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.tables import Column, shown_rows, table
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.tasks import TASKS

LOOK_SECONDS = 2.0
REAL_TIME = (
    Column("name", "Endpoint", link="url"),
    Column("state", "State", "state"),
    Column("task", "Task"),
    Column("models", "Models"),
    Column("traffic", "Traffic"),
    Column("instances", "Instances"),
    Column("waiting", "Waits for"),
)


@page("/endpoints", "Endpoints", section="Endpoints")
async def endpoints(visit: Visit) -> None:
    """Both lists; the states of the first are kept up to date."""
    found, batch = await visit.ws.endpoints.list(), await visit.ws.batch_endpoints.list()
    why_not = "" if visit.may("operate") else f"your role, {visit.role}, may not deploy"
    with title("Endpoints", "Models that answer over HTTP, and names for models that score files."):
        action("Deploy a model", place("deploy"), primary=True, why_not=why_not)
    with section("Real-time"):
        if found:
            _live_table(visit, [_row(endpoint) for endpoint in found])
        else:
            empty("No model answers over HTTP yet.", action="Deploy one", href=place("deploy"))
    with section("Batch"):
        if batch:
            batch_endpoints(visit, batch)
        else:
            hint("There are none. A batch endpoint is a name for a model that scores files: deploy one as batch.")


def _live_table(visit: Visit, rows: list[dict[str, Any]]) -> None:
    shown = table(REAL_TIME, rows, name="Real-time endpoints")

    async def look() -> bool:
        came = shown_rows(REAL_TIME, [_row(endpoint) for endpoint in await visit.ws.endpoints.list()])
        if came != shown.rows:
            shown.rows = came
        return False

    every(LOOK_SECONDS, look)


def _row(endpoint: Endpoint) -> dict[str, Any]:
    rows = endpoint.deployments
    return {
        "name": endpoint.name,
        "url": place("endpoints", endpoint.name),
        "state": endpoint.state,
        "task": TASKS[endpoint.task].title,
        "models": [row["model"] for row in rows],
        "traffic": ", ".join(f"{name}\u00a0{share}\u00a0%" for name, share in endpoint.traffic.items()),
        "instances": ", ".join(f"{row['ready']}\u00a0of\u00a0{row['instances']}" for row in rows),
        "waiting": endpoint.waiting,
    }
