"""Rows of labeled texts: read from a table, checked, and refused by row number where something is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.columns import ColumnMap, map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of

from .labels import label_names
from .messages import DataFile
from .rows import LabeledRows, LabelLists, PlainRow, read_table

__all__ = ["Example", "Examples", "check_pairs", "read_examples"]

TASK = "text-classification"


@dataclass(frozen=True, slots=True)
class Example(PlainRow):
    """One labeled text or pair. `row` counts from 1 in the file it came from."""

    row: int
    text: str
    pair: str | None
    labels: tuple[str, ...]

    @property
    def input(self) -> dict[str, str]:
        """As a predictor takes it."""
        return {"text": self.text} if self.pair is None else {"text": self.text, "text_pair": self.pair}

    @property
    def key(self) -> str:
        """Equal for inputs that differ at most in case and blanks."""
        return input_key(self.text, self.pair)


@dataclass(frozen=True)
class Examples(LabeledRows[Example]):
    multi_label: bool
    is_pairs: bool

    @property
    def lengths(self) -> Iterator[int]:
        """Characters of each row's input."""
        return (len(row.text) + len(row.pair or "") for row in self.rows)

    def inputs(self, row: Example) -> dict[str, Any]:
        """By the task's keys, the same ones of every row."""
        return {"sentence1": row.text, **({"sentence2": row.pair} if self.is_pairs else {})}


def read_examples(file: DataFile, columns: Mapping[str, str], what: str, class_names: Sequence[str] = ()) -> Examples:
    """All rows of a file. `what` names the file in messages: "The training data"."""
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    _check_two_columns(mapping)
    lists = LabelLists()

    def parse(number: int, picked: Mapping[str, Any]) -> Example:
        lists.count(picked["label"])
        return _example(number, picked, class_names)

    rows = read_table(file, mapping, what, parse)
    return Examples(rows, lists.in_all(rows, what), "sentence2" in mapping.columns)


def check_pairs(files: Mapping[str, Examples]) -> None:
    """Refused where some of the files have pairs and others single texts: a column of that name is enough for pairs."""
    pairs = [what for what, rows in files.items() if rows.is_pairs]
    singles = [what for what, rows in files.items() if not rows.is_pairs]
    if pairs and singles:
        raise Refused(
            f"{pairs[0]} has a sentence2, and {singles[0][0].lower()}{singles[0][1:]} has none.",
            hint="Map sentence2 to a column that every file has, or rename the column sentence2 where it is not meant.",
            code="mixed-pairs",
        )


def _example(number: int, picked: Mapping[str, Any], class_names: Sequence[str]) -> Example:
    label = picked["label"]
    if not isinstance(label, list) and not str(label).strip():
        raise Refused("has an empty label", code="bad-value")
    pair = picked.get("sentence2")
    for name, value in (("sentence1", picked["sentence1"]), ("sentence2", pair)):
        if value is not None and not value.strip():
            raise Refused(f"has an empty {name}", code="bad-value")
    return Example(number, picked["sentence1"], pair, label_names(label, class_names))


def _check_two_columns(mapping: ColumnMap) -> None:
    columns = mapping.columns
    if columns["sentence1"] == columns.get("sentence2"):
        raise Refused(
            f"sentence1 and sentence2 are both the column {columns['sentence1']!r}.",
            hint="Map sentence2 to another column, or leave it out.",
            code="bad-columns",
        )
