"""Turning the pages of a list that REST gives in pages: it is never asked for all, however much there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import html, ui

__all__ = ["Fetch", "Page", "PageTurner", "slices"]

Page = dict[str, Any]  # {"items": …, "next": where the next page begins, or None}
Fetch = Callable[[str | None], Awaitable[Page]]


class PageTurner:
    """Two buttons. `fetch(after)` asks for a page, `show(items)` draws it; they are made where the turner is made."""

    def __init__(
        self,
        fetch: Fetch,
        show: Callable[[list[Any]], None],
        *,
        back: str = "Back",
        on: str = "Next",
        in_place: bool = False,
    ) -> None:
        """With `in_place`, `show` changes what is there; else it draws anew what was cleared before."""
        self._fetch, self._show, self._in_place = fetch, show, in_place
        self._begins: list[str | None] = [None]  # where each page up to this one begins
        self._next: str | None = None
        self._asked = 0
        self._drawn = html.div()
        with html.nav(**{"aria-label": "Pages"}).classes("bp-row") as self._buttons:
            self._back = ui.button(back, on_click=self._turn_back, color=None).props("flat no-caps")
            self._on = ui.button(on, on_click=self._turn_on, color=None).props("flat no-caps")
            self._where = ui.label().classes("bp-hint").props('role="status"')
        self._buttons.visible = False

    @property
    def is_only_page(self) -> bool:
        """Whether there is no other page than the one that is shown."""
        return len(self._begins) == 1 and self._next is None

    async def begin(self, after: str | None = None) -> None:
        """The first page, or the one that begins there."""
        await self._turn([None] if after is None else [None, after])

    async def look(self) -> None:
        """This page as it is now."""
        self._asked += 1
        number = self._asked
        page = await self._fetch(self._begins[-1])
        if number == self._asked:  # else something was asked for meanwhile, which is shown instead
            self._draw(page)

    def _draw(self, page: Page) -> None:
        items = page["items"]
        self._next = None if page.get("next") is None else str(page["next"])
        self._back.enabled, self._on.enabled = len(self._begins) > 1, self._next is not None
        self._buttons.visible = not self.is_only_page
        none = "" if items else f": none here; look at {self._on.text.lower()} ones"
        self._where.text = f"Page {len(self._begins)}{none}"
        if not self._in_place:
            self._drawn.clear()
        with self._drawn:
            self._show(items)

    async def _turn(self, begins: list[str | None]) -> None:
        """To another page; where that fails, this one stays."""
        before, self._begins = self._begins, begins
        try:
            await self.look()
        except BaseException:
            self._begins = before
            raise

    async def _turn_on(self) -> None:
        if self._next is not None:
            await self._turn([*self._begins, self._next])

    async def _turn_back(self) -> None:
        if len(self._begins) > 1:
            await self._turn(self._begins[:-1])


def slices(rows: list[Any], size: int) -> Fetch:
    """Pages of what is all at hand, of which a browser is to get a part at a time."""

    async def fetch(after: str | None) -> Page:
        begin = int(after or 0)
        end = begin + size
        return {"items": rows[begin:end], "next": str(end) if end < len(rows) else None}

    return fetch
