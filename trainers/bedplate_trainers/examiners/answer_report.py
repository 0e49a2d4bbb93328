"""The report on a model that answers questions: one shape for a fine-tune's test and for an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bedplate_trainers.calibration import calibration
from bedplate_trainers.comparison import difference_of
from bedplate_trainers.confidence import Counted
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.metrics.question_answering import Predictions, score, score_what_applies
from bedplate_trainers.questions import TASK, QuestionRow, QuestionRows
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.shown import MOST_CHARACTERS, WORST_ROWS, shown_text
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.slices import slices_of
from bedplate_trainers.stored_rows import take

__all__ = ["Judged", "difference", "make_report"]

Array = np.ndarray[Any, Any]
NAMES = ("exact_match", "f1_score")
PARTS = {0: "", 3: "has_answer_", 6: "no_answer_"}  # where columns of the rows of each begin: how many, then NAMES
CHARACTERS_BEFORE = 100  # of a long context: it is shown from so far before its answer


@dataclass(frozen=True)
class Judged:
    """A model's answers to each question, the best first, how it was asked, and how long that took.

    It fulfills judged.JudgedRows.
    """

    rows: QuestionRows
    answers: Sequence[Sequence[Mapping[str, Any]]]  # as the predictor gives them
    parameters: Mapping[str, Any]
    seconds: float
    latency: Mapping[str, float] | None = None
    has_scores: bool = True  # else those of the answers are 0, and nobody told

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions([said[0]["answer"] for said in self.answers], [row.texts for row in self.rows])

    @cached_property
    def figures(self) -> Array:
        """[rows, 2], from 0 to 100: exact_match and f1_score."""
        return 100 * np.stack([self.predictions.exact_match, self.predictions.f1_score], axis=1)

    @property
    def confidence(self) -> Array:
        """[rows], from 0 to 1: of the answer that was given."""
        return np.array([said[0]["score"] for said in self.answers], dtype=np.float64)

    @property
    def right(self) -> Array:
        """[rows]: whether the answer is an exact match."""
        return np.asarray(self.predictions.exact_match > 0)

    @cached_property
    def counted(self) -> Counted:
        """Of all rows, of those with an answer and of those without: whether it is one, and its figures."""
        has = self.predictions.has_answer
        parts = (np.ones_like(has), has, ~has)
        counts = [np.where(part, column, 0) for part in parts for column in (1, *self.figures.T)]
        shares = {f"{part}exact_match": (place + 1, place) for place, part in PARTS.items()}
        return Counted.of(np.column_stack(counts), _means, shares=shares, whole=100.0, main=len(NAMES))

    @property
    def numbers(self) -> Iterator[int]:
        return (row.row for row in self.rows)

    @property
    def lengths(self) -> Array:
        return np.fromiter((len(row.question) + len(row.context) for row in self.rows), dtype=np.int64)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Questions with and without an answer, where there are both."""
        if self.rows.without_answer in (0, len(self.rows)):
            return {}
        return {"answer": ["has answer" if row.answers else "no answer" for row in self.rows]}

    @property
    def margin(self) -> float:
        return 0.0

    def part(self, places: Array) -> Judged:
        return replace(self, rows=self.rows.take(places), answers=take(self.answers, places))

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        return score_what_applies(self.predictions, names)[0]

    def row_predictions(self) -> Iterator[RowPrediction]:
        """The score is the F1 of the words, from 0 to 100."""
        for row, said, (_, f1), is_right in zip(self.rows, self.answers, self.figures, self.right, strict=True):
            yield RowPrediction(row.row, row.input, list(row.texts), said[0]["answer"], float(f1), bool(is_right))


def make_report(judged: Judged, settings: EvaluateSettings, columns: Columns | None = None) -> dict[str, Any]:
    """The report of one model."""
    if settings.metrics:
        metrics, missing = score(judged.predictions, settings.metrics), dict[str, str]()
    else:
        metrics, missing = score_what_applies(judged.predictions)
    return report_of(
        TASK,
        kind="model",
        rows=len(judged.rows),
        seconds=judged.seconds,
        metrics=metrics,
        missing=missing,
        worst=_worst(judged),
        questions_without_answer=judged.rows.without_answer,
        parameters=dict(judged.parameters),
        confidence=judged.counted.intervals(settings.confidence_draws, settings.seed, metrics),
        slices=slices_of(judged, settings, columns or {}),
        calibration=calibration(judged.confidence, judged.right) if judged.has_scores else None,
        latency=judged.latency,
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows (confidence.Counted.difference)."""
    return difference_of(mine, other, TASK, settings)


def _means(sums: Array) -> dict[str, Array]:
    """A part without rows has no mean."""
    found = dict[str, Array]()
    for place, part in PARTS.items():
        rows = np.where(sums[:, place] > 0, sums[:, place], np.nan)
        found |= {f"{part}{name}": sums[:, place + number] / rows for number, name in enumerate(NAMES, 1)}
    return found


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """Rows that are not exactly right: those with the fewest right words, of these the ones the model was surest of."""
    f1, exact = judged.predictions.f1_score, judged.predictions.exact_match
    wrong = [place for place in range(len(judged.rows)) if not exact[place]]
    wrong.sort(key=lambda place: (f1[place], -judged.answers[place][0]["score"], place))
    return [
        _wrong_row(judged.rows.rows[place], judged.answers[place], float(f1[place]), judged.has_scores)
        for place in wrong[:WORST_ROWS]
    ]


def _wrong_row(row: QuestionRow, said: Sequence[Mapping[str, Any]], f1: float, has_scores: bool) -> dict[str, Any]:
    """Of a long context the part with the right answer, or with the one that was given."""
    scores = [{"score": round(one["score"], 6)} if has_scores else {} for one in said]
    at = row.answers[0].start if row.answers else said[0]["start"]
    start = max(at - CHARACTERS_BEFORE, 0) if len(row.context) > MOST_CHARACTERS else 0
    return {
        "row": row.row,
        "question": shown_text(row.question),
        "context": shown_text(row.context, start),
        "context_start": start,
        "answers": list(row.texts),
        "predicted": said[0]["answer"],
        "f1_score": round(100 * f1, 4),
        **({"confidence": scores[0]["score"]} if has_scores else {}),
        "n_best": [{"answer": one["answer"], **score} for one, score in zip(said, scores, strict=True)],
    }
