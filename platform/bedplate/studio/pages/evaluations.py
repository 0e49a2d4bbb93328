"""All evaluations: which model, on which data, and how it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.job_words import data_text
from bedplate.studio.parts.model_evaluations import figures_text
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.paged_table import PagedTable, search_pages
from bedplate.studio.parts.tables import Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.errors import NotFound, Refused
from bedplate_registry.tasks import TASKS

COLUMNS = (
    Column("created", "When", "time", link="url", sortable=False),
    Column("model", "Model", link="of_model", sortable=False),
    Column("task", "Task", sortable=False),
    Column("data", "Data", sortable=False),
    Column("rows", "Rows", "number", sortable=False),
    Column("figures", "Main metrics", sortable=False),
    Column("against", "Against", sortable=False),
)
CHOICES = {"": "All tasks", **{name: task.title for name, task in TASKS.items() if task.metrics}}


@page("/evaluations", "Evaluations", section="Evaluations")
async def evaluations(visit: Visit, model: str = "", task: str = "") -> None:
    """Filters stand in the address, so that a reload and a bookmark show the same."""
    with title("Evaluations", "The reports of evaluate jobs and of fine-tunes on their test rows, the newest first."):
        action("Leaderboard", place("leaderboard", task=task or None))
        may_train = "" if visit.may("train") else f"your role, {visit.role}, may not evaluate"
        action("Evaluate a file of predictions", place("evaluate", "predictions"), why_not=may_train)
        action("Evaluate a model", place("evaluate"), primary=True, why_not=may_train)

    async def fetch(after: str | None) -> Page:
        """REST chooses by task and by a whole version or alias; by a part of its name it is done here."""
        part, exact = str(models.value or "").strip(), None
        if ":" in part or "@" in part:
            part, exact = "", part
        asked = {"model": exact, "task": tasks.value or None}
        try:
            return await search_pages(visit.ws.connection, url_path("evaluations"), after, _wanted(part), **asked)
        except (NotFound, Refused):
            if exact is None:
                raise
            return {"items": [], "next": None}  # nothing has that name, or not yet: it is being typed

    async def choose() -> None:
        chosen = {"model": str(models.value or "").strip() or None, "task": tasks.value or None}
        ui.navigate.history.replace(place("evaluations", **chosen))
        nothing.refresh()
        await pages.begin()

    @ui.refreshable
    def nothing() -> None:
        if models.value or tasks.value:
            empty("None match.", action="Show all", href=place("evaluations"))
        else:
            empty("None yet.", action="Evaluate a model" if visit.may("train") else "", href=place("evaluate"))

    with html.div().classes("bp-filters"):
        models = ui.input("Model", value=model, on_change=choose).props("dense outlined clearable debounce=400")
        known = task if task in CHOICES else ""
        tasks = ui.select(CHOICES, value=known, label="Task", on_change=choose).props("dense outlined")
    pages = PagedTable(COLUMNS, name="Evaluations", fetch=fetch, row=_row, nothing=nothing)
    await pages.begin()


def _wanted(part: str) -> Callable[[Mapping[str, Any]], bool] | None:
    return (lambda report: part.casefold() in str(report["model"]).casefold()) if part else None


def _row(report: Mapping[str, Any]) -> dict[str, Any]:
    data = report.get("data") or {}
    split = f", its {data['split']} part" if data.get("split") else ""
    return {
        **{name: report.get(name) for name in ("id", "model", "created")},
        "task": TASK_NAMES.get(str(report.get("task")), report.get("task")),
        "url": place("evaluations", str(report["id"])),
        "of_model": None if report.get("kind") == "predictions" else place("models", str(report["model"])),
        "data": f"{data_text(data)}{split}",
        "rows": data.get("rows"),
        "figures": figures_text(report),
        "against": (report.get("against") or {}).get("model"),
    }
