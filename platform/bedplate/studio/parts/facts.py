"""Names with their values: what is known of one thing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nicegui import html

__all__ = ["facts"]


def facts(rows: Iterable[tuple[str, Any]]) -> None:
    """A list of facts. A value of None is left out; one with `href` beside it (a pair) is a link."""
    with html.dl().classes("bp-facts"):
        for name, value in rows:
            if value is None or value == "":
                continue
            html.dt(name)
            with html.dd():
                if isinstance(value, tuple):
                    html.a(str(value[0]), href=value[1])
                else:
                    html.span(str(value))
