"""Where a version comes from, what was made of it, what was measured on it, and what serves it."""

from __future__ import annotations

from typing import Any

from nicegui import html

from bedplate.aio.models import Model
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.paged_table import turned_table
from bedplate.studio.parts.tables import Column, when
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

__all__ = ["lineage"]

FAMILY = (
    Column("ref", "Model", link="url", sortable=False),
    Column("relation", "How", sortable=False),
    Column("does", "Task", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("state", "State", "state", sortable=False),
)
MEASURED = (
    Column("id", "Evaluation", link="url", sortable=False),
    Column("data", "Data", sortable=False),
    Column("split", "Part", sortable=False),
    Column("figures", "Figures", sortable=False),
    Column("created", "When", "time", sortable=False),
)
SERVING = (
    Column("endpoint", "Endpoint", link="url", sortable=False),
    Column("deployment", "Deployment", sortable=False),
    Column("share", "Traffic", sortable=False),
)
MOST_FIGURES = 4


async def lineage(visit: Visit, model: Model) -> None:
    """Parents, children, evaluations, deployments, and who accepted its license."""
    found = await model.lineage()
    real_time = {endpoint.name for endpoint in await visit.ws.endpoints.list()} if found["deployments"] else set()
    with section("Made of"):
        await _family(found["parents"], "It was not made of another model here.")
        source = found["source"]
        if source["kind"] == "job":
            with html.p():
                html.span("By the job ")
                html.a(source["id"], href=place("jobs", source["id"]))
    with section("Made of it"):
        await _family(
            found["children"], "Nothing was made of it yet.", place("finetune", model=model.ref), "Fine-tune it"
        )
    with section("Measured on it"):
        rows = [_report(each) for each in found["evaluations"]]
        if rows:
            await turned_table(MEASURED, rows, name="Evaluations")
        else:
            empty("Nothing was measured on it yet.", action="Evaluate it", href=place("evaluate", model=model.ref))
    with section("What serves it"):
        rows = [_deployment(each, real_time) for each in found["deployments"]]
        if rows:
            await turned_table(SERVING, rows, name="Deployments")
        else:
            hint("No endpoint serves it.")
    if found["license_acceptances"]:
        with section("License accepted"), html.ul():
            for each in found["license_acceptances"]:
                html.li(f"{each['license']} by {each['by']} on {when(each['when'])}, for {each['where']}")


async def _family(relatives: list[dict[str, Any]], none: str, href: str = "", step: str = "") -> None:
    if not relatives:
        empty(none, action=step, href=href) if step else hint(none)
        return
    rows = [
        {
            **each,
            "url": None if each["state"] == "missing" else place("models", each["ref"]),
            "does": TASK_NAMES.get(each["task"] or "", each["task"]),
        }
        for each in relatives
    ]
    await turned_table(FAMILY, rows, name="Models")


def _report(each: dict[str, Any]) -> dict[str, Any]:
    metrics = each["metrics"] if isinstance(each["metrics"], dict) else {}
    numbers = [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]
    figures = ", ".join(f"{name} {value:.4g}" for name, value in numbers[:MOST_FIGURES])
    return {**each, "figures": figures, "url": place("evaluations", each["id"])}


def _deployment(each: dict[str, Any], real_time: set[str]) -> dict[str, Any]:
    """Batch endpoints have their page among what scores files."""
    url = place("endpoints", each["endpoint"]) if each["endpoint"] in real_time else place("batch")
    return {**each, "id": f"{each['endpoint']}/{each['deployment']}", "url": url, "share": f"{each['traffic']} %"}
