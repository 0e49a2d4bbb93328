"""Rows of a text and the text that is to be written of it: read from a table, checked, refused by row number.

Summarization has a document and its summary, translation a source and its target. Where a row has several right ones,
the first is what a model is trained to write, and any of them is right where it is judged. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedplate_registry.cells import listed
from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of
from bedplate_registry.tasks import get_task

from .messages import DataFile
from .rows import PlainRow, RowTable, read_table

__all__ = ["TextPair", "TextPairs", "read_text_pairs"]


@dataclass(frozen=True, slots=True)
class TextPair(PlainRow):
    """A text and what is to be written of it. `row` counts from 1 in the file it came from."""

    row: int
    source: str
    targets: tuple[str, ...]  # one or more, of which any is right

    @property
    def target(self) -> str:
        """The one to be learned."""
        return self.targets[0]

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

    @property
    def with_several(self) -> int:
        """How many rows have several targets."""
        return sum(len(row.targets) > 1 for row in self)


def read_text_pairs(file: DataFile, task: str, columns: Mapping[str, str], what: str) -> TextPairs:
    """All rows of a file. `what` names the file in messages: "The training data"."""
    names = [key.name for key in get_task(task).keys]
    mapping = map_columns(task, columns_of(file.path, file.format), columns)
    (_, (source,)), (_, targets) = mapping.ways
    if source in targets:
        raise Refused(
            f"{' and '.join(names)} are both the column {mapping.columns[names[0]]!r}.",
            hint=f"Map {names[1]} to another column.",
            code="bad-columns",
        )

    def parse(number: int, picked: Mapping[str, Any]) -> TextPair:
        (source,), targets = (tuple(_text(name, text) for text in listed(picked[name])) for name in names)
        return TextPair(number, source, targets)

    return TextPairs(read_table(file, mapping, what, parse))


def _text(name: str, value: str) -> str:
    if not value.strip():
        raise Refused(f"has an empty {name}", code="bad-value")
    return value
