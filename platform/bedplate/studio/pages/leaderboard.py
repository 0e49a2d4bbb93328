"""Leaderboards: which models do best at a task on the same rows. Without data chosen, the boards there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.job_words import data_text
from bedplate.studio.parts.metric_table import figure_text
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.paged_table import PagedTable, search_pages
from bedplate.studio.parts.tables import Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.tasks import TASKS

BOARDS = (
    Column("data", "Data", link="url", sortable=False),
    Column("task", "Task", sortable=False),
    Column("part", "Read by", sortable=False),
    Column("models", "Models", "number", sortable=False),
    Column("best", "Best model", link="of_model", sortable=False),
    Column("value", "Its figure", sortable=False),
    Column("created", "Last measured", "time", sortable=False),
)
MODELS = (
    Column("rank", "Rank", "number", sortable=False),
    Column("model", "Model", link="of_model", sortable=False),
    Column("value", "Figure", sortable=False),
    Column("interval", "95 % interval", sortable=False),
    Column("ties", "Beside the best", sortable=False),
    Column("others", "Other metrics", sortable=False),
    Column("base", "Made from", link="of_base", sortable=False),
    Column("created", "Report", "time", link="of_report", sortable=False),
)
MOST_OTHERS = 3
CHOICES = {"": "All tasks", **{name: task.title for name, task in TASKS.items() if task.metrics}}


@page("/leaderboard", "Leaderboard", section="Evaluations")
async def leaderboard(visit: Visit, task: str = "", data: str = "", metric: str = "") -> None:
    """What is chosen stands in the address, so that a reload and a bookmark show the same."""
    task = task if task in CHOICES else ""
    with title("Leaderboard", "Which models do best on the same rows: the newest report of each, on one file."):
        action("All evaluations", place("evaluations", task=task or None))
    boards = await visit.ws.evaluations.leaderboard(task or None)
    board = None
    if task and data:
        board = await visit.ws.connection.get(url_path("leaderboards", task), data=data, limit=1)
    _choose(boards, board, task, metric)
    if board is None:
        await _show_boards(visit, task)
    else:
        with html.div().classes("bp-panel"):
            facts(_facts(board))
        await _show_models(visit, board, metric or board["metric"])


def _choose(boards: Sequence[Mapping[str, Any]], board: Mapping[str, Any] | None, task: str, metric: str) -> None:
    """Task, data and metric; each choice leads to its own address."""
    found = {"": "All data", **{each["id"]: _name(each, with_task=not task) for each in boards}}
    task_of = {each["id"]: each["task"] for each in boards}
    chosen = board["id"] if board is not None else ""
    with html.div().classes("bp-filters"):
        tasks = ui.select(CHOICES, value=task, label="Task").props("dense outlined")
        tasks.on_value_change(lambda: go("leaderboard", task=tasks.value or None))
        data = ui.select(found, value=chosen, label="Data").props("dense outlined")
        data.on_value_change(
            lambda: go("leaderboard", task=task_of.get(data.value, task) or None, data=data.value or None)
        )
        if board is not None:
            names = {name: name for name in TASKS[board["task"]].metrics}
            by = ui.select(names, value=metric or board["metric"], label="Sorted by").props("dense outlined")
            by.on_value_change(lambda: go("leaderboard", task=task, data=chosen, metric=by.value))


async def _show_boards(visit: Visit, task: str) -> None:
    async def fetch(after: str | None) -> Page:
        return await search_pages(visit.ws.connection, url_path("leaderboards"), after, task=task or None)

    def nothing() -> None:
        empty("Nothing was measured yet.", action="Evaluate a model", href=place("evaluate"))

    await PagedTable(BOARDS, name="Leaderboards", fetch=fetch, row=_board_row, nothing=nothing).begin()


async def _show_models(visit: Visit, board: Mapping[str, Any], metric: str) -> None:
    async def fetch(after: str | None) -> Page:
        where = url_path("leaderboards", board["task"])
        return await search_pages(visit.ws.connection, where, after, data=board["id"], metric=metric)

    def row(standing: Mapping[str, Any]) -> dict[str, Any]:
        return _model_row(standing, metric, TASKS[board["task"]].metrics)

    hint(f"Sorted by {metric}. Whose interval overlaps the best one's cannot be told from it by these rows.")
    table = PagedTable(
        MODELS, name="Models", fetch=fetch, row=row, nothing=lambda: empty("None."), back="Back", on="Next"
    )
    await table.begin()


def _facts(board: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    dataset = board["dataset"]
    yield "Task", TASK_NAMES[board["task"]]
    yield "Data", (str(dataset), place("datasets", str(dataset))) if dataset else data_text(board)
    yield "Part of it", f"{board['split']}, split off the training rows" if board["split"] else None
    yield "Rows", None if board["rows"] is None else f"{board['rows']:,}"
    yield "Digest", board["sha256"]
    yield "Columns", value_text(board["columns"])
    yield "Metrics named *_binary are about", board["positive_label"]


def _board_row(board: Mapping[str, Any]) -> dict[str, Any]:
    best = board["best"] or {}
    return {
        **{name: board[name] for name in ("id", "models", "created")},
        "data": data_text(board),
        "url": place("leaderboard", task=board["task"], data=board["id"]),
        "task": TASK_NAMES[board["task"]],
        "part": _part(board),
        "best": best.get("model"),
        "of_model": _of_model(best) if best else None,
        "value": f"{board['metric']} {figure_text(best['value'])}" if best else None,
    }


def _model_row(standing: Mapping[str, Any], metric: str, known: Sequence[str]) -> dict[str, Any]:
    interval = standing["interval"]
    others = [name for name in known if name != metric and name in standing["metrics"]][:MOST_OTHERS]
    return {
        "id": str(standing["place"]),
        **{name: standing[name] for name in ("rank", "base", "created")},
        "model": f"{standing['model']} (a probe)" if standing["kind"] == "probe" else standing["model"],
        "of_model": _of_model(standing),
        "value": figure_text(standing["value"]),
        "interval": f"{figure_text(interval[0])} to {figure_text(interval[1])}" if interval else None,
        "ties": "best" if standing["rank"] == 1 else "not told apart" if standing["ties_best"] else None,
        "others": ", ".join(f"{name} {figure_text(standing['metrics'][name])}" for name in others),
        "of_base": place("models", standing["base"]) if standing["base"] else None,
        "of_report": place("evaluations", standing["evaluation"]),
    }


def _of_model(standing: Mapping[str, Any]) -> str | None:
    """Of a model that was deleted there is no page."""
    return None if standing["state"] == "missing" else place("models", standing["model"])


def _name(board: Mapping[str, Any], *, with_task: bool) -> str:
    task = f"{TASK_NAMES[board['task']]}: " if with_task else ""
    models = f"{board['models']} model{'s' if board['models'] != 1 else ''}"
    return f"{task}{', '.join(filter(None, (data_text(board), _part(board), models)))}"


def _part(board: Mapping[str, Any]) -> str:
    """What tells it from other boards of the same data."""
    seed = "" if board["split_seed"] is None else f", seed {board['split_seed']}"
    split = [f"{board['split']}, {board['rows']} rows{seed}"] if board["split"] else []
    return ", ".join([*split, *(f"{key} = {column}" for key, column in board["columns"].items())])
