"""What a column holds in one row, checked for the kind of its key. A cell of CSV spells lists and objects in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import Refused
from .tasks import Key

__all__ = ["BadValue", "as_list", "checked", "listed", "parsed"]

_LISTS_OF = {"label": object, "texts": str}  # what the lists are of that a cell of such a kind may spell


class BadValue(Refused):
    """A row does not hold what a column is mapped for. `problem` says why: missing, empty or wrong."""

    code = "bad-value"

    def __init__(self, column: str, what: str, problem: str = "wrong") -> None:
        super().__init__(f"The column {column!r} {what}.", hint="Fix the row or map another column.")
        self.problem = problem


def listed(value: str | list[str]) -> list[str]:
    """The texts of a key that may have one or several."""
    return value if isinstance(value, list) else [value]


def checked(key: Key, value: Any, column: str) -> Any:
    """The value as the key takes it. Raises BadValue."""
    if key.kind == "image":
        return value
    if key.reads_json and isinstance(value, str):
        value = _cell(key, value)
    if key.kind == "text":
        return _as_text(value, column)
    if key.kind == "texts":
        return _as_texts(value, column)
    if key.kind == "label":
        return _as_label(value, column)
    if key.kind == "list":
        return as_list(value, column)
    if not isinstance(value, Mapping):
        raise _bad_value(value, column, f"is {type(value).__name__}, not an object")
    return dict(value)


def _cell(key: Key, text: str) -> Any:
    """What it spells in JSON. Of a label or texts that can only be a list; all else is itself, brackets or not."""
    if key.kind not in _LISTS_OF:
        return parsed(text)
    value = parsed(text) if text.lstrip().startswith("[") else text
    is_list = isinstance(value, list) and all(isinstance(one, _LISTS_OF[key.kind]) for one in value)
    return value if is_list else text


def _as_texts(value: Any, column: str) -> str | list[str]:
    if not isinstance(value, list | tuple):
        return _as_text(value, column)
    if not value:
        raise BadValue(column, "is empty", "empty")
    return [_as_text(one, column) for one in value]


def _as_text(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return str(value)
    raise _bad_value(value, column, f"is {type(value).__name__}, not a text")


def _as_label(value: Any, column: str) -> str | int | list[str]:
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    # Parquet turns a column of integers with a gap into floats.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int) and value != "":
        return value
    raise _bad_value(value, column, f"is {value!r}: a label is a text or an integer")


def as_list(value: Any, column: str) -> list[Any]:
    if isinstance(value, str):
        value = parsed(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise _bad_value(value, column, f"is {type(value).__name__}, not a list")


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _bad_value(value: Any, column: str, what: str) -> BadValue:
    return BadValue(column, "is empty", "empty") if value in (None, "") else BadValue(column, what)
