"""The report on a model that answers questions: one shape for a fine-tune's test and for an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bedplate_trainers.confidence import draw, interval
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.metrics.question_answering import Predictions, score, score_what_applies
from bedplate_trainers.questions import TASK, QuestionRow, QuestionRows
from bedplate_trainers.settings import EvaluateSettings

__all__ = ["Judged", "difference", "make_report"]

Array = np.ndarray[Any, Any]
NAMES = ("exact_match", "f1_score")  # that have intervals
WORST_ROWS = 20
SHOWN_CHARACTERS = 500  # of a context, from a little before its answer
CHARACTERS_BEFORE = 100


@dataclass(frozen=True)
class Judged:
    """A model's answers to each question, the best first, how it was asked, and how long that took."""

    rows: QuestionRows
    answers: Sequence[Sequence[Mapping[str, Any]]]  # as the predictor gives them
    parameters: Mapping[str, Any]
    seconds: float

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions([said[0]["answer"] for said in self.answers], [row.texts for row in self.rows])

    @property
    def figures(self) -> Array:
        """[rows, 2], from 0 to 100: exact_match and f1_score."""
        return 100 * np.stack([self.predictions.exact_match, self.predictions.f1_score], axis=1)


def make_report(judged: Judged, settings: EvaluateSettings) -> dict[str, Any]:
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
        confidence=_intervals(judged.figures, settings) if settings.confidence_draws else {},
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows, with intervals."""
    figures = mine.figures - other.figures
    ends = _intervals(figures, settings)
    values = figures.mean(axis=0)
    return {
        name: {"value": float(value), "low": ends[name][0], "high": ends[name][1]}
        for name, value in zip(NAMES, values, strict=True)
    }


def _intervals(figures: Array, settings: EvaluateSettings) -> dict[str, list[float]]:
    means = draw(figures, max(settings.confidence_draws, 1), settings.seed) / len(figures)
    return {name: interval(values) for name, values in zip(NAMES, means.T, strict=True)}


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """Rows that are not exactly right: those with the fewest right words, of these the ones the model was surest of."""
    f1, exact = judged.predictions.f1_score, judged.predictions.exact_match
    wrong = [place for place in range(len(judged.rows)) if not exact[place]]
    wrong.sort(key=lambda place: (f1[place], -judged.answers[place][0]["score"], place))
    return [
        _wrong_row(judged.rows.rows[place], judged.answers[place], float(f1[place])) for place in wrong[:WORST_ROWS]
    ]


def _wrong_row(row: QuestionRow, said: Sequence[Mapping[str, Any]], f1: float) -> dict[str, Any]:
    """Of a long context the part with the right answer, or with the one that was given."""
    at = row.answers[0].start if row.answers else said[0]["start"]
    start = max(at - CHARACTERS_BEFORE, 0) if len(row.context) > SHOWN_CHARACTERS else 0
    return {
        "row": row.row,
        "question": row.question[:SHOWN_CHARACTERS],
        "context": row.context[start : start + SHOWN_CHARACTERS],
        "context_start": start,
        "answers": list(row.texts),
        "predicted": said[0]["answer"],
        "f1_score": round(100 * f1, 4),
        "confidence": round(said[0]["score"], 6),
        "n_best": [{"answer": one["answer"], "score": round(one["score"], 6)} for one in said],
    }
