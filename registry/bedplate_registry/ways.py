"""The way to a value of a row: a column, then names inside its objects. In CSV and TSV an object is JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cells import parsed

__all__ = ["Way", "find_way", "reach"]

Way = tuple[str, ...]


def find_way(name: str, columns: Sequence[str]) -> Way | None:
    """To the column of that whole name, or from the longest column that it begins with into its objects by dots."""
    pieces = name.split(".")
    for length in range(len(pieces), 0, -1):
        if (column := ".".join(pieces[:length])) in columns:
            return (column, *pieces[length:])
    return None


def reach(row: Mapping[str, Any], way: Way) -> Any:
    """What is there. Raises KeyError where the row has no such column, or an object no such name."""
    value: Any = row
    for depth, name in enumerate(way):
        if depth and isinstance(value, str):
            value = parsed(value)
        if not isinstance(value, Mapping):
            raise KeyError(name)
        value = value[name]
    return value
