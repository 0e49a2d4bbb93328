"""Rows of anything, as a table that can be sorted and paged, and as a list on a narrow screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from nicegui import ui

from bedplate.records import seconds_of
from bedplate.studio.parts.states import TONES
from bedplate_registry.sizes import size_text

__all__ = ["PAGE_ROWS", "Column", "shown_rows", "table", "when"]

PAGE_ROWS = 25
Kind = Literal["text", "number", "time", "bytes", "state"]
CELL = """<q-td :props="props">
  <a v-if="props.row['%(link)s']" :href="props.row['%(link)s']">{{ props.row['%(shown)s'] }}</a>
  <span v-else>{{ props.row['%(shown)s'] }}</span></q-td>"""
STATE = """<q-td :props="props"><span :class="'bp-state bp-' + props.row['%(tone)s']">{{ props.value }}</span></q-td>"""

# Quasar's own shows values as they are sorted, and no links.
ON_NARROW = """<div class="bp-item"><template v-for="col in props.cols" :key="col.name">
  <div v-if="props.row['__shown_' + col.name]"><span class="bp-hint">{{ col.label }}</span>
    <a v-if="props.row['__link_' + col.name]" :href="props.row['__link_' + col.name]">{{
      props.row['__shown_' + col.name] }}</a>
    <span v-else :class="props.row['__tone_' + col.name] ? 'bp-state bp-' + props.row['__tone_' + col.name] : ''">{{
      props.row['__shown_' + col.name] }}</span></div></template></div>"""


@dataclass(frozen=True)
class Column:
    """One column: the key of a row's value, its heading, how it is shown, and the row's key that holds its link."""

    key: str
    title: str
    kind: Kind = "text"
    link: str = ""
    sortable: bool = True


def table(
    columns: Sequence[Column], rows: Sequence[dict[str, Any]], *, name: str, page_rows: int = PAGE_ROWS
) -> ui.table:
    """A table called `name` for those who do not see it. Rows are sorted by their values and show them for people.

    Times are seconds since 1970, sizes bytes. The rows of `table.rows` may be replaced by those of `shown_rows`.
    """
    made = ui.table(
        columns=[_quasar(column) for column in columns],
        rows=[_shown(columns, row) for row in rows],
        row_key="__key",
        pagination={"rowsPerPage": page_rows, "sortBy": None},
    )
    made.props["aria-label"] = name
    made.props(f'flat :grid="Quasar.Screen.lt.sm" {"hide-pagination" if len(rows) <= page_rows else ""}')
    made.classes("bp-table").add_slot("item", ON_NARROW)
    for column in columns:
        places = {"link": f"__link_{column.key}", "shown": f"__shown_{column.key}", "tone": f"__tone_{column.key}"}
        made.add_slot(f"body-cell-{column.key}", (STATE if column.kind == "state" else CELL) % places)
    return made


def shown_rows(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `table.rows` takes."""
    return [_shown(columns, row) for row in rows]


def when(time: float | str | None) -> str:
    """A time, seconds since 1970 or as the registry writes it, by this server's clock."""
    return "" if time is None else datetime.fromtimestamp(seconds_of(time)).strftime("%Y-%m-%d %H:%M")


def _quasar(column: Column) -> dict[str, Any]:
    side = "right" if column.kind in ("number", "bytes") else "left"
    return {"name": column.key, "label": column.title, "field": column.key, "align": side, "sortable": column.sortable}


def _shown(columns: Sequence[Column], row: dict[str, Any]) -> dict[str, Any]:
    """The values to sort by, and beside each what people read."""
    made: dict[str, Any] = {"__key": str(row.get("id") or row.get("ref") or row.get("name") or id(row))}
    for column in columns:
        value = row.get(column.key)
        if column.kind == "time" and value is not None:
            value = seconds_of(value)
        made[column.key] = value
        made[f"__shown_{column.key}"] = _text(column.kind, value)
        if column.link:
            made[f"__link_{column.key}"] = row.get(column.link)
        if column.kind == "state":
            made[f"__tone_{column.key}"] = TONES.get(str(value), "calm")
    return made


def _text(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    if kind == "time":
        return when(value)
    if kind == "bytes":
        return size_text(value)
    if kind == "number":
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
