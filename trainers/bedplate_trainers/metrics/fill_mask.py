"""The metrics of fill-mask: how high the right token stood, and how probable it was.

top1_accuracy, top5_accuracy   the share of masks whose right token was among the first 1 or 5
mrr                            the mean of 1 / rank
pseudo_perplexity              exp of the mean negative log-probability of the right token at its mask
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused

from .base import Scored, TaskMetrics, Undefined, check_rows

__all__ = ["METRICS", "Predictions", "rank", "score", "score_what_applies"]

TASK = "fill-mask"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions(Scored):
    """For each mask the rank of the right token, from 1, and its natural log-probability where that is known.

    A rank of infinity is a token that the model cannot say. `rows` are the masks' rows, for messages; without them
    the masks count from 1.
    """

    ranks: Array | Sequence[float]  # [masks]
    log_probabilities: Array | Sequence[float] | None = None  # [masks]
    rows: Sequence[int] | None = None  # [masks]
    first_only: bool = False  # a word that is not first has no rank: infinity stands for it

    def __post_init__(self) -> None:
        ranks = np.asarray(self.ranks, dtype=np.float64)
        bad = np.flatnonzero(~(ranks >= 1))
        if len(bad):
            raise Refused(
                f"Row {self.row(bad[0])} has the rank {ranks[bad[0]]:g}.", hint="Ranks count from 1.", code="bad-rows"
            )
        object.__setattr__(self, "ranks", ranks)
        if self.log_probabilities is not None:
            check_rows(ranks, self.log_probabilities)
            object.__setattr__(self, "log_probabilities", np.asarray(self.log_probabilities, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.ranks)

    def row(self, mask: int) -> int:
        """The number of a mask's row."""
        return int(mask) + 1 if self.rows is None else self.rows[mask]


def rank(scores: Array, answers: Array) -> Array:
    """Ranks [masks] of the tokens `answers` [masks] in `scores` [masks, vocabulary]; what is equal stands before it.

    So a model that says the same of every token has found none.
    """
    right = np.take_along_axis(scores, answers[:, None], axis=1)
    return np.asarray((scores >= right).sum(axis=1))


def _pseudo_perplexity(predictions: Predictions) -> float:
    if predictions.log_probabilities is None:
        raise Undefined("the log-probabilities of the right tokens are not known")
    values = np.asarray(predictions.log_probabilities)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise Undefined(f"row {predictions.row(bad[0])} has the log-probability {values[bad[0]]}")
    with np.errstate(over="ignore"):
        return float(np.exp(-values.mean()))


def _top5(predictions: Predictions) -> float:
    _check_ranks(predictions)
    return float((np.asarray(predictions.ranks) <= 5).mean())


def _mrr(predictions: Predictions) -> float:
    _check_ranks(predictions)
    return float((1 / np.asarray(predictions.ranks)).mean())


def _check_ranks(predictions: Predictions) -> None:
    if predictions.first_only:
        raise Undefined("the first guess of each mask is known, and no other")


METRICS = TaskMetrics[Predictions](
    TASK,
    {
        "top1_accuracy": lambda p: float((np.asarray(p.ranks) <= 1).mean()),
        "top5_accuracy": _top5,
        "mrr": _mrr,
        "pseudo_perplexity": _pseudo_perplexity,
    },
)
score = METRICS.score
score_what_applies = METRICS.score_what_applies
