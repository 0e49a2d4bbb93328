"""The report on a classifier: one shape for a fine-tune's test, an evaluation, and the probe of a base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from sklearn import metrics as sk

from bedplate_trainers.calibration import calibration
from bedplate_trainers.confidence import Counted, compare, of_labels, row_counts
from bedplate_trainers.curves import curves
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.linear import targets_of
from bedplate_trainers.metrics.classification import METRICS, Predictions, score, score_what_applies
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.slices import slices_of

__all__ = ["Judged", "difference", "make_report"]

Array = np.ndarray[Any, Any]
WORST_ROWS = 20
WORST_CHARACTERS = 500


@dataclass(frozen=True)
class Judged:
    """A model's probabilities on labeled rows, and how long they took. It fulfills judged.JudgedRows."""

    kind: str  # model | probe | predictions
    labels: LabelSet
    examples: Any  # data.Examples or pictures.Pictures
    probabilities: Array
    seconds: float
    latency: Mapping[str, float] | None = None
    labels_only: bool = False  # `probabilities` are 0 and 1, and say what was said and no more
    given_sureness: Array | None = None  # [rows], of labels alone: how sure whoever said them was

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions(self.probabilities, targets_of(self.examples, self.labels), self.labels_only)

    @property
    def has_sureness(self) -> bool:
        return not self.labels_only or self.given_sureness is not None

    def over(self, names: tuple[str, ...]) -> Judged:
        """The same over more labels, or in another order; labels it does not know it never says."""
        places = {name: place for place, name in enumerate(names)}
        wider = np.zeros((len(self.probabilities), len(names)), dtype=self.probabilities.dtype)
        wider[:, [places[name] for name in self.labels.names]] = self.probabilities
        return replace(self, labels=replace(self.labels, names=names), probabilities=wider)

    @property
    def counts(self) -> Array:
        predictions = self.predictions
        return row_counts(predictions.targets, predictions.chosen, predictions.labels)

    @property
    def sureness(self) -> Array:
        """The probability of each decision: [rows] of the label that was said, or [rows, labels] of yes or no."""
        if self.given_sureness is not None:
            return self.given_sureness
        if self.labels.multi_label:
            return np.asarray(np.maximum(self.probabilities, 1 - self.probabilities))
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> Array:
        """Whether each decision is right, in the shape of `sureness`."""
        predictions = self.predictions
        right = np.asarray(predictions.targets == predictions.chosen)
        return np.asarray(right.all(axis=1)) if self.given_sureness is not None and right.ndim == 2 else right

    @property
    def counted(self) -> Counted:
        return of_labels(self.counts)

    @property
    def numbers(self) -> Iterator[int]:
        return (row.row for row in self.examples)

    @property
    def lengths(self) -> Array:
        return np.fromiter(self.examples.lengths, dtype=np.int64)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Labels are in `classes`."""
        return {}

    @property
    def margin(self) -> float:
        return 0.0

    def part(self, places: Array) -> Judged:
        sure = None if self.given_sureness is None else self.given_sureness[places]
        examples, probabilities = self.examples.take(places), self.probabilities[places]
        return replace(self, examples=examples, probabilities=probabilities, given_sureness=sure)

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        return METRICS.score_what_applies(self.predictions, names)[0]

    def row_predictions(self) -> Iterator[RowPrediction]:
        """The score is the probability of the label; of several labels that of the least sure decision."""
        names, many = np.array(self.labels.names, dtype=object), self.labels.multi_label
        sure, right = self.sureness, self.right
        if sure.ndim == 2:
            sure, right = np.asarray(sure.min(axis=1)), np.asarray(right.all(axis=1))
        for row, said, sureness, is_right in zip(self.examples, self.predictions.chosen, sure, right, strict=True):
            target = list(row.labels) if many else row.labels[0]
            predicted = names[said.astype(bool)].tolist() if many else names[said]
            score = float(sureness) if self.has_sureness else None
            yield RowPrediction(row.row, self.examples.inputs(row), target, predicted, score, bool(is_right))


def make_report(
    judged: Judged, settings: EvaluateSettings, columns: Columns | None = None, task: str = "text-classification"
) -> dict[str, Any]:
    """The report of one classifier."""
    metrics, missing = _metrics(judged.predictions, settings.metrics)
    return report_of(
        task,
        kind=judged.kind,
        rows=len(judged.examples),
        seconds=judged.seconds,
        metrics=metrics,
        missing=missing,
        worst=_worst(judged),
        multi_label=judged.labels.multi_label,
        confidence=judged.counted.intervals(settings.confidence_draws, settings.seed),
        classes=_classes(judged),
        confusion=_confusion(judged),
        slices=slices_of(judged, settings, columns or {}),
        curves={} if judged.labels_only else curves(judged.predictions.hot, judged.probabilities, judged.labels.names),
        calibration=calibration(judged.sureness.ravel(), judged.right.ravel()) if judged.has_sureness else None,
        latency=judged.latency,
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows, with intervals."""
    names = tuple(dict.fromkeys((*mine.labels.names, *other.labels.names)))
    first, second = (judged.over(names).counts for judged in (mine, other))
    return compare(first, second, settings.confidence_draws, settings.seed)


