"""Rows of a text and the text that is to be written of it: read from a table, checked, refused by row number.

Summarization has a document and its summary, translation a source and its target. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of
from bedplate_registry.tasks import get_task

from .messages import DataFile
from .rows import RowTable, read_table

__all__ = ["TextPair", "TextPairs", "read_text_pairs"]


@dataclass(frozen=True, slots=True)
class TextPair:
    """A text and what is to be written of it. `row` counts from 1 in the file it came from."""

    row: int
    source: str
    target: str

    @property
    def key(self) -> str:
        """Equal for sources that differ at most in case and blanks."""
        return input_key(self.source)

    @property
    def labels(self) -> tuple[str, ...]:
        """Nothing that a split could be stratified by."""
        return ()


class TextPairs(RowTable[TextPair]):
    """The rows of one file."""


def read_text_pairs(file: DataFile, task: str, columns: Mapping[str, str], what: str) -> TextPairs:
    """All rows of a file. `what` names the file in messages: "The training data"."""
    names = [key.name for key in get_task(task).keys]
    mapping = map_columns(task, columns_of(file.path, file.format), columns)
    if len(set(mapping.columns.values())) < len(names):
        raise Refused(
            f"{' and '.join(names)} are both the column {mapping.columns[names[0]]!r}.",
            hint=f"Map {names[1]} to another column.",
            code="bad-columns",
        )

    def parse(number: int, picked: Mapping[str, str]) -> TextPair:
        source, target = (_text(name, picked[name]) for name in names)
        return TextPair(number, source, target)

    return TextPairs(read_table(file, mapping, what, parse))


def _text(name: str, value: str) -> str:
    if not value.strip():
        raise Refused(f"has an empty {name}", code="bad-value")
    return value
