"""Which column of a file holds which key of a task (`--map key=column`).

A column with a key's own name needs no mapping. A dot reaches into an object, unless a column has that whole name. A
key that is itself an object may be mapped by its parts (`answers.text=…`). A key of texts, of which a row may have
several, takes a list, or several columns (`summary=first,second`). In CSV and TSV, lists and objects are JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import BadValue, as_list, checked, listed
from .errors import Refused, nearest
from .tasks import Key, Task, get_task
from .texts import has_surrogate
from .ways import Way, find_way, reach

__all__ = ["BETWEEN", "SPARE", "ColumnMap", "map_columns"]

SPARE = ("id",)  # a row without it is as good

# Parts of object-valued keys that may be mapped singly.
_PARTS = {"answers": ("text", "answer_start")}
BETWEEN = ","  # columns of one key


@dataclass(frozen=True)
class ColumnMap:
    """Takes from a row what a task needs of it."""

    task: str
    ways: tuple[tuple[str, tuple[Way, ...]], ...]  # key, or key.part -> its columns: one, or of texts several

    @property
    def columns(self) -> dict[str, str]:
        """The mapping in full, as it can be given again."""
        return {key: _spelled(ways) for key, ways in self.ways}

    @property
    def has_label(self) -> bool:
        labels = {key.name for key in get_task(self.task).keys if key.is_label}
        return any(key.partition(".")[0] in labels for key, _ in self.ways)

    def pick(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's values by key, checked for their kind. Refused names the column; the caller knows the row."""
        picked, problems = self.pick_each(row)
        for problem in problems.values():
            raise problem
        for name, ways in self.ways:
            if _is_broken(picked.get(name.partition(".")[0])):
                raise BadValue(_spelled(ways), "holds half a surrogate pair, which is no text")
        return picked

    def pick_each(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BadValue]]:
        """The values by key, and what is wrong with those that are not there, by key or `key.part`."""
        keys = {key.name: key for key in get_task(self.task).keys}
        picked: dict[str, Any] = {}
        problems: dict[str, BadValue] = {}
        for name, ways in self.ways:
            key, _, part = name.partition(".")
            try:
                if part:
                    picked.setdefault(key, {})[part] = as_list(_reach(row, ways[0]), _spelled(ways))
                elif len(ways) > 1:
                    picked[key] = [text for _, value in _held(keys[key], row, ways) for text in listed(value)]
                else:
                    picked[key] = checked(keys[key], _reach(row, ways[0]), _spelled(ways))
            except BadValue as problem:
                if problem.problem == "wrong" or key not in SPARE:
                    problems[name] = problem
        return picked, problems

    def places(self, row: Mapping[str, Any], key: str, value: Any) -> Iterator[tuple[Way, Any]]:
        """Where a key's value that was picked from this row, and changed, belongs: each column gets what it gave."""
        described = {key.name: key for key in get_task(self.task).keys}
        for name, ways in self.ways:
            whole, _, part = name.partition(".")
            if whole == key and len(ways) > 1:
                texts = iter(value)
                for way, held in _held(described[key], row, ways):
                    yield way, [next(texts) for _ in held] if isinstance(held, list) else next(texts)
            elif whole == key:
                yield ways[0], value[part] if part else value


def map_columns(
    task: str, available: Sequence[str], mapping: Mapping[str, str] | None = None, need_label: bool = True
) -> ColumnMap:
    """The mapping of a file with the columns `available`, or Refused naming the key or column that is wrong.

    With `need_label=False` (scoring) only inputs are mapped, and a mapping given for a label is left out.
    """
    described, mapping = get_task(task), dict(mapping or {})
    _check_keys(described, mapping)
    ways: list[tuple[str, tuple[Way, ...]]] = []
    for key in described.keys:
        if key.is_label and not need_label:
            continue
        ways.extend(_ways_of(key, available, mapping))
    return ColumnMap(task, tuple(ways))


def _ways_of(key: Key, available: Sequence[str], mapping: Mapping[str, str]) -> list[tuple[str, tuple[Way, ...]]]:
    parts = [f"{key.name}.{part}" for part in _PARTS.get(key.name, ())]
    if key.name in mapping:
        return [(key.name, _locate_each(key, mapping[key.name], available))]
    if parts and all(part in mapping or part in available for part in parts):
        return [(part, (_locate(part, mapping.get(part, part), available),)) for part in parts]
    if any(part in mapping for part in parts):
        missing = next(part for part in parts if part not in mapping)
        raise _unmapped(missing, available)
    if key.name in available:
        return [(key.name, ((key.name,),))]
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


def _locate_each(key: Key, columns: str, available: Sequence[str]) -> tuple[Way, ...]:
    """The one column, or several where the key may have several texts, unless the comma is a column's own."""
    whole = find_way(columns, available)
    if key.kind != "texts" or BETWEEN not in columns or (whole and BETWEEN in whole[0]):
        return (_locate(key.name, columns, available),)
    ways = tuple(_locate(key.name, column, available) for column in columns.split(BETWEEN))
    if twice := [way for way in ways if ways.count(way) > 1]:
        raise Refused(
            f"The column {_spelled(twice[:1])!r} is mapped to {key.name!r} twice.",
            hint="Name each column once.",
            code="bad-columns",
        )
    return ways


def _locate(key: str, column: str, available: Sequence[str]) -> Way:
    if way := find_way(column, available):
        return way
    raise Refused(
        f"The data has no column {column!r} (mapped to {key!r}).",
        hint=nearest(column, available) if available else "The data has no columns.",
        code="unknown-column",
    )


def _spelled(ways: Iterable[Way]) -> str:
    return BETWEEN.join(map(".".join, ways))


def _unmapped(key: str, available: Iterable[str]) -> Refused:
    shown = ", ".join(available)
    return Refused(
        f"No column is mapped to {key!r}, and the data has none of that name.",
        hint=f"Add --map {key}=COLUMN. The data has: {shown}.",
        code="missing-column",
    )


def _held(key: Key, row: Mapping[str, Any], ways: Sequence[Way]) -> list[tuple[Way, Any]]:
    """The columns of a key in which the row has something, and what: one of them is enough."""
    found = list[tuple[Way, Any]]()
    for way in ways:
        try:
            value = checked(key, _reach(row, way), _spelled([way]))
        except BadValue as problem:
            if problem.problem == "wrong":
                raise
            continue
        if not isinstance(value, str) or value.strip():
            found.append((way, value))
    if not found:
        raise BadValue(_spelled(ways), "is empty", "empty")
    return found


def _reach(row: Mapping[str, Any], way: Way) -> Any:
    try:
        return reach(row, way)
    except KeyError:
        raise BadValue(_spelled([way]), "is missing", "missing") from None


def _is_broken(value: Any) -> bool:
    """Whether half a surrogate pair stands in a text, or in one of several."""
    if isinstance(value, str):
        return has_surrogate(value) is not None
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_is_broken, items))
