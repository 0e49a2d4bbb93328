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
# Columns are called c0, c1 … there: the names of somebody's own columns never become keys or parts of a template.
VALUE = """<a v-if="props.row[%(col)s.name + '_link']" :href="props.row[%(col)s.name + '_link']">{{
    props.row[%(col)s.name + '_shown'] }}</a>
  <span v-else-if="props.row[%(col)s.name + '_tone']" :class="'bp-state bp-' + props.row[%(col)s.name + '_tone']">{{
    props.row[%(col)s.name + '_shown'] }}</span>
  <span v-else>{{ props.row[%(col)s.name + '_shown'] }}</span>"""
CELL = f"""<q-td :props="props">{VALUE % {"col": "props.col"}}</q-td>"""
# Quasar's own list for a narrow screen shows values as they are sorted, and no links.
ON_NARROW = f"""<dl class="bp-item bp-facts">
  <template v-for="col in props.cols" :key="col.name"><template v-if="props.row[col.name + '_shown']">
    <dt>{{{{ col.label }}}}</dt><dd>{VALUE % {"col": "col"}}</dd></template></template></dl>"""

# Quasar gives what a table is called to the box around it, where it names no table.
NAME_IT = """(drawn) => {
  const table = drawn.el.querySelector("table");
  if (table) table.setAttribute("aria-label", drawn.el.getAttribute("aria-label"));
}"""


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
    With `page_rows` 0 all rows are shown.
    """
    made = ui.table(
        columns=[_quasar(number, column) for number, column in enumerate(columns)],
        rows=[_shown(columns, row) for row in rows],
        row_key="key",
        pagination={"rowsPerPage": page_rows, "sortBy": None},
    )
    made.props["aria-label"] = name
    made.props('flat role="group" :grid="Quasar.Screen.lt.sm"')
    if page_rows == 0 or len(rows) <= page_rows:
        made.props("hide-pagination")
    made.on("vnodeMounted", js_handler=NAME_IT).on("vnodeUpdated", js_handler=NAME_IT)
    made.classes("bp-table").add_slot("item", ON_NARROW)
    made.add_slot("body-cell", CELL)
    return made


def shown_rows(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `table.rows` takes."""
    return [_shown(columns, row) for row in rows]


def when(time: float | str | None) -> str:
    """A time, seconds since 1970 or as the registry writes it, by this server's clock."""
    return "" if time is None else datetime.fromtimestamp(seconds_of(time)).strftime("%Y-%m-%d %H:%M")


def _quasar(number: int, column: Column) -> dict[str, Any]:
    side = "right" if column.kind in ("number", "bytes") else "left"
    classes = "bp-nowrap" if column.kind == "time" else ""
    name = f"c{number}"
    shown = {"label": column.title, "align": side, "classes": classes, "sortable": column.sortable}
    return {"name": name, "field": name, **shown}


def _shown(columns: Sequence[Column], row: dict[str, Any]) -> dict[str, Any]:
    """The values to sort by, and beside each what people read."""
    made: dict[str, Any] = {"key": str(row.get("id") or row.get("ref") or row.get("name") or id(row))}
    for number, column in enumerate(columns):
        name, value = f"c{number}", row.get(column.key)
        if column.kind == "time" and value is not None:
            value = seconds_of(value)
        shown = _text(column.kind, value)
        # The library would draw a column that has lists in a way of its own.
        made |= {name: shown if isinstance(value, list | tuple) else value, f"{name}_shown": shown}
        if column.link:
            made[f"{name}_link"] = row.get(column.link)
        if column.kind == "state":
            made[f"{name}_tone"] = TONES.get(str(value), "calm")
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
