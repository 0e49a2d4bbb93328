"""Tables whose rows become a list on a narrow screen, with their links, dates and states as in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bedplate.studio.parts.tables import PAGE_ROWS, Column, table
from bedplate.studio.parts.turner import PageTurner

__all__ = ["rows_table", "turned_table"]


def rows_table(columns: Sequence[Column], rows: Sequence[dict[str, Any]], *, name: str) -> None:
    """A table of as many rows as are given: one page of a longer list, or a short one."""
    table(columns, rows, name=name, page_rows=max(PAGE_ROWS, len(rows)))


async def turned_table(columns: Sequence[Column], rows: Sequence[dict[str, Any]], *, name: str) -> None:
    """A table of rows that are all at hand, of which a browser gets one page at a time."""

    async def fetch(after: str | None) -> dict[str, Any]:
        begin = int(after or 0)
        end = begin + PAGE_ROWS
        return {"items": rows[begin:end], "next": str(end) if end < len(rows) else None}

    await PageTurner(fetch, lambda items: rows_table(columns, items, name=name)).begin()
