"""What an examiner does, whatever the task, and the parts that all reports share."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_serving.predictors import BadItems, ItemError
from bedplate_serving.predictors.base import OnCut
from bedplate_trainers.judged import JudgedRows
from bedplate_trainers.messages import DataFile
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.stored_rows import StoredRows, store

__all__ = ["CutRows", "Examiner", "Setup", "chunks", "in_chunks", "report_of"]

# Rows scored between two reports of progress, fewer where they are long: the windows of 256 articles take gigabytes.
# They are sorted by length first, so little is padded all the same.
CHUNK_ROWS, CHUNK_LENGTH = 256, 1 << 18


@dataclass(frozen=True)
class Setup:
    """What an examination is about."""

    task: str
    columns: Mapping[str, str]
    device: str
    reporter: Reporter
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)


class Examiner(Protocol):
    """Judges models on rows of one task. What `read` gives, the others take; what `judge` gives, the reports take."""

    def read(self, file: DataFile, what: str) -> Any:
        """The rows of a file, a table with `rows`. `what` names it in messages: "The data"."""

    def judge(self, folder: Path, rows: Any, phase: str = "evaluate", derived: Path | None = None) -> Any:
        """What the model in `folder` makes of the rows. Raises Refused where the two do not fit each other."""

    def probe(self, folder: Path, rows: Any, train: Any) -> Any:
        """The same for a base without a head, helped by training rows. Raises Refused where the task has none."""

    def said(self, rows: Any, predicted: Sequence[Predicted]) -> Any:
        """The same of predictions that are there already, one for each row. Raises Refused, which names the row."""

    def report(self, judged: Any, columns: Columns | None = None) -> dict[str, Any]:
        """The report (report_of), without baselines; `columns` are those that it is sliced by."""

    def rows_of(self, judged: Any) -> JudgedRows:
        """The same as rows: their predictions, and what metrics are made of."""

    def difference(self, mine: Any, other: Any) -> dict[str, dict[str, float]]:
        """How far one is from another on the same rows, by metric (confidence.Counted.difference)."""

    def baselines(self, mine: Any, train: Any) -> dict[str, dict[str, float]]:
        """Metrics of what needs no model, by its name. `train` may be None."""


class CutRows:
    """The rows that a model did not read, or where it `writes`, whose text it did not write, to the end."""

    def __init__(self, *, writes: bool = False) -> None:
        self.rows = set[int]()
        self._how = (
            "longer than the model reads, or than it writes in time" if writes else "longer than the model reads"
        )

    def among(self, chunk: Sequence[Any]) -> OnCut:
        """What a predictor is given to tell of these rows by their places."""
        return lambda place: self.rows.add(chunk[place].row)

    def tell(self, rows: int, reporter: Reporter) -> None:
        if self.rows:
            reporter.message(
                f"{len(self.rows)} of {rows} rows, the first of them row {min(self.rows)}, are {self._how}: they were"
                " cut, as they are where it is served."
            )


def report_of(
    task: str,
    *,
    kind: str,
    rows: int,
    seconds: float,
    metrics: Mapping[str, float],
    missing: Mapping[str, str],
    worst: Sequence[Mapping[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """The report of one model; who knows the files adds `model` and the rest of `data`. `more` is the task's own."""
    return {
        "task": task,
        "kind": kind,
        "model": None,
        "data": {"rows": rows},
        "metrics": dict(metrics),
        "not_computed": dict(missing),
        "confidence": {},
        "baselines": {},
        "against": None,
        "difference": {},
        "seconds": round(seconds, 3),
        "samples_per_second": round(rows / max(seconds, 1e-9), 1),
        "worst": [dict(row) for row in worst],
        **more,
    }


def in_chunks(
    rows: Sequence[Any],
    length: Callable[[Any], int],
    score: Callable[[list[Any]], Sequence[Any]],
    reporter: Reporter,
    phase: str,
) -> StoredRows[Any]:
    """What `score` says of each row, in their order (chunks), kept on disk."""
    scored = array("q")

    def in_turn() -> Iterator[Any]:
        for places, said in chunks(rows, length, score, reporter, phase):
            scored.extend(places)
            yield from said

    found = store(in_turn())
    return found.take(sorted(range(len(rows)), key=scored.__getitem__))


def chunks(
    rows: Sequence[Any],
    length: Callable[[Any], int],
    score: Callable[[list[Any]], Sequence[Any]],
    reporter: Reporter,
    phase: str,
) -> Iterator[tuple[list[int], Sequence[Any]]]:
    """The places of some rows, and what `score` says of them; rows of like length are scored together.

    Raises Refused, which names the row by its number, where the predictor does not take one.
    """
    lengths = array("q", map(length, rows))
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    done = 0
    for chunk in _cut(order, lengths):
        yield chunk, _scored([rows[place] for place in chunk], score)
        done += len(chunk)
        reporter.progress(phase, done, len(order), "rows")


def _cut(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Chunks of up to so many places, and of so much length in all, unless one of them alone is longer."""
    chunk, length = list[int](), 0
    for place in order:
        if chunk and (len(chunk) == CHUNK_ROWS or length + lengths[place] > CHUNK_LENGTH):
            yield chunk
            chunk, length = [], 0
        chunk.append(place)
        length += lengths[place]
    if chunk:
        yield chunk


def _scored(rows: list[Any], score: Callable[[list[Any]], Sequence[Any]]) -> Sequence[Any]:
    try:
        return score(rows)
    except BadItems as error:
        place, why = error.errors[0]
        raise _bad_row(rows[place], why) from error
    except ItemError as error:
        if len(rows) > 1:  # which of them it is shows one by one
            for row in rows:
                _scored([row], score)
        raise _bad_row(rows[0], error.message, error.hint) from error


def _bad_row(row: Any, why: str, hint: str = "") -> Refused:
    hint = hint or "Correct such rows, or take them out."
    return Refused(f"Row {row.row}: {why.rstrip('.')}.", hint=hint, code="bad-rows")
