"""Batch endpoints: names for models that score files, with the versions behind each."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import html

from bedplate.aio.batch_endpoints import BatchEndpoint
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.notices import toast_problem
from bedplate.studio.parts.tables import when
from bedplate.studio.parts.traffic_form import TrafficForm
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Changed
from bedplate_registry.tasks import get_task

__all__ = ["batch_endpoints"]


def batch_endpoints(visit: Visit, endpoints: Sequence[BatchEndpoint]) -> None:
    """A card for each, with what can be done there."""
    with html.div().classes("bp-cards"):
        for endpoint in endpoints:
            _card(visit, endpoint)


def _card(visit: Visit, endpoint: BatchEndpoint) -> None:
    why_not = "" if visit.may("operate") else f"your role, {visit.role}, may not change endpoints"
    no_batch = "" if visit.may("batch") else f"your role, {visit.role}, may not score files"

    async def delete() -> None:
        question = f"Delete {endpoint.name}? What it scored stays, and so do the models."
        if await confirm(question, button="Delete it", type_in=endpoint.name):
            await endpoint.delete()
            go("endpoints")

    async def share(traffic: dict[str, int]) -> None:
        try:
            await endpoint.update(traffic=traffic, unless_changed=True)
        except Changed as exc:
            toast_problem(exc)
        else:
            go("endpoints")

    with html.article(**{"aria-label": f"Batch endpoint {endpoint.name}"}).classes("bp-card"):
        html.h3(endpoint.name)
        facts(
            (
                ("Task", get_task(endpoint.task).title),
                *((row["name"], (row["model"], place("models", row["model"]))) for row in endpoint.deployments),
                ("Created", when(endpoint.data["created"])),
            )
        )
        if len(endpoint.deployments) > 1:
            TrafficForm(endpoint.traffic, share, about="Jobs score with the one that has most.", why_not=why_not)
        with html.div().classes("bp-actions"):
            action("Score a file", place("batch", "new", model=endpoint.name), why_not=no_batch)
            action("Delete", delete, danger=True, why_not=why_not)
