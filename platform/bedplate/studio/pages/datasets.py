"""Datasets: what is here, with the newest version of each, and a field that takes another one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.paged_table import PagedTable
from bedplate.studio.parts.tables import PAGE_ROWS, Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.parts.uploads import upload_dataset
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

# None can be sorted by: names come in order, and to sort one page of many would mislead.
COLUMNS = (
    Column("ref", "Dataset", link="url", sortable=False),
    Column("rows", "Rows", "number", sortable=False),
    Column("width", "Columns", "number", sortable=False),
    Column("images", "Images", "number", sortable=False),
    Column("size_bytes", "Size", "bytes", sortable=False),
    Column("format", "Format", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("state", "State", "state", sortable=False),
)
WHICH = {"": "The newest version of each", "all": "All versions, archived too", "archived": "Archived versions"}


@page("/datasets", "Datasets", section="Datasets")
async def datasets(visit: Visit, which: str = "") -> None:
    """A page of them at a time, by name."""

    async def fetch(after: str | None) -> Page:
        chosen = {name: True for name in ("all", "archived") if choice.value == name}
        return await visit.ws.connection.get(url_path("datasets"), limit=PAGE_ROWS, after=after, **chosen)

    async def choose() -> None:
        ui.navigate.history.replace(place("datasets", which=choice.value or None))
        await shown.begin()

    with title("Datasets", "Tables and folders of images, in versions that never change."):
        pass
    with html.div().classes("bp-filters"):
        choice = ui.select(WHICH, value=which if which in WHICH else "", label="Shown", on_change=choose)
        choice.props("dense outlined")
    shown = PagedTable(COLUMNS, name="Datasets", fetch=fetch, row=_row, nothing=_nothing, back="Back", on="Next")
    await shown.begin()
    with section(
        "Add a dataset", "CSV, TSV, JSON, JSONL or Parquet. A name that is there already gets its next version."
    ):
        if not (visit.may("train") or visit.may("batch")):
            hint(f"The role {visit.role} may not add data. Ask an admin for the role 'user'.")
            return
        upload_dataset(visit, lambda ref: go("datasets", ref))
        hint("A folder of images is added from where it lies: bedplate datasets add NAME FOLDER")


def _nothing() -> None:
    empty("There is no dataset here. Add a file of rows below.")


def _row(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: dataset[name] for name in ("ref", "rows", "size_bytes", "format", "state")},
        "url": place("datasets", str(dataset["ref"])),
        "width": len(dataset["columns"]),
        "images": dataset["images"] or None,
        "created": datetime.fromisoformat(dataset["created"]).timestamp(),
    }
