"""The columns of the data that an evaluation is sliced by. Imports no numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from sys import intern
from typing import Any

from bedplate_registry.errors import Refused, nearest
from bedplate_registry.tables import columns_of, read_rows

from .messages import DataFile

__all__ = ["Columns", "check_slices", "read_columns"]

Columns = Mapping[str, Sequence[str]]  # of each column the values of all rows, as texts
MOST_CHARACTERS = 100  # of a value
NONE = "(none)"


def check_slices(file: DataFile, names: Sequence[str]) -> None:
    """Raises Refused with the nearest where the data has no column of that name."""
    known = columns_of(file.path, file.format) if names else []
    for name in names:
        if name not in known:
            raise Refused(
                f"The data has no column {name!r}, which slices names.",
                hint=nearest(name, known),
                code="unknown-column",
            )


def read_columns(file: DataFile, names: Sequence[str]) -> dict[str, list[str]]:
    """The columns of a file that slices are made of; (none) where a row has no value. Raises Refused."""
    if not names:
        return {}
    check_slices(file, names)
    found: dict[str, list[str]] = {name: [] for name in names}
    for row in read_rows(file.path, file.format):
        for name in names:
            found[name].append(_text(row.get(name)))
    return found


def _text(value: Any) -> str:
    """A value as slices name it."""
    if value is None or value == "" or value != value:
        return NONE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return intern(text[:MOST_CHARACTERS])  # few values, many rows
