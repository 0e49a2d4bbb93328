"""What the columns of a table hold: types, gaps, how many values differ, how long texts are.

It is found in one pass over the rows, in bounded memory: batch by batch and in each column by column, which is nearly
all done in C.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import orjson

from .errors import Refused
from .image_folders import SUFFIXES

__all__ = ["MOST_COLUMNS", "MOST_DISTINCT", "ColumnFacts", "check_columns", "describe_rows"]

BATCH_ROWS = 1024
BATCH_CHARACTERS = 1 << 24  # of a batch, after which it ends: cells may be long
MOST_DISTINCT = 10_000  # values that are told apart; of more it is known that there are more
MOST_COLUMNS = 1000  # that are described; objects of JSON may have new names in every row

_KINDS: dict[type, str] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "list",
    dict: "object",
    bytes: "binary",
}
_IMAGE_KEYS = {"bytes", "path"}  # of an image in Parquet, as the library `datasets` writes it
# What a text may spell. An integer that begins with 0 is a code, and not a number.
_SPELLED: dict[str, Callable[[str], object]] = {
    "boolean": re.compile(r"true|false", re.IGNORECASE).fullmatch,
    "integer": re.compile(r"-?(0|[1-9][0-9]*)").fullmatch,
    "number": re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch,
    "image": re.compile(f".+({'|'.join(map(re.escape, SUFFIXES))})", re.IGNORECASE).fullmatch,
}


@dataclass(frozen=True)
class ColumnFacts:
    """One column. `missing` cells are not there, null or NaN; `empty` ones hold a blank text, [] or {}."""

    name: str
    type: str  # text, integer, number, boolean, list<…>, object, image, binary, other; unknown: nothing but gaps; mixed
    looks_like: str | None  # what every text of the column spells: a type such as integer or list<text>
    missing: int
    empty: int
    distinct: int  # values that differ, of those that are neither missing nor empty
    is_more: bool  # there are more than that
    min_characters: int | None  # of texts that are not empty
    mean_characters: float | None
    max_characters: int | None


def describe_rows(rows: Iterable[dict[str, Any]]) -> tuple[int, tuple[ColumnFacts, ...]]:
    """How many rows there are, and what each of the first MOST_COLUMNS columns holds."""
    columns: dict[str, _Column] = {}
    count, remaining = 0, iter(rows)
    while batch := _batch(remaining):
        for name in _new_names(batch, columns):
            columns[name] = _Column(missing=count)
        for name, column in columns.items():
            column.add([row.get(name) for row in batch])
        count += len(batch)
    return count, tuple(column.facts(name) for name, column in columns.items())


def check_columns(names: Iterable[str]) -> None:
    """Raises Refused where there are too many, or one whose name is no text."""
    found = dict.fromkeys(names)
    if len(found) > MOST_COLUMNS:
        raise Refused(
            f"The file has {len(found):,} columns, or more.",
            hint=f"Keep at most {MOST_COLUMNS:,}: put what varies from row to row into one column, as an object.",
            code="bad-table",
        )
    for name in found:
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            raise Refused(
                f"The column {name[:80]!a} has half a surrogate pair in its name, which is no text.",
                hint="Rename it.",
                code="bad-table",
            )


def _batch(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The next rows, as many as may be held at a time."""
    batch, held = [], 0
    for row in islice(rows, BATCH_ROWS):
        batch.append(row)
        held += sum(map(_extent, row.values()))
        if held > BATCH_CHARACTERS:
            break
    return batch


def _extent(cell: Any) -> int:
    """Characters or bytes of a cell, also of those that lie in it: lists of texts, images in objects."""
    if isinstance(cell, str | bytes):
        return len(cell)
    inner = cell if isinstance(cell, list) else cell.values() if isinstance(cell, dict) else ()
    return sum(len(item) for item in inner if isinstance(item, str | bytes))


def _new_names(batch: Sequence[dict[str, Any]], known: dict[str, Any]) -> Iterator[str]:
    """In the order in which they appear, as long as there is room."""
    if set().union(*batch) - known.keys():
        found = dict.fromkeys(name for row in batch for name in row if name not in known)
        yield from islice(found, MOST_COLUMNS - len(known))


