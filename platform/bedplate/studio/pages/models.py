"""Models: what is in the registry, found by words and filters, page by page."""

from __future__ import annotations

from typing import Any

from bedplate.studio.frame import page
from bedplate.studio.parts.filters import TASK_NAMES, Choice, Filters, bounds_of
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.model_words import aliases_of, no_import
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.tables import PAGE_ROWS, Column, table
from bedplate.studio.parts.turner import Page, PageTurner
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.catalog import shipped_catalog
from bedplate_registry.search import SOURCES

__all__ = ["models"]

SORTS = {
    "-created": "Newest first",
    "-size": "Largest first",
    "size": "Smallest first",
    "-parameters": "Most parameters first",
}
SHELVES = {"archived": "Archived ones"}
COLUMNS = (
    Column("ref", "Model", link="url", sortable=False),
    Column("does", "Task", sortable=False),
    Column("license_spdx", "License", sortable=False),
    Column("parameters", "Parameters", "number", sortable=False),
    Column("size_bytes", "Size", "bytes", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("means", "Aliases", sortable=False),
    Column("state", "State", "state", sortable=False),
)


@page("/models", "Models", section="Models")
async def models(visit: Visit) -> None:
    """The newest version of each model; or the versions that are archived, or that an alias means."""
    with title("Models", "What is here, with the newest version of each."):
        action("Import a model", place("import"), primary=True, why_not=no_import(visit))
    first = [Choice.task(), Choice("sort", "Sort by", SORTS, none="Name, or best hits")]
    filters = Filters("models", "Search names, facts and cards", [*first, *_more()], lambda: turner.begin())
    filters.show(first, _more())

    async def fetch(after: str | None) -> Page:
        return await visit.ws.connection.get(url_path("models"), limit=PAGE_ROWS, after=after, **_asked(filters))

    def show(items: list[Any]) -> None:
        if items:
            table(COLUMNS, [_row(item) for item in items], name="Models", page_rows=0)
        elif filters.values:
            empty("None match.", action="Show all models", href=place("models"))
        else:
            empty("None yet.", action="See what can be imported", href=place("catalog"))

    turner = PageTurner(fetch, show)
    await filters.begin()


def _more() -> list[Choice]:
    catalog = shipped_catalog()
    licenses = sorted({entry.license for entry in catalog if entry.license})
    languages = sorted({language for entry in catalog for language in entry.languages})
    return [
        Choice.finetunable_for(),
        Choice.size(),
        Choice("license", "License", ideas=[*licenses, "unknown"]),
        Choice("language", "Language", ideas=languages),
        Choice("source", "Came from", dict(zip(SOURCES, ("A Hub", "A folder", "A job here"), strict=True))),
        Choice("alias", "Alias", ideas=["production", "staging"]),
        Choice("shelf", "Show", SHELVES, none="Those in use"),
    ]


def _asked(filters: Filters) -> dict[str, Any]:
    """As REST takes it."""
    values = filters.values
    sort, size, shelf = (values.pop(key, "") for key in ("sort", "size", "shelf"))
    asked: dict[str, Any] = {**values, **bounds_of(size), "archived": True if shelf else None}
    return {**asked, "sort": sort.removeprefix("-") or None, "descending": True if sort.startswith("-") else None}


def _row(item: dict[str, Any]) -> dict[str, Any]:
    does = TASK_NAMES.get(item["task"] or "", item["task"]) or "Base, to be fine-tuned"
    return {**item, "url": place("models", item["ref"]), "does": does, "means": aliases_of(item)}
