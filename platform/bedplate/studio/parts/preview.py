"""Rows of somebody's data, a page at a time and with their numbers. What is in them is text, whatever it looks like."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.sheets import MOST_CHARACTERS, SHOWN_CHARACTERS, cell, sheet
from bedplate.studio.parts.turner import PageTurner

__all__ = ["Preview", "rounded", "rows_sheet", "text_of"]

PAGE_ROWS = 20
MOST_COLUMNS = 40
MOST_OF_A_PAGE = 1 << 20  # characters; once they are spent, cells hold no more than is shown of them folded
DIGITS = 6  # of a number that a model came to
Fetch = Callable[[int, int], Awaitable[dict[str, Any]]]  # (rows to skip, rows at most) -> {"items": …, "next": …}


class Preview:
    """A page of rows, buttons to the others, and a field that leads to one by its number."""

    def __init__(
        self, fetch: Fetch, columns: Sequence[str], rows: int, *, name: str, read: Callable[[Any], Any] | None = None
    ) -> None:
        """`fetch` asks for rows as REST gives them; there are `rows` of them in all. `begin` draws the first page.

        `read` makes of each value what is shown of it, as `rounded` does.
        """
        self._fetch_rows, self._columns, self._name, self._read = fetch, columns, name, read
        self._skipped = 0
        if rows > PAGE_ROWS:
            number = ui.number(f"Go to row (1 to {rows:,})", min=1, max=rows, precision=0)
            number.props("outlined dense debounce=500").classes("bp-field")
            number.on_value_change(lambda event: self._go_to(event.value, rows))
        self._pages = PageTurner(self._fetch, self._show, back="Rows before", on="Next rows")

    async def begin(self) -> None:
        """The first page."""
        await self._pages.begin()

    async def _go_to(self, number: float | None, rows: int) -> None:
        if number is not None and 1 <= number <= rows:
            await self._pages.begin(str(int(number) - 1) if number > 1 else None)

    async def _fetch(self, after: str | None) -> dict[str, Any]:
        self._skipped = int(after or 0)
        return await self._fetch_rows(self._skipped, PAGE_ROWS)

    def _show(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            hint("It has no rows.")
            return
        if self._read is not None:
            rows = [{name: self._read(value) for name, value in row.items()} for row in rows]
        rows_sheet(self._columns, enumerate(rows, self._skipped + 1), name=self._name)


def rows_sheet(columns: Sequence[str], rows: Iterable[tuple[int, dict[str, Any]]], *, name: str) -> None:
    """Rows under their numbers, which count from 1 without the header."""
    shown, left = columns[:MOST_COLUMNS], MOST_OF_A_PAGE
    with sheet(("Row", *(column[:SHOWN_CHARACTERS] for column in shown)), name=name):
        for number, row in rows:
            with html.tr():
                html.td(f"{number:,}").classes("bp-number")
                for column in shown:
                    text, most = text_of(row.get(column)), MOST_CHARACTERS if left > 0 else SHOWN_CHARACTERS
                    cell(text, most=most)
                    left -= min(len(text), most)
    if len(columns) > len(shown):
        hint(f"The first {len(shown)} of {len(columns):,} columns are shown.")


def text_of(value: Any) -> str:
    """A value as it is read: texts as they are, nothing as nothing, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def rounded(value: Any) -> Any:
    """Numbers that were worked out, also within lists, to as many digits as mean anything."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return {name: rounded(item) for name, item in value.items()} if isinstance(value, dict) else value