@dataclass
class _Column:
    """What was seen of a column until now."""

    missing: int
    empty: int = 0
    kinds: set[str] = field(default_factory=set)
    inner: set[str] = field(default_factory=set)  # kinds of the items of lists
    distinct: set[Any] = field(default_factory=set)
    texts: int = 0
    characters: int = 0
    shortest: int | None = None
    longest: int = 0
    spelling: _Spelling = field(default_factory=lambda: _Spelling())

    def add(self, values: Sequence[Any]) -> None:
        """A batch of cells, None where there is none."""
        types = set(map(type, values))
        if types == {str}:
            self.kinds.add("text")
            self._add_texts(values)
            return
        there = [value for value in values if value is not None and value == value]
        self.missing += len(values) - len(there)
        self.kinds |= {_KINDS.get(type(value), "other") for value in there}
        self._add_texts([value for value in there if isinstance(value, str)])
        self._add_nested([value for value in there if isinstance(value, list | dict)])
        # Of bytes, as of texts, no more than a hash is kept.
        plain = (value for value in there if not isinstance(value, str | list | dict))
        self._tell_apart(hash(value) if isinstance(value, bytes) else value for value in plain)

    def _add_texts(self, texts: Sequence[str]) -> None:
        unique = set(texts)
        if "" in unique or any(map(str.isspace, unique)):
            filled = [text for text in texts if text and not text.isspace()]
            self.empty += len(texts) - len(filled)
            texts, unique = filled, set(filled)
        if not texts:
            return
        lengths = [*map(len, texts)]
        self.texts += len(lengths)
        self.characters += sum(lengths)
        self.shortest = min(lengths) if self.shortest is None else min(self.shortest, min(lengths))
        self.longest = max(self.longest, max(lengths))
        self.spelling.add(unique)
        self._tell_apart(map(hash, unique))  # of texts, which may be long, no more is kept

    def _add_nested(self, values: Sequence[Any]) -> None:
        filled = [value for value in values if value]
        self.empty += len(values) - len(filled)
        objects = [value for value in filled if isinstance(value, dict)]
        if objects and all("bytes" in value and value.keys() <= _IMAGE_KEYS for value in objects):
            self.kinds = {"image" if kind == "object" else kind for kind in self.kinds}
        self.inner |= _kinds_in(value for value in filled if isinstance(value, list))
        if not self._is_full:
            self._tell_apart(map(_hash_of, filled))

    @property
    def _is_full(self) -> bool:
        return len(self.distinct) > MOST_DISTINCT

    def _tell_apart(self, values: Iterable[Any]) -> None:
        if not self._is_full:
            self.distinct.update(values)

    def facts(self, name: str) -> ColumnFacts:
        return ColumnFacts(
            name,
            type=_type_of(self.kinds, self.inner),
            looks_like=self.spelling.meaning if self.kinds == {"text"} else None,
            missing=self.missing,
            empty=self.empty,
            distinct=min(len(self.distinct), MOST_DISTINCT),
            is_more=self._is_full,
            min_characters=self.shortest,
            mean_characters=round(self.characters / self.texts, 1) if self.texts else None,
            max_characters=self.longest if self.texts else None,
        )


class _Spelling:
    """What all texts of a column spell besides themselves: what one of them does not is out."""

    def __init__(self) -> None:
        self._may_be = {*_SPELLED, "list", "object"}
        self._inner: set[str] = set()
        self._was_asked = False

    def add(self, texts: Collection[str]) -> None:
        self._was_asked = True
        if "integer" not in self._may_be or not all(map(_SPELLED["integer"], texts)):
            self._may_be.discard("integer")
            self._may_be = {kind for kind in self._may_be if self._spells(kind, texts)}
        else:
            self._may_be &= {"integer", "number"}

    def _spells(self, kind: str, texts: Collection[str]) -> bool:
        return all(map(_SPELLED[kind], texts)) if kind in _SPELLED else self._is_json(kind, texts)

    def _is_json(self, kind: str, texts: Collection[str]) -> bool:
        if not all(text.lstrip().startswith("[" if kind == "list" else "{") for text in texts):
            return False
        try:
            values = [orjson.loads(text) for text in texts]
        except orjson.JSONDecodeError:
            return False
        self._inner |= _kinds_in(values) if kind == "list" else set()
        return True

    @property
    def meaning(self) -> str | None:
        found = next(
            (kind for kind in ("boolean", "integer", "number", "list", "object", "image") if kind in self._may_be), None
        )
        return _type_of({found}, self._inner) if found and self._was_asked else None


def _hash_of(value: Any) -> int:
    try:
        return hash(repr(value))
    except RecursionError:  # as deep as the parser goes, which is deeper than Python does
        return 0


def _kinds_in(lists: Iterable[Sequence[Any]]) -> set[str]:
    return {_KINDS.get(each, "other") for each in set(map(type, chain.from_iterable(lists))) - {type(None)}}


def _type_of(kinds: set[str], inner: set[str]) -> str:
    """One word for the kinds of a column's values; `inner` are those of the items of its lists."""
    if kinds == {"list"}:
        return f"list<{_type_of(inner, set()).removesuffix('<unknown>')}>"
    if kinds == {"integer", "number"}:
        return "number"
    return next(iter(kinds)) if len(kinds) == 1 else "mixed" if kinds else "unknown"
