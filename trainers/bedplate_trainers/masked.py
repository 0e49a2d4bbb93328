"""Rows of texts with masked words: with the word behind the mask, or raw, to be masked by the reader. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of

from .messages import DataFile
from .rows import PlainRow, RowTable, read_table

__all__ = ["MaskedRow", "MaskedRows", "read_masked"]

TASK = "fill-mask"


@dataclass(frozen=True, slots=True)
class MaskedRow(PlainRow):
    """A text with masks and what stood there, or a raw text (None). `row` counts from 1 in the file it came from."""

    row: int
    text: str
    answer: str | None

    @property
    def key(self) -> str:
        """Equal for inputs that differ at most in case and blanks."""
        return input_key(self.text)

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    def words(self, masks: int) -> list[str]:
        """The right word for each of the masks. Raises Refused where there are more or fewer of them."""
        assert self.answer is not None
        words = self.answer.split() if masks > 1 else [self.answer.strip()]
        if len(words) != masks:
            raise Refused(
                f"Row {self.row} has {masks} masks and {len(words)} words in its answer.",
                hint="Give one word for each mask, with blanks between them.",
                code="bad-rows",
            )
        return words


@dataclass(frozen=True)
class MaskedRows(RowTable[MaskedRow]):
    """The rows of one file: all of them with answers, or all of them raw."""

    has_answers: bool


def read_masked(file: DataFile, columns: Mapping[str, str], what: str) -> MaskedRows:
    """All rows of a file. `what` names the file in messages: "The data". Raises Refused: bad-rows, no-rows."""
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    return MaskedRows(read_table(file, mapping, what, _row), "answer" in mapping.columns)


def _row(number: int, picked: Mapping[str, Any]) -> MaskedRow:
    for name in ("text", "answer"):
        if name in picked and not picked[name].strip():
            raise Refused(f"has an empty {name}", code="bad-value")
    return MaskedRow(number, picked["text"], picked.get("answer"))
