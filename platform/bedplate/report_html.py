"""HTML made of elements: whatever is not HTML by its type is text, and is escaped. Nothing here runs or is fetched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["Html", "element", "facts", "figure_text", "joined", "separated", "table", "value_text"]

EMPTY = {"meta", "br", "line", "path", "circle", "rect"}


class Html(str):
    """A text that is HTML already. Only `element` and `joined` make it, and who wrote it out in the source."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: Any) -> Html:
    """`class_` is class, `aria_label` aria-label; an attribute of None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in EMPTY:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """One after the other; those that are text, escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, name: str, class_: str | None = None) -> Html:
    """A table whose first cells head their rows; a cell that is an element of the table already stays so.

    A wide one is scrolled in its own place.
    """
    head = element("tr", *(element("th", text, scope="col") for text in headings))
    body = (element("tr", *(_cell(cell, is_first=not at) for at, cell in enumerate(row))) for row in rows)
    made = element("table", element("thead", head), element("tbody", *body), class_=class_)
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=name)


def _cell(cell: str, *, is_first: bool) -> Html:
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    return element("th", cell, scope="row") if is_first else element("td", cell)


def facts(rows: Iterable[tuple[str, Any]]) -> Html:
    """Names with their values; those without one are left out."""
    shown = [(name, value) for name, value in rows if value not in (None, "", [], {})]
    parts = (part for name, value in shown for part in (element("dt", name), element("dd", value_text(value))))
    return element("dl", *parts)


def figure_text(value: Any) -> str:
    """Four digits of a number; a dash for none; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if math.isfinite(value) and 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def value_text(value: Any) -> str:
    """Anything of a report in one line; what is HTML already stays so."""
    if isinstance(value, Html):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {value_text(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        parts = [value_text(one) for one in value]
        return "; ".join(parts) if any(isinstance(one, Mapping) for one in value) else separated(parts)
    return figure_text(value)


def separated(parts: Sequence[str]) -> str:
    """Items of a list in one line: with commas, or with bars where they have blanks, as sentences do."""
    return (" | " if any(" " in part for part in parts) else ", ").join(parts)
