"""The files of a version with their digests, and whether they still have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html, ui

from bedplate.aio.models import Model
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.paged_table import PagedTable, Row
from bedplate.studio.parts.tables import PAGE_ROWS, Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.visit import Visit
from bedplate.wire import model_path

__all__ = ["files"]

COLUMNS = (
    Column("path", "File", sortable=False),
    Column("size_bytes", "Size", "bytes", sortable=False),
    Column("sha256", "SHA-256", sortable=False),
)


async def files(visit: Visit, model: Model) -> None:
    """Page by page: some models have thousands."""
    with section("Files"):
        _verify(model)

        async def fetch(after: str | None) -> Page:
            return await visit.ws.connection.get(model_path(model.ref, "files"), limit=PAGE_ROWS, after=after)

        shown = PagedTable(COLUMNS, name="Files", fetch=fetch, row=_row, nothing=_nothing, back="Back", on="Next")
        await shown.begin()
    await _license(model)


def _nothing() -> None:
    hint("It has no files.")


def _row(item: Mapping[str, Any]) -> Row:
    return {**item, "id": item["path"]}


def _verify(model: Model) -> None:
    """Reading every byte takes a while: the page says so meanwhile."""

    async def verify() -> None:
        button.disable()
        told.clear()
        with told:
            hint("Every byte is read…")
        try:
            problems = await model.verify()
        finally:
            button.enable()
            told.clear()
        with told:
            if not problems:
                html.div("Every file has the digest it was registered with.").classes("bp-calmbox")
                return
            with html.div(role="alert").classes("bp-problem"):
                ui.label("Nothing is served from it. Import it again, which repairs what is damaged.").classes(
                    "bp-strong"
                )
                for problem in problems:
                    ui.label(problem)

    button = ui.button("Verify", on_click=verify).props("outline no-caps").classes("bp-verify")
    told = html.div(role="status")


async def _license(model: Model) -> None:
    found = await model.license_texts()
    for file in found["files"]:
        with html.details().classes("bp-more"):
            html.summary(file["path"])
            html.pre(file["text"], tabindex="0").classes("bp-log")
