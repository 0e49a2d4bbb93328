"""All rows of an evaluation with what the model said of each, to be chosen by that: where the errors are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedplate.studio.parts.filters import WORDS, Choice, Filters
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.paged_table import PagedTable, Row, search_pages
from bedplate.studio.parts.tables import Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

__all__ = ["evaluated_rows"]

RIGHT = {"false": "Wrong rows", "true": "Right rows"}
WRITTEN = {"summarization": 1, "translation": 100}  # the best score of a text
MOST_SHOWN = 300  # characters of a text
MOST_IN_ALL = 900  # of several in a cell
HEADINGS = {"row": "Row", "target": "Right answer", "predicted": "What was said", "score": "Score", "right": "Right"}
NUMBERS = ("row", "score")


async def evaluated_rows(visit: Visit, report: Mapping[str, Any]) -> None:
    """A table of one page at a time. What is chosen stands in the page's address."""
    path = url_path("evaluations", str(report["id"]), "rows")
    columns = [Column(name, _heading(name), _kind(name), sortable=False) for name in report["predictions"]["columns"]]
    choices = _choices(report)

    async def look() -> None:
        await pages.begin()

    async def fetch(after: str | None) -> Page:
        values = filters.values
        chosen: dict[str, Any] = {choice.key: values.get(choice.key) for choice in choices}
        return await search_pages(visit.ws.connection, path, after, contains=values.get(WORDS), **chosen)

    def nothing() -> None:
        empty("No row is like that.", action="Show all", href=place("evaluations", str(report["id"])))

    filters = Filters(f"evaluations/{report['id']}", "Search the rows", choices, look)
    filters.show(choices)
    pages = PagedTable(columns, name="Rows", fetch=fetch, nothing=nothing, row=_row, back="Back", on="Next")
    await filters.begin()


def _choices(report: Mapping[str, Any]) -> list[Choice]:
    """By label where the report has classes; texts that are written are neither right nor wrong, and have a score."""
    labels = [str(one["label"]) for one in report.get("classes") or []]
    by_label = [Choice(name, HEADINGS[name], ideas=labels) for name in ("target", "predicted")]
    if report["task"] in WRITTEN:
        steps = [f"{WRITTEN[report['task']] * share:g}" for share in (0.1, 0.25, 0.5, 0.75)]
        return [Choice("score_below", "Score", {step: f"Below {step}" for step in steps}, none="Any score")]
    return [Choice("right", "Right or wrong", RIGHT, none="All rows"), *(by_label if labels else [])]


def _row(row: Mapping[str, Any]) -> Row:
    shown = {name: value if name in NUMBERS else _cell(value) for name, value in row.items()}
    return {**shown, "id": str(row["row"])}


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return _short(value_text([_short(value_text(one)) for one in value]), MOST_IN_ALL)
    return _short(value_text(value))


def _short(text: str, most: int = MOST_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]} …"


def _heading(name: str) -> str:
    return HEADINGS.get(name, name)


def _kind(name: str) -> Any:
    return "number" if name in NUMBERS else "text"
