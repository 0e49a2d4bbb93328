"""A check of data on demand: a short job, and what it found, by row number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import html

from bedplate.studio.parts.headings import action
from bedplate.studio.parts.job_findings import show_check
from bedplate.studio.parts.live import every
from bedplate.studio.parts.notices import hint, problem
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError

__all__ = ["data_findings"]

LOOK_SECONDS = 1.0


def data_findings(visit: Visit, request: Callable[[], Mapping[str, Any]]) -> None:
    """A button that checks the data which `request` names, and a place for what is found."""

    async def check() -> None:
        shown.clear()
        with shown:
            try:
                job = await visit.ws.submit("data-check", request())
            except BedplateError as exc:
                problem(exc)
                return
            state = hint("The check is queued.")

        async def look() -> bool:
            await job.refresh()
            if not job.is_final:
                state.text = job.waiting or f"The check runs as {job.id}."
                return False
            shown.clear()
            with shown:
                _ended(job.data)
            return True

        with shown:
            every(LOOK_SECONDS, look)

    with html.div().classes("bp-panel"):
        html.h3("Is the data in order?")
        hint("A short job looks at every row: gaps, doubles, labels that contradict each other, texts that are cut.")
        why_not = "" if visit.may("train") or visit.may("batch") else f"The role {visit.role} may not run it."
        action("Check the data", check, why_not=why_not)
        shown = html.div(**{"aria-live": "polite"})


def _ended(job: Mapping[str, Any]) -> None:
    if job["state"] == "succeeded":
        show_check(job["result"]["report"])
        return
    error = job["error"] or {"message": f"The check was {job['state']}.", "hint": ""}
    problem(BedplateError(error["message"], hint=error.get("hint", "")))
    html.a("Its job", href=place("jobs", str(job["id"])))