def _metrics(predictions: Predictions, wanted: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Those asked for, or it is refused; without a wish, all that can be computed.

    By the functions that the `evaluate` modules are made of: to import `evaluate` itself takes seconds.
    """
    return (score(predictions, wanted), {}) if wanted else score_what_applies(predictions)


def _classes(judged: Judged) -> list[dict[str, Any]]:
    predictions = judged.predictions
    numbers = list(range(predictions.labels))
    columns = sk.precision_recall_fscore_support(
        predictions.targets, predictions.chosen, labels=numbers, average=None, zero_division=0
    )
    return [
        {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(judged.labels.names, *columns, strict=True)
    ]


def _confusion(judged: Judged) -> dict[str, Any]:
    """Rows are right labels, columns what was said. With several labels a row: per label [[tn, fp], [fn, tp]]."""
    predictions, names = judged.predictions, list(judged.labels.names)
    if judged.labels.multi_label:
        each = sk.multilabel_confusion_matrix(predictions.targets, predictions.chosen)
        return {"labels": names, "matrix": [], "per_label": each.tolist()}
    matrix = sk.confusion_matrix(predictions.targets, predictions.chosen, labels=np.arange(len(names)))
    return {"labels": names, "matrix": matrix.tolist()}


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """Wrong rows, the surest first."""
    predictions = judged.predictions
    chosen, hot = predictions.chosen, predictions.hot.astype(bool)
    said = chosen.astype(bool) if predictions.multi_label else np.eye(predictions.labels, dtype=bool)[chosen]
    # How sure the model was of its wrongest label: of one it said and should not have, or left out and should not have.
    sure = np.where(said & ~hot, judged.probabilities, np.where(hot & ~said, 1 - judged.probabilities, -1.0))
    wrongness = sure.max(axis=1) if predictions.multi_label else np.where(said & ~hot, judged.probabilities, -1).max(1)
    order = [int(place) for place in np.argsort(-wrongness, kind="stable")[:WORST_ROWS] if wrongness[place] >= 0]
    return [_wrong_row(judged, place, said[place], float(wrongness[place])) for place in order]


def _wrong_row(judged: Judged, place: int, said: Array, confidence: float) -> dict[str, Any]:
    row, names = judged.examples.rows[place], judged.labels.names
    predicted = [name for name, is_said in zip(names, said, strict=True) if is_said]
    many = judged.labels.multi_label
    texts = {name: value[:WORST_CHARACTERS] for name, value in row.input.items()}
    return {
        "row": row.row,
        **texts,
        "label": list(row.labels) if many else row.labels[0],
        "predicted": predicted if many else predicted[0],
        **({} if judged.labels_only else {"confidence": round(confidence, 6)}),
    }
