"""The metrics of classification, by the names of the task's description.

`score` computes them; `classification_metric` gives the same as an `evaluate.Metric`, so that they can be combined,
saved and used wherever `evaluate` is. Inputs are probabilities [rows, labels] and targets: label numbers [rows], or 0
and 1 [rows, labels] where a row may have several labels.

    weighted_accuracy    each row weighs as its class is frequent in the targets
    norm_macro_recall    max(0, (recall - 1/n) / (1 - 1/n)), recall averaged over the n classes that the targets have
    *_binary             of two labels the positive one, which is the second unless Predictions say otherwise
    AUC_*, average_precision_score_*   one label against the rest; macro and weighted over labels that have both
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task
from bedplate_trainers.confidence import Counted
from bedplate_trainers.label_counts import count_labels

from .base import Scored, TaskMetrics, Undefined, check_rows
from .ranking import auc_and_precision

__all__ = [
    "METRICS",
    "Predictions",
    "applicable",
    "classification_metric",
    "left_out",
    "predict",
    "score",
    "score_what_applies",
]

Array = np.ndarray[Any, Any]
TASK = "text-classification"
THRESHOLD = 0.5
SINGLE_ONLY = ("balanced_accuracy", "weighted_accuracy", "norm_macro_recall", "log_loss", "matthews_correlation")
RANKED = ("AUC", "average_precision_score")
SHOWN = 5  # labels in a message
MOST_LEFT_OUT = 20  # labels of a metric in a report


@dataclass(frozen=True)
class Predictions(Scored):
    """What a classifier said, beside what was right."""

    probabilities: Array  # [rows, labels]
    targets: Array  # [rows], or [rows, labels] of 0 and 1
    labels_only: bool = False  # probabilities of 0 and 1 that stand for labels: nothing is known of the others
    positive: int = 1  # the label of *_binary
    names: Sequence[str] = ()  # of the labels, for messages; without them they count from 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", np.asarray(self.probabilities))
        object.__setattr__(self, "targets", np.asarray(self.targets))
        check_rows(self.probabilities, self.targets)
        bad = np.flatnonzero(~np.isfinite(self.probabilities).all(axis=-1))
        if len(bad):
            raise Refused(
                f"Row {bad[0] + 1} has a probability that is not a finite number.",
                hint="The model answers nothing that can be measured; a training that diverged wants a lower rate.",
                code="bad-rows",
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def multi_label(self) -> bool:
        return bool(self.targets.ndim == 2)

    @property
    def labels(self) -> int:
        return int(self.probabilities.shape[1]) if self.probabilities.ndim == 2 else 0

    @cached_property
    def chosen(self) -> Array:
        return predict(self.probabilities, self.multi_label)

    @cached_property
    def counted(self) -> Counted:
        """What was said of each row beside what was right, and the metrics that follow from it."""
        return count_labels(self.targets, self.chosen, self.labels, self.positive)

    @cached_property
    def support(self) -> Array:
        """How many rows have each label."""
        return self.targets.sum(axis=0) if self.multi_label else np.bincount(self.targets, minlength=self.labels)

    @cached_property
    def constant(self) -> Array:
        """The labels that all rows have, or none, which no ranking can find: [labels] of true or false."""
        return np.asarray((self.support == 0) | (self.support == len(self)))

    def named(self, labels: Array) -> list[str]:
        """The names of labels, [labels] of true or false."""
        return [self.names[place] if self.names else str(place) for place in np.flatnonzero(labels).tolist()]

    def has(self, label: int) -> Array:
        """Which rows have this label, [rows]."""
        return np.asarray(self.targets[:, label] > 0 if self.multi_label else self.targets == label)

    @cached_property
    def ranked(self) -> Array:
        """AUC and average precision of each label against the rest, [labels, 2]; NaN where it is constant."""
        found = np.full((self.labels, 2), np.nan)
        for label in np.flatnonzero(~self.constant).tolist():
            scores = self.probabilities[:, label]
            found[label] = auc_and_precision(scores, scores[self.has(label)])
        return found

    @cached_property
    def ranked_together(self) -> tuple[float, float]:
        """The same of all rows' labels in one ranking."""
        rows = np.arange(len(self))
        right = self.probabilities[self.targets > 0 if self.multi_label else (rows, self.targets)]
        return auc_and_precision(self.probabilities.ravel(), right)

    @cached_property
    def row_log_loss(self) -> Array:
        """[rows]: of probabilities that sum to one, in double precision; 0 and 1 count as the nearest to them."""
        sums = self.probabilities.sum(axis=1, dtype=np.float64)
        of_target = self.probabilities[np.arange(len(self)), self.targets] / sums
        least = np.finfo(np.float64).eps
        return np.asarray(-np.log(np.clip(of_target, least, 1 - least)))


