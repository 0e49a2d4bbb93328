"""Turning the pages of a list that REST gives in pages: it is never asked for all, however much there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import html, ui

__all__ = ["PageTurner"]

Body = dict[str, Any]  # {"items": …, "next": …}


class PageTurner:
    """Two buttons. `fetch(after)` asks for a page, `show(items)` draws it; they are made where the turner is made."""

    def __init__(
        self,
        fetch: Callable[[str | None], Awaitable[Body]],
        show: Callable[[list[Any]], None],
        *,
        back: str = "Back",
        on: str = "Next",
    ) -> None:
        self._fetch, self._show = fetch, show
        self._begins: list[str | None] = [None]  # where each page up to this one begins
        self._next: str | None = None
        self.drawn = html.div()
        with html.nav(**{"aria-label": "Pages"}).classes("bp-row") as self._buttons:
            self._back = ui.button(back, on_click=self._turn_back, color=None).props("flat no-caps")
            self._on = ui.button(on, on_click=self._turn_on, color=None).props("flat no-caps")
            self._where = ui.label().classes("bp-hint")

    async def begin(self, after: str | None = None) -> None:
        """The first page, or the one that begins there."""
        self._begins = [None] if after is None else [None, after]
        await self.look()

    async def look(self) -> None:
        """This page as it is now."""
        asked = list(self._begins)
        body = await self._fetch(asked[-1])
        if asked != self._begins:
            return  # another page was turned to meanwhile
        self.drawn.clear()
        with self.drawn:
            self._show(body["items"])
        self._next = None if body.get("next") is None else str(body["next"])
        self._back.enabled, self._on.enabled = len(asked) > 1, self._next is not None
        self._buttons.visible = len(asked) > 1 or self._next is not None
        self._where.text = f"Page {len(asked)}"

    async def _turn_on(self) -> None:
        if self._next is not None:
            self._begins.append(self._next)
            await self.look()

    async def _turn_back(self) -> None:
        if len(self._begins) > 1:
            self._begins.pop()
            await self.look()
