"""Rows of prompts with what should follow them, or of plain texts: read from a table, refused by number. No torch."""

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

__all__ = ["PromptRow", "PromptRows", "read_prompts"]

TASK = "text-generation"


@dataclass(frozen=True, slots=True)
class PromptRow(PlainRow):
    """A prompt and what should follow it, or a plain text (None). `row` counts from 1 in the file it came from."""

    row: int
    prompt: str
    completion: str | None

    @property
    def key(self) -> str:
        """Equal for inputs that differ at most in case and blanks."""
        return input_key(self.prompt, self.completion or "")

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def whole(self) -> str:
        """Both, one after the other as they stand."""
        return self.prompt + (self.completion or "")


@dataclass(frozen=True)
class PromptRows(RowTable[PromptRow]):
    """The rows of one file: all of them with completions, or all of them plain texts."""

    has_completions: bool


def read_prompts(file: DataFile, columns: Mapping[str, str], what: str) -> PromptRows:
    """All rows of a file. `what` names the file in messages: "The data". Raises Refused: bad-rows, no-rows."""
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    return PromptRows(read_table(file, mapping, what, _row), "completion" in mapping.columns)


def _row(number: int, picked: Mapping[str, Any]) -> PromptRow:
    for name in ("prompt", "completion"):
        if name in picked and not picked[name].strip():
            raise Refused(f"has an empty {name}", code="bad-value")
    return PromptRow(number, picked["prompt"], picked.get("completion"))
