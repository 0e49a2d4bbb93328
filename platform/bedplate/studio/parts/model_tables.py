"""Tables whose rows become a list on a narrow screen, with their links, dates and states as in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bedplate.studio.parts.tables import PAGE_ROWS, Column, table
from bedplate.studio.parts.turner import PageTurner

__all__ = ["rows_table", "turned_table"]

ITEM = """<div class="bp-item"><dl class="bp-facts">
  <template v-for="col in props.cols" :key="col.name">
    <template v-if="props.row['__shown_' + col.name]">
      <dt>{{ col.label }}</dt>
      <dd>
        <a v-if="props.row['__link_' + col.name]" :href="props.row['__link_' + col.name]"
          >{{ props.row['__shown_' + col.name] }}</a>
        <span v-else-if="props.row['__tone_' + col.name]" :class="'bp-state bp-' + props.row['__tone_' + col.name]"
          >{{ props.row['__shown_' + col.name] }}</span>
        <span v-else>{{ props.row['__shown_' + col.name] }}</span>
      </dd>
    </template>
  </template>
</dl></div>"""


def rows_table(columns: Sequence[Column], rows: Sequence[dict[str, Any]], *, name: str) -> None:
    """A table of as many rows as are given: one page of a longer list, or a short one."""
    table(columns, rows, name=name, page_rows=max(PAGE_ROWS, len(rows))).add_slot("item", ITEM)


async def turned_table(columns: Sequence[Column], rows: Sequence[dict[str, Any]], *, name: str) -> None:
    """A table of rows that are all at hand, of which a browser gets one page at a time."""

    async def fetch(after: str | None) -> dict[str, Any]:
        begin = int(after or 0)
        end = begin + PAGE_ROWS
        return {"items": rows[begin:end], "next": str(end) if end < len(rows) else None}

    await PageTurner(fetch, lambda items: rows_table(columns, items, name=name)).begin()
