"""Rows of words with a tag for each: read from a table, checked, and refused by row number where something is wrong.

Tags may be of any scheme (IO, BIO, IOBES): the label set is what the rows have. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.label_names import is_integer
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of

from .labels import LabelSet, label_names
from .messages import DataFile
from .rows import LabeledRows, PlainRow, read_table

__all__ = [
    "OUTSIDE",
    "TaggedRow",
    "TaggedRows",
    "are_numbers",
    "entity_tags",
    "learn_tags",
    "read_tagged",
    "sorted_tags",
]

TASK = "token-classification"
OUTSIDE = "O"
PREFIXES = "BIEMLSU"  # in the order in which they stand


@dataclass(frozen=True, slots=True)
class TaggedRow(PlainRow):
    """Words and their tags. `row` counts from 1 in the file it came from."""

    row: int
    tokens: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def key(self) -> str:
        """Equal for rows whose words differ at most in case and blanks."""
        return input_key(" ".join(self.tokens))

    @property
    def labels(self) -> tuple[str, ...]:
        """What a split is stratified by: each tag once. So no tag is ever left to the held rows alone."""
        return tuple(dict.fromkeys(self.tags))


class TaggedRows(LabeledRows[TaggedRow]):
    """The rows of one file."""


def read_tagged(file: DataFile, columns: Mapping[str, str], what: str, class_names: Sequence[str] = ()) -> TaggedRows:
    """All rows of a file. `what` names the file in messages: "The training data". Raises Refused: bad-rows, no-rows."""
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    return TaggedRows(read_table(file, mapping, what, lambda number, row: _tagged(number, row, class_names)))


def learn_tags(rows: Iterable[TaggedRow]) -> LabelSet:
    """The tags of the training rows; fewer than two are refused."""
    names = sorted_tags(tag for row in rows for tag in row.labels)
    if len(names) < 2:
        raise Refused(
            f"The training data has only the tag {names[0]!r}.",
            hint="There is nothing to learn from one tag. Check --map tags=COLUMN.",
            code="too-few-labels",
        )
    return LabelSet(names, multi_label=False)


def are_numbers(names: Iterable[str]) -> bool:
    """Whether tags have no names, only numbers from 0."""
    unique = set(names)
    return "0" in unique and all(map(is_integer, unique))


def entity_tags(names: Sequence[str]) -> list[str]:
    """The tags of a label set as metrics of entities read them: of numbers without names, 0 is outside."""
    return [OUTSIDE, *names[1:]] if are_numbers(names) and names[0] == "0" else list(names)


def sorted_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """O first, then by type with B- before I-; whole numbers by their value."""
    unique = set(tags)
    return tuple(sorted(unique, key=int)) if all(map(is_integer, unique)) else tuple(sorted(unique, key=_place))


def _place(tag: str) -> tuple[bool, str, int, str]:
    prefix, dash, kind = tag.partition("-")
    if dash and len(prefix) == 1 and prefix in PREFIXES:
        return True, kind, PREFIXES.index(prefix), tag
    return tag != OUTSIDE, tag, -1, tag


def _tagged(number: int, picked: Mapping[str, Any], class_names: Sequence[str]) -> TaggedRow:
    tokens, tags = picked["tokens"], picked["tags"]
    if not tokens:
        raise Refused("has no tokens", code="bad-value")
    for place, token in enumerate(tokens):
        if not isinstance(token, str):
            raise Refused(f"has {token!r:.40} as token {place + 1}, which is no text", code="bad-value")
    if len(tags) != len(tokens):
        raise Refused(
            f"has {len(tokens)} tokens and {len(tags)} tags",
            hint="Give one tag for each token, or take these rows out.",
            code="bad-value",
        )
    names = {tag: label_names(tag, class_names)[0] for tag in {_spelled(tag) for tag in tags}}
    return TaggedRow(number, tuple(tokens), tuple(names[_spelled(tag)] for tag in tags))


def _spelled(tag: Any) -> str:
    """A tag as text. Parquet turns a column of integers with a gap into floats."""
    if isinstance(tag, float) and tag.is_integer():
        return str(int(tag))
    if isinstance(tag, bool) or not isinstance(tag, str | int) or not str(tag).strip():
        raise Refused(f"has the tag {tag!r:.40}, which is neither a text nor a whole number", code="bad-value")
    return str(tag)
