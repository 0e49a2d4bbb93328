"""What the metrics of all tasks share: one way to ask for them, one way to refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from bedplate_registry.errors import Refused, nearest
from bedplate_registry.tasks import get_task

__all__ = [
    "Lists",
    "Rows",
    "Scored",
    "TaskMetrics",
    "Undefined",
    "alternatives",
    "check_choice",
    "check_rows",
    "check_texts",
]

Lists = Sequence[str | Sequence[str]]  # a row has one right text, or several of which any is right


class Rows(Protocol):
    """Predictions of any task."""

    @property
    def scored(self) -> dict[str, float]: ...

    def __len__(self) -> int: ...


class Scored:
    """Predictions that remember their metrics: reports, slices and comparisons all ask for them."""

    @cached_property
    def scored(self) -> dict[str, float]:
        return {}


P = TypeVar("P", bound=Rows)


class Undefined(Exception):
    """A metric has no value on these rows. The text is a clause that says why."""


@dataclass(frozen=True)
class TaskMetrics(Generic[P]):
    """The metrics of a task, each a function of its predictions that may raise Undefined."""

    task: str
    functions: Mapping[str, Callable[[P], float]]

    def score(self, predictions: P, names: Iterable[str]) -> dict[str, float]:
        """The metrics asked for; Refused by name where there is none of that name or these rows give it no value."""
        wanted = list(dict.fromkeys(names))
        known = get_task(self.task).metrics
        for name in wanted:
            if name not in known:
                raise Refused(f"{self.task} has no metric {name!r}.", hint=nearest(name, known), code="metric")
        return {name: self._score(predictions, name) for name in wanted}

    def score_what_applies(
        self, predictions: P, names: Iterable[str] | None = None
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Every metric of the task (or of `names`) that has a value, and for the others the reason why not."""
        scores, missing = dict[str, float](), dict[str, str]()
        for name in get_task(self.task).metrics if names is None else names:
            try:
                scores[name] = self._score(predictions, name)
            except Refused as problem:
                missing[name] = problem.hint
        return scores, missing

    def _score(self, predictions: P, name: str) -> float:
        try:
            if not len(predictions):
                raise Undefined("there are no rows")
            if name not in predictions.scored:
                predictions.scored[name] = float(self.functions[name](predictions))
            value = predictions.scored[name]
            if not math.isfinite(value):
                raise Undefined(f"its value on these rows is {value}")
        except Undefined as problem:
            why = str(problem)
            hint = f"{why[0].upper()}{why[1:]}."
            raise Refused(f"The metric {name} cannot be computed.", hint=hint, code="metric") from None
        return value


def check_rows(predictions: Sized, references: Sized) -> None:
    """Refused unless there is a reference for each prediction."""
    if len(predictions) != len(references):
        raise Refused(
            f"There are {len(predictions)} predictions and {len(references)} references.",
            hint="Give one of each for a row, in the same order.",
            code="bad-rows",
        )


def check_texts(rows: Iterable[Sequence[Any]], what: str) -> None:
    """Refused by row, counted from 1, where something is not a string."""
    for number, row in enumerate(rows, 1):
        for value in row:
            if not isinstance(value, str):
                raise Refused(
                    f"Row {number} has a {what} that is no text: {value!r:.100}.",
                    hint="Give a string.",
                    code="bad-rows",
                )


def check_choice(value: str, known: Iterable[str], what: str) -> None:
    """Refused with the nearest where `value` is not one of `known`."""
    known = tuple(known)
    if value not in known:
        raise Refused(f"There is no {what} {value!r}.", hint=nearest(str(value), known), code="bad-setting")


def alternatives(references: Lists) -> list[tuple[str, ...]]:
    """Each row's right texts. A single string is one text, not its letters."""
    rows = [tuple(row) if isinstance(row, Iterable) and not isinstance(row, str) else (row,) for row in references]
    check_texts(rows, "reference")
    return rows
