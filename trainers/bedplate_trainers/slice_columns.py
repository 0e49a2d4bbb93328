"""The columns of the data that an evaluation is sliced by. Imports no numpy."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from sys import intern
from typing import Any

from bedplate_registry.errors import Refused, nearest
from bedplate_registry.tables import columns_of, read_rows
from bedplate_registry.ways import Way, find_way, reach

from .messages import DataFile

__all__ = ["Columns", "check_slices", "free_names", "read_columns", "unlike"]

Columns = Mapping[str, Sequence[str]]  # of each column the values of all rows, as texts
MOST_CHARACTERS = 100  # of a value
DIGEST_CHARACTERS = 8
NONE = "(none)"


def check_slices(file: DataFile, names: Sequence[str]) -> None:
    """Raises Refused with the nearest where the data has no column of that name."""
    _ways(file, names)


def read_columns(file: DataFile, names: Sequence[str]) -> dict[str, list[str]]:
    """The columns of a file that slices are made of; (none) where a row has no value. Raises Refused."""
    if not names:
        return {}
    ways = _ways(file, names)
    found: dict[str, list[str | None]] = {name: [] for name in names}
    for row in read_rows(file.path, file.format):
        for name, way in ways.items():
            found[name].append(_text(_reached(row, way)))
    for name, values in found.items():
        if len(ways[name]) > 1 and not any(values):
            raise Refused(
                f"No row has {name!r}, which slices names.",
                hint=f"The column {ways[name][0]!r} holds no such object.",
                code="unknown-column",
            )
    return {name: _without_gaps(values) for name, values in found.items()}


def free_names(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """What columns are called beside names that are taken: data.NAME, or data.data.NAME where that is a column too."""
    names = tuple(names)
    used = {*taken, *names}
    found = {}
    for name in names:
        free = name
        while free in used and (free != name or name in taken):
            free = f"data.{free}"
        used.add(free)
        found[name] = free
    return found


def unlike(value: str, others: Collection[str]) -> str:
    """A value that is made up, in as many brackets as it takes to tell it from all others."""
    while value in others:
        value = f"({value})"
    return value


def _ways(file: DataFile, names: Sequence[str]) -> dict[str, Way]:
    """Where each is: a dot reaches into an object, unless a column has that whole name, as in --map."""
    known = columns_of(file.path, file.format) if names else []
    return {name: _way(name, known) for name in names}


def _way(name: str, known: Sequence[str]) -> Way:
    if way := find_way(name, known):
        return way
    raise Refused(
        f"The data has no column {name!r}, which slices names.",
        hint=nearest(name, known),
        code="unknown-column",
    )


def _reached(row: Mapping[str, Any], way: Way) -> Any:
    """Nothing where an object lacks the name."""
    try:
        return reach(row, way)
    except KeyError:
        return None


def _text(value: Any) -> str | None:
    """A value as slices name it. One that is too long ends with a digest, by which it differs from others like it."""
    if value is None or value == "" or value != value:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > MOST_CHARACTERS:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]
        text = f"{text[: MOST_CHARACTERS - DIGEST_CHARACTERS - 2]}… {digest}"
    return intern(text)  # few values, many rows


def _without_gaps(values: Sequence[str | None]) -> list[str]:
    none = unlike(NONE, {value for value in values if value is not None})
    return [none if value is None else value for value in values]
