"""What serves a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedplate.aio.models import Model
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.paged_table import turned_table
from bedplate.studio.parts.tables import Column
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

__all__ = ["deployments"]

COLUMNS = (
    Column("endpoint", "Endpoint", link="url", sortable=False),
    Column("deployment", "Deployment", sortable=False),
    Column("share", "Traffic", sortable=False),
)


async def deployments(visit: Visit, model: Model) -> None:
    """At real-time endpoints and at those that score files."""
    found = (await model.lineage())["deployments"]
    real_time = {endpoint.name for endpoint in await visit.ws.endpoints.list()} if found else set()
    with section("Deployments"):
        if found:
            await turned_table(COLUMNS, [_row(each, real_time) for each in found], name="Deployments")
        elif model.task and model.state != "archived":
            empty("None yet.", action="Deploy it", href=place("deploy", model=model.ref))
        else:
            empty("None yet.")


def _row(each: Mapping[str, Any], real_time: set[str]) -> dict[str, Any]:
    """Batch endpoints have their page among what scores files."""
    url = place("endpoints", each["endpoint"]) if each["endpoint"] in real_time else place("batch")
    return {**each, "id": f"{each['endpoint']}/{each['deployment']}", "url": url, "share": f"{each['traffic']} %"}
