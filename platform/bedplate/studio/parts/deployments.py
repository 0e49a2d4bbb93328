"""The deployments of an endpoint: how each is doing, its share of the traffic, its instances, and its end."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from nicegui import html, ui

from bedplate.aio.endpoints import Endpoint
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.notices import hint, toast, toast_problem
from bedplate.studio.parts.states import state
from bedplate.studio.parts.tables import when
from bedplate.studio.parts.traffic_form import TrafficForm
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Changed

__all__ = ["Deployments"]

MOST_INSTANCES = 16


class Deployments:
    """Changes are made to the endpoint as it is shown: what somebody else changed meanwhile is not written over."""

    def __init__(self, visit: Visit, endpoint: Endpoint) -> None:
        self._visit, self._endpoint = visit, endpoint
        self._why_not = "" if visit.may("operate") else f"your role, {visit.role}, may not change endpoints"
        self._place = html.div()
        self._states: dict[str, tuple[html.div, Any]] = {}
        self._shares: TrafficForm | None = None
        self._draw()

    def look(self, fresh: Endpoint) -> None:
        """Show what has changed. Shares that somebody is typing stay, until he is told that others were set."""
        if fresh.data["revision"] == self._endpoint.data["revision"]:
            self._endpoint = fresh
            for row in fresh.deployments:
                self._show_state(row)
        elif self._shares is not None and self._shares.is_typing:
            self._others.set_visibility(True)
        else:
            self._show(fresh)

    def _show(self, fresh: Endpoint) -> None:
        self._endpoint = fresh
        self._draw()

    # --- how it looks ---

    def _draw(self) -> None:
        self._place.clear()
        self._states.clear()
        self._shares = None
        rows = self._endpoint.deployments
        with self._place:
            if not rows:
                hint("There is no deployment: nothing answers here. Add one.")
            with html.div().classes("bp-cards"):
                for row in rows:
                    self._card(row)
            if len(rows) > 1:
                self._traffic()

    def _card(self, row: dict[str, Any]) -> None:
        with html.article(**{"aria-label": f"Deployment {row['name']}"}).classes("bp-card"):
            html.h3(row["name"])
            self._states[row["name"]] = (html.div(), None)
            self._show_state(row)
            facts(
                [
                    ("Model", (row["model"], place("models", row["model"]))),
                    ("Traffic", f"{row['traffic']} %"),
                    ("Device", row["device"]),
                    ("Since", when(row["created"])),
                ]
            )
            with html.div().classes("bp-actions"):
                action("Add an instance", lambda: self._scale(row, 1), why_not=self._why_not or _at_most(row))
                action("Remove an instance", lambda: self._scale(row, -1), why_not=self._why_not or _at_least(row))
                action("Remove", lambda: self._remove(row), danger=True, why_not=self._why_not or self._holds(row))

    def _show_state(self, row: dict[str, Any]) -> None:
        """Again only where it is another: whoever reads it is not disturbed."""
        now = (row["ready"], row["instances"], row["waiting"], row["error"])
        spot, before = self._states[row["name"]]
        if now == before:
            return
        self._states[row["name"]] = (spot, now)
        spot.clear()
        with spot:
            is_ready = row["ready"] >= row["instances"]
            state("ready" if is_ready else "failed" if row["error"] else "starting")
            html.span(f" {row['ready']} of {row['instances']} answer")
            if row["waiting"]:
                hint(f"Waits for {row['waiting']}")
            if row["error"]:
                with html.div().classes("bp-problem"):
                    ui.label(row["error"]["message"])
                    ui.label(row["error"].get("hint") or "")

    def _traffic(self) -> None:
        with html.div().classes("bp-panel"):
            html.h3("Traffic")
            about = "In percent; together they are 100. A caller who names a deployment is not counted in."
            self._shares = TrafficForm(self._endpoint.traffic, self._share, about=about, why_not=self._why_not)
            with html.div(role="status").classes("bp-row") as self._others:
                hint("Somebody else changed this endpoint since you looked.")
                action("Show it as it is now", self._reload)
            self._others.set_visibility(False)

    # --- what is done ---

    async def _share(self, traffic: dict[str, int]) -> None:
        if await self._change(self._endpoint.update(traffic=traffic, unless_changed=True)):
            with self._place:  # the button that was pressed is not there any more
                toast("The traffic is shared anew.")

    async def _scale(self, row: dict[str, Any], by: int) -> None:
        instances = {row["name"]: row["instances"] + by}
        await self._change(self._endpoint.update(instances=instances, unless_changed=True))

    async def _change(self, work: Awaitable[Endpoint]) -> bool:
        """Whether it was done. Where somebody else was faster, nothing is: his change is shown."""
        try:
            await work
        except Changed as exc:
            toast_problem(exc)
            await self._reload()
            return False
        self._draw()
        return True

    async def _remove(self, row: dict[str, Any]) -> None:
        question = f"Remove the deployment {row['name']}? Its replicas end; {row['model']} stays in the registry."
        if await confirm(question, button="Remove it"):
            self._show(await self._endpoint.remove_deployment(row["name"]))

    async def _reload(self) -> None:
        self._show(await self._visit.ws.endpoints.get(self._endpoint.name))

    def _holds(self, row: dict[str, Any]) -> str:
        is_last = len(self._endpoint.deployments) == 1
        return "" if is_last or not row["traffic"] else "it has traffic: give that to the others first"


def _at_most(row: dict[str, Any]) -> str:
    return f"there are {MOST_INSTANCES} at most" if row["instances"] >= MOST_INSTANCES else ""


def _at_least(row: dict[str, Any]) -> str:
    return "it is the last one: remove the deployment instead" if row["instances"] <= 1 else ""
