"""Rows of labeled texts: read from a table, checked, and refused by row number where something is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.columns import ColumnMap, map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of, read_rows

from .labels import label_names
from .messages import DataFile

__all__ = ["Example", "Examples", "bad_rows", "check_pairs", "read_examples"]

SHOWN_ROWS = 5
TASK = "text-classification"


@dataclass(frozen=True, slots=True)
class Example:
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
class Examples:
    """The rows of one file."""

    rows: tuple[Example, ...]
    multi_label: bool
    is_pairs: bool

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.rows)

    @property
    def found_labels(self) -> list[tuple[int, tuple[str, ...]]]:
        return [(row.row, row.labels) for row in self.rows]


def read_examples(file: DataFile, columns: Mapping[str, str], what: str, class_names: Sequence[str] = ()) -> Examples:
    """All rows of a file. `what` names the file in messages: "The training data"."""
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    _check_two_columns(mapping)
    rows, problems, many = list[Example](), list[tuple[int, Refused]](), 0
    for number, row in enumerate(read_rows(file.path, file.format), 1):
        try:
            picked = mapping.pick(row)
            many += isinstance(picked["label"], list)
            rows.append(_example(number, picked, class_names))
        except Refused as problem:
            problems.append((number, problem))
    if problems:
        raise bad_rows(what, problems)
    _check_kinds(what, rows, many)
    return Examples(tuple(rows), bool(many), "sentence2" in mapping.columns)


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


def bad_rows(what: str, problems: Sequence[tuple[int, Refused]]) -> Refused:
    """What is wrong with these (row, problem) of a file, in one refusal."""
    shown = "; ".join(f"row {number} {_clause(problem)}" for number, problem in problems[:SHOWN_ROWS])
    more = f"; and {len(problems) - SHOWN_ROWS} more" if len(problems) > SHOWN_ROWS else ""
    hint = problems[0][1].hint or "Correct these rows or take them out."
    count = f"{len(problems)} row{'s' if len(problems) > 1 else ''}"
    return Refused(f"{what} has {count} that cannot be used: {shown}{more}.", hint=hint, code="bad-rows")


def _clause(problem: Refused) -> str:
    text = problem.message.rstrip(".")
    return f"({text[0].lower()}{text[1:]})" if text.startswith("The ") else text


def _check_kinds(what: str, rows: Sequence[Example], many: int) -> None:
    if not rows:
        raise Refused(f"{what} has no rows.", hint="Check the file.", code="no-rows")
    if many and many < len(rows):
        raise Refused(
            f"{what} has lists of labels in {many} of {len(rows)} rows.",
            hint="Multi-label data has a list in every row: a list of one, or an empty one, is a list.",
            code="mixed-labels",
        )
