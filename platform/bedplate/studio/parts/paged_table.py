"""A table of a list that REST gives in pages: it is never asked for all, however much there is, and stays in place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.aio.connection import Connection
from bedplate.studio.parts.tables import PAGE_ROWS, Column, shown_rows, table

__all__ = ["PagedTable", "search_pages"]

MOST_ASKED = 8  # pages that one look goes through for what REST does not choose by
Found = tuple[list[dict[str, Any]], str | None]  # items, and where the next page begins


class PagedTable:
    """The newest page first, and buttons to older ones. `look` brings the page up to date in place."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        name: str,
        fetch: Callable[[str | None], Awaitable[Found]],
        row: Callable[[Mapping[str, Any]], dict[str, Any]],
        nothing: Callable[[], None],
    ) -> None:
        """`fetch(after)` asks for a page, `row` makes what columns show of an item, `nothing` says there is none."""
        self._columns, self._fetch, self._row = columns, fetch, row
        self._begins: list[str | None] = [None]  # where each page up to this one begins
        self._next: str | None = None
        with html.div() as self._nothing:
            nothing()
        self._nothing.visible = False
        self._table = table(columns, [], name=name, page_rows=0).props("hide-pagination").classes("bp-paged")
        with html.nav(**{"aria-label": "Pages"}).classes("bp-row") as self._buttons:
            self._newer = ui.button("Newer", on_click=self._turn_back).props("flat no-caps")
            self._older = ui.button("Older", on_click=self._turn_on).props("flat no-caps")
            self._where = ui.label().classes("bp-hint")

    async def begin(self) -> None:
        """From the newest on, as after a change of filters."""
        self._begins = [None]
        await self.look()

    async def look(self) -> None:
        """This page as it is now."""
        asked = list(self._begins)
        items, following = await self._fetch(asked[-1])
        if asked != self._begins:
            return  # another page was turned to meanwhile
        rows = shown_rows(self._columns, [self._row(item) for item in items])
        if rows != self._table.rows:
            self._table.rows = rows
        self._next = following
        is_one_page = len(asked) == 1 and following is None
        self._nothing.visible, self._table.visible = not rows and is_one_page, bool(rows)
        self._newer.enabled, self._older.enabled = len(asked) > 1, following is not None
        self._buttons.visible = not is_one_page
        self._where.text = f"Page {len(asked)}" if rows else f"Page {len(asked)}: none here; look at older ones"

    async def _turn_on(self) -> None:
        if self._next is not None:
            self._begins.append(self._next)
            await self.look()

    async def _turn_back(self) -> None:
        if len(self._begins) > 1:
            self._begins.pop()
            await self.look()


async def search_pages(
    connection: Connection,
    path: str,
    after: str | None,
    wanted: Callable[[Mapping[str, Any]], bool] | None = None,
    **filters: Any,
) -> Found:
    """A page of a list of REST's. With `wanted`, which REST does not know, a few of its pages are looked through for
    one; where they hold too little the page is short, and goes on where they end.
    """
    given = {name: value for name, value in filters.items() if value not in (None, "")}
    found: list[dict[str, Any]] = []
    for _ in range(MOST_ASKED if wanted else 1):
        body = await connection.get(path, limit=PAGE_ROWS, after=after, **given)
        found += [item for item in body["items"] if wanted is None or wanted(item)]
        after = body.get("next")
        if after is None or len(found) >= PAGE_ROWS:
            break
    return found, after