def predict(probabilities: Array, multi_label: bool) -> Array:
    """The label with the highest probability, or every label above one half."""
    if multi_label:
        return np.asarray(probabilities >= THRESHOLD).astype(np.int64)
    return np.asarray(probabilities.argmax(axis=1))


def applicable(labels: int, multi_label: bool) -> tuple[str, ...]:
    """The names that mean something for this many labels."""
    names = get_task(TASK).metrics
    if multi_label:
        return tuple(name for name in names if name not in SINGLE_ONLY and not name.endswith("_binary"))
    return names if labels == 2 else tuple(name for name in names if not name.endswith("_binary"))


def score(predictions: Predictions, names: Iterable[str]) -> dict[str, float]:
    """The metrics asked for; Refused by name where one cannot be computed from these rows."""
    return METRICS.score(predictions, names)


def score_what_applies(predictions: Predictions) -> tuple[dict[str, float], dict[str, str]]:
    """Every metric that can be computed, and for the others of this kind of data the reason why not."""
    return METRICS.score_what_applies(predictions, applicable(predictions.labels, predictions.multi_label))


def left_out(predictions: Predictions, names: Iterable[str]) -> dict[str, list[str]]:
    """For those of the metrics that are means over labels without some of them: which these are, twenty at most."""
    labels = predictions.named(predictions.constant)[:MOST_LEFT_OUT]
    means = [f"{base}_{average}" for base in RANKED for average in ("macro", "weighted")]
    return {name: labels for name in names if name in means} if labels else {}


def _score(name: str, predictions: Predictions) -> float:
    if name not in applicable(predictions.labels, predictions.multi_label):
        kind = "rows with several labels" if predictions.multi_label else f"{predictions.labels} labels"
        raise Undefined(f"it does not apply to {kind}")
    base, _, average = name.rpartition("_")
    if predictions.labels_only and (base in RANKED or name == "log_loss"):
        raise Undefined("the predictions are labels without probabilities")
    if name == "log_loss":
        return float(predictions.row_log_loss.mean())
    if base in RANKED:
        return _ranked(base, average, predictions)
    if name not in predictions.counted.values:
        raise Undefined("these rows have only one label" if name == "norm_macro_recall" else "no row has a label")
    return predictions.counted.values[name]


def _ranked(base: str, average: str, predictions: Predictions) -> float:
    column, both = RANKED.index(base), ~predictions.constant
    if not len(both):
        raise Undefined("no row has a label")
    if not both.any():
        names = [repr(name) for name in predictions.named(predictions.constant)]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise Undefined(f"every label is in all of these rows or in none: {', '.join(names[:SHOWN])}{more}")
    if average == "micro":
        return predictions.ranked_together[column]
    values = predictions.ranked[:, column]
    if average == "binary":
        return float(values[predictions.positive])
    return float(np.average(values[both], weights=predictions.support[both] if average == "weighted" else None))


METRICS = TaskMetrics[Predictions](TASK, {name: partial(_score, name) for name in get_task(TASK).metrics})


def classification_metric(names: Iterable[str] | None = None, *, labels: int, multi_label: bool = False) -> Any:
    """An `evaluate.Metric` that computes `names`, or all that apply. Predictions are probabilities."""
    from .evaluated import MULTI_LABEL, TaskMetric  # takes seconds

    wanted = tuple(names) if names is not None else applicable(labels, multi_label)
    return TaskMetric(MULTI_LABEL if multi_label else TASK, names=wanted)
