"""The walk over the rows of all splits. What is held is bounded by the number of rows, not by the size of their texts.

The splits that are measured on come first: a row of the training data that is in them too is known as such at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.cells import listed
from bedplate_registry.columns import SPARE, ColumnMap, map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import BadRow, columns_of, read_rows
from bedplate_registry.tasks import get_task

from .answers import AnswerCheck
from .images import ImageCheck
from .labels import LabelCheck
from .marks import Mark, RowCheck, Values
from .repeats import Repeats, answer_of, in_order
from .report import Collector, Report, SplitFacts
from .tags import TagCheck
from .texts import look_at_texts
from .truncation import Measure, Truncation
from .written import WrittenCheck

__all__ = ["Checked", "Table", "check_rows"]

PROGRESS_ROWS = 1000
_UNREADABLE = ("wrong-type", "lone-surrogate")  # of such a row no more is asked, and no tokenizer


@dataclass(frozen=True)
class Table:
    """A file of rows, and the folder that the paths of its images start in."""

    path: Path
    format: str
    images: Path | None = None


@dataclass(frozen=True)
class Checked:
    """A row with what was marked of it."""

    split: str
    number: int
    row: dict[str, Any]
    columns: ColumnMap
    marks: tuple[Mark, ...]


def check_rows(
    task: str,
    columns: Mapping[str, str],
    splits: Mapping[str, Table],
    *,
    class_names: Sequence[str] = (),
    measure: Measure | None = None,
    on_row: Callable[[Checked], None] = lambda checked: None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Report:
    """What is wrong with data for a task, each row read once. `splits`: train, validation and test, or `data` alone.

    `measure` tells which rows a model would cut. `on_row` gets every row of a split in its order, those of the test
    split first. Raises Refused where the task or a column is unknown.
    """
    maps = {name: map_columns(task, columns_of(table.path, table.format), columns) for name, table in splits.items()}
    return _Walk(task, maps, splits, class_names, measure, on_row, progress).run()


class _Walk:
    def __init__(
        self,
        task: str,
        maps: Mapping[str, ColumnMap],
        splits: Mapping[str, Table],
        class_names: Sequence[str],
        measure: Measure | None,
        on_row: Callable[[Checked], None],
        progress: Callable[[int], None],
    ) -> None:
        self._task, self._maps, self._splits = task, maps, splits
        self._on_row, self._progress = on_row, progress
        self._check = _row_check(task, class_names)
        self._repeats = Repeats(task)
        self._truncation = Truncation(task, measure) if measure else None
        self._collector = Collector()
        self._facts = {name: SplitFacts(images=table.images) for name, table in splits.items()}
        keys = [key for key in get_task(task).keys if key.name not in SPARE]
        self._texts = [key.name for key in keys if key.kind in ("text", "texts")]
        self._inputs = [key for key in keys if not key.is_label]
        self._seen = 0

    def run(self) -> Report:
        for split in in_order([*self._splits]):
            self._read(split)
        if self._truncation:
            self._add_long(self._truncation.flush())
            if self._truncation.long:
                self._collector.say(self._truncation.code, None, self._truncation.message)
        self._check.end(self._facts, self._collector)
        self._compare_pairs()
        used = next(iter(self._maps.values())).columns
        facts = {name: found.to_json() for name, found in self._facts.items()}
        return Report(self._task, used, facts, self._collector.findings())

    def _compare_pairs(self) -> None:
        singles = [name for name, columns in self._maps.items() if "sentence2" not in columns.columns]
        if len(singles) < len(self._maps) and self._task == "text-classification":
            for split in singles:
                self._collector.add("mixed-pairs", "sentence2", split, None)

    def _read(self, split: str) -> None:
        table, facts = self._splits[split], self._facts[split]
        try:
            for number, row in enumerate(read_rows(table.path, table.format, keep_bad=True), 1):
                facts.rows = number
                marks = tuple(self._look(split, number, row))
                for mark in marks:
                    self._collector.add(mark.code, mark.key, split, number, mark.detail)
                self._on_row(Checked(split, number, row, self._maps[split], marks))
                self._seen += 1
                if self._seen % PROGRESS_ROWS == 0:
                    self._progress(self._seen)
        except Refused as problem:
            self._collector.add("bad-file", None, split, facts.rows + 1, problem.message)
        if not facts.rows:
            self._collector.add("no-rows", None, split, None)

    def _look(self, split: str, number: int, row: dict[str, Any]) -> Iterator[Mark]:
        if isinstance(row, BadRow):
            yield Mark("bad-row", detail=row.reason, drops=True)
            return
        values, problems = self._maps[split].pick_each(row)
        for name, problem in problems.items():
            code = {"missing": "missing-value", "empty": "empty-value"}.get(problem.problem, "wrong-type")
            yield Mark(code, name, problem.message, drops=code != "wrong-type")
        texts = {key: values[key] for key in self._texts if key in values}
        blank = [key for key, value in texts.items() if not all(text.strip() for text in listed(value))]
        if isinstance(label := values.get("label"), str) and not label.strip():
            blank.append("label")
        for key in blank:
            yield Mark("empty-value", key, drops=True)
        if not blank and problems.keys() <= set(SPARE):
            yield from self._look_at(split, number, values, texts)

    def _look_at(self, split: str, number: int, values: Values, texts: Values) -> Iterator[Mark]:
        facts = self._facts[split]
        for key, value in values.items():
            if key in texts or isinstance(value, list):
                facts.measure(key, listed(value) if key in texts else [value])
        marks = [*look_at_texts(texts), *self._check.look(facts, number, values)]
        yield from marks
        if any(mark.drops or mark.code in _UNREADABLE for mark in marks):
            return
        if self._truncation:
            self._add_long(self._truncation.add(split, number, values))
        mended = {**values, **{key: value for mark in marks for key, value in (mark.values or {}).items()}}
        repeat = self._repeats.look(split, number, self._input(mended), answer_of(self._task, mended))
        if repeat:
            yield repeat

    def _input(self, values: Values) -> str:
        """The input as one text. Images are no words: in their paths and base64 case counts."""
        parts = [values.get(key.name) for key in self._inputs]
        if self._inputs[0].kind == "image":
            return str(parts[0])
        return input_key(*(part for value in parts for part in (value if isinstance(value, list) else [value])))

    def _add_long(self, found: Iterator[tuple[str, int, str]]) -> None:
        assert self._truncation
        for split, number, detail in found:
            self._collector.add(self._truncation.code, None, split, number, detail)


def _row_check(task: str, class_names: Sequence[str]) -> RowCheck:
    if task == "text-classification":
        return LabelCheck(class_names)
    if task == "image-classification":
        return ImageCheck(class_names)
    if task == "token-classification":
        return TagCheck(class_names)
    return AnswerCheck() if task == "question-answering" else WrittenCheck(task)
