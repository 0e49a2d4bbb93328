"""What a notebook shows of the server's objects: one as name and value, a list of them as a table."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Protocol, TypeVar, runtime_checkable

__all__ = ["Table", "facts_html"]

T = TypeVar("T")
TIMES = ("created", "started", "finished", "expires", "revoked", "time")  # seconds since 1970
SHOWN_ROWS = 200


@runtime_checkable
class HasFacts(Protocol):
    """Something with the few facts that a table shows of it."""

    def facts(self) -> dict[str, Any]: ...


class Table(list[T]):
    """A list that a notebook shows as a table. In all else it is a list."""

    def _repr_html_(self) -> str:
        rows = [_facts(item) for item in self[:SHOWN_ROWS]]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if not columns:
            return "<em>none</em>"
        more = f"<p>and {len(self) - SHOWN_ROWS} more</p>" if len(self) > SHOWN_ROWS else ""
        return _table(columns, ([_text(name, row.get(name)) for name in columns] for row in rows)) + more


def facts_html(title: str, facts: Mapping[str, Any]) -> str:
    """One object: what it is, and its facts line by line."""
    return f"<strong>{escape(title)}</strong>" + _table(
        (), ([name, _text(name, value)] for name, value in facts.items())
    )


def _facts(item: Any) -> Mapping[str, Any]:
    if isinstance(item, HasFacts):
        return item.facts()
    return item if isinstance(item, Mapping) else {"value": item}


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _text(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name in TIMES and isinstance(value, (int, float)):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
