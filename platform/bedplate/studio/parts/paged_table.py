"""A table of which a browser gets one page at a time, and which stays in place while it is brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import html

from bedplate.aio.connection import Connection
from bedplate.studio.parts.tables import PAGE_ROWS, Column, shown_rows, table
from bedplate.studio.parts.turner import Fetch, Page, PageTurner, slices

__all__ = ["PagedTable", "Row", "search_pages", "turned_table"]

MOST_ASKED = 8  # pages that one look goes through for what REST does not choose by
Row = dict[str, Any]


class PagedTable:
    """The first page, and buttons to the others. `look` brings the page up to date in place."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        name: str,
        fetch: Fetch,
        nothing: Callable[[], None],
        row: Callable[[Mapping[str, Any]], Row] = dict,
        back: str = "Newer",
        on: str = "Older",
    ) -> None:
        """`fetch(after)` asks for a page, `row` makes what columns show of an item, `nothing` says there is none."""
        self._columns, self._row = columns, row
        with html.div() as self._nothing:
            nothing()
        self._nothing.visible = False
        self._table = table(columns, [], name=name, page_rows=0).classes("bp-paged")
        self._table.visible = False
        self._turner = PageTurner(fetch, self._show, back=back, on=on, in_place=True)

    async def begin(self) -> None:
        """From the first on, as after a change of filters."""
        await self._turner.begin()

    async def look(self) -> None:
        """This page as it is now."""
        await self._turner.look()

    def _show(self, items: list[Any]) -> None:
        rows = shown_rows(self._columns, [self._row(item) for item in items])
        if rows != self._table.rows:
            self._table.rows = rows
        self._nothing.visible, self._table.visible = not rows and self._turner.is_only_page, bool(rows)


async def turned_table(columns: Sequence[Column], rows: Sequence[Row], *, name: str) -> None:
    """A table of rows that are all at hand, the first first."""
    fetch = slices([*rows], PAGE_ROWS)
    await PagedTable(columns, name=name, fetch=fetch, nothing=lambda: None, back="Back", on="Next").begin()


async def search_pages(
    connection: Connection,
    path: str,
    after: str | None,
    wanted: Callable[[Mapping[str, Any]], bool] | None = None,
    **filters: Any,
) -> Page:
    """A page of a list of REST's. With `wanted`, which REST does not know, a few of its pages are looked through for
    one; where they hold too little the page is short, and goes on where they end.
    """
    given = {name: value for name, value in filters.items() if value not in (None, "")}
    found: list[Row] = []
    for _ in range(MOST_ASKED if wanted else 1):
        body = await connection.get(path, limit=PAGE_ROWS, after=after, **given)
        found += [item for item in body["items"] if wanted is None or wanted(item)]
        after = body.get("next")
        if after is None or len(found) >= PAGE_ROWS:
            break
    return {"items": found, "next": after}
