"""The report on a model that fills masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from bedplate_trainers.calibration import calibration
from bedplate_trainers.comparison import difference_of
from bedplate_trainers.confidence import Counted
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.masked import MaskedRows
from bedplate_trainers.metrics.fill_mask import Predictions, score, score_what_applies
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.shown import WORST_ROWS, shown_text
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.slices import slices_of
from bedplate_trainers.stored_rows import take

__all__ = ["Guesses", "Judged", "difference", "make_report"]

TASK = "fill-mask"
Array = np.ndarray[Any, Any]
NAMES = ("top1_accuracy", "top5_accuracy", "mrr", "pseudo_perplexity")


@dataclass(frozen=True)
class Guesses:
    """What was said of the masks of one row; arrays are [masks]."""

    words: tuple[str, ...]  # the right ones
    ranks: Array  # of the right ones, from 1; infinite for one that cannot be said
    log_probabilities: Array | None  # natural, of the right ones
    said: tuple[str, ...]  # the likeliest ones
    confidence: Array | None  # the probability of what was said


@dataclass(frozen=True)
class Judged:
    """A model's guesses for the masks of each row, and how long they took. It fulfills judged.JudgedRows."""

    kind: str  # model | predictions
    rows: MaskedRows
    guesses: Sequence[Guesses]
    seconds: float
    latency: Mapping[str, float] | None = None

    @cached_property
    def predictions(self) -> Predictions:
        """All masks of all rows."""
        ranks = np.concatenate([one.ranks for one in self.guesses])
        numbers = [row.row for row, one in zip(self.rows, self.guesses, strict=True) for _ in one.ranks]
        return Predictions(ranks, self.log_probabilities, numbers, first_only=self.kind == "predictions")

    @property
    def log_probabilities(self) -> Array | None:
        known = [one.log_probabilities for one in self.guesses if one.log_probabilities is not None]
        return np.concatenate(known) if len(known) == len(self.guesses) else None

    @property
    def is_single(self) -> bool:
        """Whether every row has one mask."""
        return all(len(one.words) == 1 for one in self.guesses)

    @property
    def knows_chances(self) -> bool:
        """Whether every right word has a probability."""
        known = self.log_probabilities
        return known is not None and bool(np.isfinite(known).all())

    @property
    def counts(self) -> Array:
        """[rows, 5]: masks, those whose word was first or among five, sums of 1/rank and of log-probabilities."""
        return np.array([_counts(one) for one in self.guesses])

    @cached_property
    def counted(self) -> Counted:
        shares = {NAMES[0]: (1, 0)} if self.is_single else {}
        return Counted.of(self.counts, partial(_figures, self.names), shares=shares)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that these guesses have."""
        if self.kind == "predictions":
            return NAMES[:1]
        return NAMES if self.knows_chances else NAMES[:-1]

    @property
    def numbers(self) -> Iterator[int]:
        return (row.row for row in self.rows)

    @property
    def lengths(self) -> Array:
        return np.fromiter((len(row.text) for row in self.rows), dtype=np.int64)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        return {}

    @property
    def margin(self) -> float:
        return 0.0

    @property
    def right(self) -> Array:
        """[rows]: whether all its words were the likeliest."""
        return np.array([bool((one.ranks <= 1).all()) for one in self.guesses])

    def part(self, places: Array) -> Judged:
        return replace(self, rows=self.rows.take(places), guesses=take(self.guesses, places))

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        return score_what_applies(self.predictions, names)[0]

    def row_predictions(self) -> Iterator[RowPrediction]:
        """The score is the confidence in what was said, of several masks in the least sure one."""
        single = self.is_single
        for row, one, is_right in zip(self.rows, self.guesses, self.right, strict=True):
            target, said = (one.words[0], one.said[0]) if single else ([*one.words], [*one.said])
            sure = None if one.confidence is None else float(one.confidence.min())
            yield RowPrediction(row.row, {"text": row.text}, target, said, sure, bool(is_right))


def make_report(judged: Judged, settings: EvaluateSettings, columns: Columns | None = None) -> dict[str, Any]:
    """The report of one model."""
    if settings.metrics:
        metrics, missing = score(judged.predictions, settings.metrics), dict[str, str]()
    else:
        metrics, missing = score_what_applies(judged.predictions)
    return report_of(
        TASK,
        kind=judged.kind,
        rows=len(judged.rows),
        seconds=judged.seconds,
        metrics=metrics,
        missing=missing,
        worst=_worst(judged),
        masks=len(judged.predictions),
        confidence=judged.counted.intervals(settings.confidence_draws, settings.seed, metrics),
        slices=slices_of(judged, settings, columns or {}),
        calibration=_calibration(judged.guesses),
        latency=judged.latency,
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows; pseudo-perplexity where both have one."""
    return difference_of(mine, other, TASK, settings)


def _counts(one: Guesses) -> tuple[float, ...]:
    likely = 0.0 if one.log_probabilities is None else float(one.log_probabilities.sum())
    ranks = one.ranks
    return len(ranks), (ranks <= 1).sum(), (ranks <= 5).sum(), (1 / ranks).sum(), max(likely, -1e6)


def _figures(names: Sequence[str], sums: Array) -> dict[str, Array]:
    means = dict(zip(NAMES, (sums[:, 1:] / sums[:, :1]).T, strict=True))
    return {name: np.exp(-means[name]) if name == NAMES[-1] else means[name] for name in names}


def _calibration(guesses: Sequence[Guesses]) -> dict[str, Any] | None:
    """Of each guess; None where nobody told how sure it was."""
    sure = [one.confidence for one in guesses if one.confidence is not None]
    if len(sure) < len(guesses):
        return None
    return calibration(np.concatenate(sure), np.concatenate([one.ranks <= 1 for one in guesses]))


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """Rows that are not right, the surest of them first."""
    rows = zip(judged.row_predictions(), judged.guesses, strict=True)
    wrong = sorted((pair for pair in rows if not pair[0].right), key=lambda pair: -(pair[0].score or 0.0))
    return [
        {
            "row": row.row,
            "text": shown_text(str(row.inputs["text"])),
            "answer": row.target,
            "predicted": row.predicted,
            "rank": _shown(one.ranks),
            **({} if row.score is None else {"confidence": round(row.score, 6)}),
        }
        for row, one in wrong[:WORST_ROWS]
    ]


def _shown(ranks: Array) -> Any:
    """Whole numbers; None for a word that cannot be said."""
    found = [int(one) if np.isfinite(one) else None for one in ranks]
    return found[0] if len(found) == 1 else found
