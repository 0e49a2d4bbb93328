"""Batch: files that were scored, are being scored, or wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.job_words import data_text, how_far
from bedplate.studio.parts.live import every
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.paged_table import PagedTable
from bedplate.studio.parts.tables import PAGE_ROWS, Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

LOOK_SECONDS = 2.0
# None can be sorted by: the newest come first, and to sort one page of many would mislead.
COLUMNS = (
    Column("id", "Job", link="url", sortable=False),
    Column("state", "State", "state", sortable=False),
    Column("model", "Model", link="model_url", sortable=False),
    Column("input", "Rows from", sortable=False),
    Column("output", "Rows to", sortable=False),
    Column("owner", "Owner", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("now", "Progress, or what came of it", sortable=False),
)


@page("/batch", "Batch", section="Batch")
async def batch(visit: Visit) -> None:
    """The newest first, kept up to date."""

    async def fetch(after: str | None) -> Page:
        return await visit.ws.connection.get(url_path("jobs"), kind="batch", limit=PAGE_ROWS, after=after)

    async def look() -> bool:
        await shown.look()
        return False

    why_not = "" if visit.may("batch") else f"the role {visit.role} may not"
    with title("Batch", "Files of rows scored by a model, each in a job of its own."):
        action("Score a file", place("batch", "new"), primary=True, why_not=why_not)
    shown = PagedTable(COLUMNS, name="Batch jobs", fetch=fetch, row=_row, nothing=_nothing)
    await shown.begin()
    every(LOOK_SECONDS, look)


def _nothing() -> None:
    empty("Nothing was scored yet.", action="Score a file", href=place("batch", "new"))


def _row(job: Mapping[str, Any]) -> dict[str, Any]:
    spec = job["spec"]
    return {
        **{name: job[name] for name in ("id", "state", "owner", "created")},
        "url": place("batch", "jobs", str(job["id"])),
        "model": spec["model"],
        "model_url": place("models", str(spec["model"])),
        "input": data_text(spec.get("input")),
        "output": spec.get("output", ""),
        "now": how_far(job) or _came_to(job),
    }


def _came_to(job: Mapping[str, Any]) -> str:
    if job["error"]:
        return str(job["error"]["message"])
    result = job["result"] or {}
    if "rows" not in result:
        return ""
    bad = f", {result['errors']:,} of them bad" if result.get("errors") else ""
    return f"{result['rows']:,} rows{bad}"
