"""Which column of a file holds which key of a task (`--map key=column`).

A column with a key's own name needs no mapping. A dot reaches into an object, unless a column has that whole name. A
key that is itself an object may be mapped by its parts (`answers.text=…`). In CSV and TSV, lists and objects are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import Refused, nearest
from .tasks import Key, Task, get_task
from .texts import has_surrogate

__all__ = ["SPARE", "BadValue", "ColumnMap", "map_columns"]

SPARE = ("id",)  # a row without it is as good

# Parts of object-valued keys that may be mapped singly.
_PARTS = {"answers": ("text", "answer_start")}


class BadValue(Refused):
    """A row does not hold what a column is mapped for. `problem` says why: missing, empty or wrong."""

    code = "bad-value"

    def __init__(self, column: str, what: str, problem: str = "wrong") -> None:
        super().__init__(f"The column {column!r} {what}.", hint="Fix the row or map another column.")
        self.problem = problem


@dataclass(frozen=True)
class ColumnMap:
    """Takes from a row what a task needs of it."""

    task: str
    paths: tuple[tuple[str, tuple[str, ...]], ...]  # key, or key.part -> the column, then names inside its objects

    @property
    def columns(self) -> dict[str, str]:
        """The mapping in full, as it can be given again."""
        return {key: ".".join(path) for key, path in self.paths}

    @property
    def has_label(self) -> bool:
        labels = {key.name for key in get_task(self.task).keys if key.is_label}
        return any(key.partition(".")[0] in labels for key, _ in self.paths)

    def pick(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's values by key, checked for their kind. Refused names the column; the caller knows the row."""
        picked, problems = self.pick_each(row)
        for problem in problems.values():
            raise problem
        for name, path in self.paths:
            if _is_broken(picked.get(name.partition(".")[0])):
                raise BadValue(".".join(path), "holds half a surrogate pair, which is no text")
        return picked

    def pick_each(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BadValue]]:
        """The values by key, and what is wrong with those that are not there, by key or `key.part`."""
        keys = {key.name: key for key in get_task(self.task).keys}
        picked: dict[str, Any] = {}
        problems: dict[str, BadValue] = {}
        for name, path in self.paths:
            key, _, part = name.partition(".")
            try:
                if part:
                    picked.setdefault(key, {})[part] = _as_list(_reach(row, path), ".".join(path))
                else:
                    picked[key] = _checked(keys[key], _reach(row, path), ".".join(path))
            except BadValue as problem:
                if problem.problem == "wrong" or key not in SPARE:
                    problems[name] = problem
        return picked, problems


def map_columns(
    task: str, available: Sequence[str], mapping: Mapping[str, str] | None = None, need_label: bool = True
) -> ColumnMap:
    """The mapping of a file with the columns `available`, or Refused naming the key or column that is wrong.

    With `need_label=False` (scoring) only inputs are mapped, and a mapping given for a label is left out.
    """
    described, mapping = get_task(task), dict(mapping or {})
    _check_keys(described, mapping)
    paths: list[tuple[str, tuple[str, ...]]] = []
    for key in described.keys:
        if key.is_label and not need_label:
            continue
        paths.extend(_paths_of(key, available, mapping, described))
    return ColumnMap(task, tuple(paths))


def _paths_of(
    key: Key, available: Sequence[str], mapping: Mapping[str, str], task: Task
) -> list[tuple[str, tuple[str, ...]]]:
    parts = [f"{key.name}.{part}" for part in _PARTS.get(key.name, ())]
    if key.name in mapping:
        return [(key.name, _locate(key.name, mapping[key.name], available))]
    if parts and all(part in mapping or part in available for part in parts):
        return [(part, _locate(part, mapping.get(part, part), available)) for part in parts]
    if any(part in mapping for part in parts):
        missing = next(part for part in parts if part not in mapping)
        raise _unmapped(missing, available)
    if key.name in available:
        return [(key.name, (key.name,))]
    if key.required:
        raise _unmapped(key.name, available)
    return []


def _check_keys(task: Task, mapping: Mapping[str, str]) -> None:
    known = [key.name for key in task.keys]
    known += [f"{key}.{part}" for key in known for part in _PARTS.get(key, ())]
    for key in mapping:
        if key not in known:
            raise Refused(
                f"{task.name} has no column key {key!r}.", hint=nearest(key, known), code="unknown-column-key"
            )


def _locate(key: str, column: str, available: Sequence[str]) -> tuple[str, ...]:
    """Where `column` is: the column of that whole name, or one of that start and a way into its objects."""
    if column in available:
        return (column,)
    pieces = column.split(".")
    for length in range(len(pieces) - 1, 0, -1):
        if (head := ".".join(pieces[:length])) in available:
            return (head, *pieces[length:])
    raise Refused(
        f"The data has no column {column!r} (mapped to {key!r}).",
        hint=nearest(column, available) if available else "The data has no columns.",
        code="unknown-column",
    )


def _unmapped(key: str, available: Iterable[str]) -> Refused:
    shown = ", ".join(available)
    return Refused(
        f"No column is mapped to {key!r}, and the data has none of that name.",
        hint=f"Add --map {key}=COLUMN. The data has: {shown}.",
        code="missing-column",
    )


def _reach(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = row
    for depth, name in enumerate(path):
        if depth and isinstance(value, str):
            value = _parsed(value)
        if not isinstance(value, Mapping) or name not in value:
            raise BadValue(".".join(path), "is missing", "missing")
        value = value[name]
    return value


def _checked(key: Key, value: Any, column: str) -> Any:
    if key.kind == "image":
        return value
    if key.reads_json and isinstance(value, str):
        value = _parsed(value) if key.kind != "label" else _label_cell(value)
    if key.kind == "text":
        return _as_text(value, column)
    if key.kind == "label":
        return _as_label(value, column)
    if key.kind == "list":
        return _as_list(value, column)
    if not isinstance(value, Mapping):
        raise _bad_value(value, column, f"is {type(value).__name__}, not an object")
    return dict(value)


def _is_broken(value: Any) -> bool:
    """Whether half a surrogate pair stands in a text, or in one of several."""
    if isinstance(value, str):
        return has_surrogate(value) is not None
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_is_broken, items))


def _label_cell(text: str) -> Any:
    """A label that spells a JSON list is the list; any other text is the label itself, brackets or not."""
    value = _parsed(text) if text.lstrip().startswith("[") else text
    return value if isinstance(value, list) else text


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


def _as_list(value: Any, column: str) -> list[Any]:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise _bad_value(value, column, f"is {type(value).__name__}, not a list")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _bad_value(value: Any, column: str, what: str) -> BadValue:
    return BadValue(column, "is empty", "empty") if value in (None, "") else BadValue(column, what)
