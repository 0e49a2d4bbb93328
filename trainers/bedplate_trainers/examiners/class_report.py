"""The report on a classifier: one shape for a fine-tune's test, an evaluation, and the probe of a base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bedplate_trainers import influence
from bedplate_trainers.calibration import calibration
from bedplate_trainers.comparison import difference_of
from bedplate_trainers.confidence import Counted
from bedplate_trainers.curves import curves
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.label_counts import count_labels, label_totals, precision_recall_f1
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.linear import targets_of
from bedplate_trainers.metrics.classification import METRICS, Predictions, left_out, score, score_what_applies
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.shown import WORST_ROWS, shown_text
from bedplate_trainers.slice_columns import Columns, unlike
from bedplate_trainers.slices import OTHERS, slices_of

__all__ = ["Judged", "difference", "make_report"]

Array = np.ndarray[Any, Any]
MOST_CONFUSED = 200  # labels of a confusion matrix


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
    positive: int = 1  # LabelSet.positive: the label that *_binary metrics are about

    @cached_property
    def predictions(self) -> Predictions:
        targets = targets_of(self.examples, self.labels)
        return Predictions(self.probabilities, targets, self.labels_only, self.positive, self.labels.names)

    @property
    def positive_label(self) -> str | None:
        """That of binary metrics, where there can be any."""
        names = self.labels.names
        return names[self.positive] if len(names) == 2 and not self.labels.multi_label else None

    @property
    def has_sureness(self) -> bool:
        return not self.labels_only or self.given_sureness is not None

    def over(self, names: tuple[str, ...]) -> Judged:
        """The same over more labels, or in another order; labels it does not know it never says."""
        if names == self.labels.names:
            return self
        places = {name: place for place, name in enumerate(names)}
        positive = places[self.labels.names[self.positive]] if len(self.labels.names) > 1 else self.positive
        wider = np.zeros((len(self.probabilities), len(names)), dtype=self.probabilities.dtype)
        wider[:, [places[name] for name in self.labels.names]] = self.probabilities
        return replace(self, labels=replace(self.labels, names=names), probabilities=wider, positive=positive)

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
        return self.predictions.counted

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
            sure, right = np.asarray(sure.min(axis=1, initial=1.0)), np.asarray(right.all(axis=1))
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
    is_binary = any(name.endswith("_binary") for name in metrics)
    skipped = left_out(judged.predictions, metrics)
    return report_of(
        task,
        kind=judged.kind,
        rows=len(judged.examples),
        seconds=judged.seconds,
        metrics=metrics,
        missing=missing,
        worst=_worst(judged),
        multi_label=judged.labels.multi_label,
        **({"positive_label": judged.positive_label} if is_binary else {}),
        **({"left_out": skipped} if skipped else {}),
        confidence=_confidence(judged, settings, metrics),
        classes=_classes(judged),
        confusion=_confusion(judged),
        slices=slices_of(judged, settings, columns or {}),
        curves={} if judged.labels_only else curves(judged.predictions, judged.labels.names),
        calibration=calibration(judged.sureness.ravel(), judged.right.ravel()) if judged.has_sureness else None,
        latency=judged.latency,
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows, with intervals; binary metrics where both mean one label."""
    names = tuple(dict.fromkeys((*mine.labels.names, *other.labels.names)))
    counted = _counted_over(names, mine), _counted_over(names, other)
    apart = difference_of(mine, other, METRICS.task, settings, counted)
    bare = {name: one["value"] for name, one in apart.items() if "p_value" not in one}
    for name, one in influence.differences(mine.predictions, other.predictions, bare).items():
        drawn = settings.confidence_draws > 0
        apart[name] = {key: value for key, value in one.items() if drawn or key not in ("low", "high")}
    same = mine.positive_label == other.positive_label
    return {name: one for name, one in apart.items() if same or not name.endswith("_binary")}


def _counted_over(names: tuple[str, ...], judged: Judged) -> Counted:
    """Over the labels of both; means over labels are still those over its own."""
    wide, known = judged.over(names).predictions, np.isin(names, judged.labels.names)
    return count_labels(wide.targets, wide.chosen, wide.labels, wide.positive, known)


def _confidence(judged: Judged, settings: EvaluateSettings, metrics: Mapping[str, float]) -> dict[str, list[float]]:
    """In the order of the metrics."""
    draws = settings.confidence_draws
    found = judged.counted.intervals(draws, settings.seed, metrics)
    found |= influence.intervals(judged.predictions, metrics) if draws else {}
    return {name: found[name] for name in metrics if name in found}


def _metrics(predictions: Predictions, wanted: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Those asked for, or it is refused; without a wish, all that can be computed.

    By the functions that the `evaluate` modules are made of: to import `evaluate` itself takes seconds.
    """
    return (score(predictions, wanted), {}) if wanted else score_what_applies(predictions)


def _classes(judged: Judged) -> list[dict[str, Any]]:
    hits, wrong, missed = label_totals(judged.counted)
    columns = (*precision_recall_f1(hits, wrong, missed), hits + missed)
    return [
        {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(judged.labels.names, *columns, strict=True)
    ]


def _confusion(judged: Judged) -> dict[str, Any]:
    """Rows are right labels, columns what was said. With several labels a row: per label [[tn, fp], [fn, tp]]."""
    predictions, names = judged.predictions, list(judged.labels.names)
    if judged.labels.multi_label:
        hits, wrong, missed = (column.astype(int).tolist() for column in label_totals(judged.counted))
        rows, each = len(predictions), zip(hits, wrong, missed, strict=True)
        return {"labels": names, "matrix": [], "per_label": [[[rows - h - w - m, w], [m, h]] for h, w, m in each]}
    shown, targets, chosen = _most_frequent(names, predictions)
    matrix = np.bincount(targets * len(shown) + chosen, minlength=len(shown) ** 2).reshape(len(shown), len(shown))
    return {"labels": shown, "matrix": matrix.tolist()}


def _most_frequent(names: list[str], predictions: Predictions) -> tuple[list[str], Array, Array]:
    """The labels of a confusion matrix, in their order, with the right ones and what was said as numbers of these. Of
    many labels the rarest stand together at the end: a matrix grows with the square of their number.
    """
    targets, chosen, many = predictions.targets, predictions.chosen, len(names)
    if many <= MOST_CONFUSED:
        return names, targets, chosen
    times = np.bincount(targets, minlength=many) + np.bincount(chosen, minlength=many)
    kept = np.sort(np.argsort(-times, kind="stable")[: MOST_CONFUSED - 1])
    place = np.full(many, len(kept))
    place[kept] = np.arange(len(kept))
    return [*(names[one] for one in kept), unlike(OTHERS, names)], place[targets], place[chosen]


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """Wrong rows, the surest first."""
    predictions, names = judged.predictions, np.array(judged.labels.names, dtype=object)
    chosen, wrongness = predictions.chosen, _wrongness(predictions)
    order = [int(place) for place in np.argsort(-wrongness, kind="stable")[:WORST_ROWS] if wrongness[place] >= 0]
    said = [
        names[chosen[place].astype(bool)].tolist() if predictions.multi_label else names[chosen[place]]
        for place in order
    ]
    return [_wrong_row(judged, place, one, float(wrongness[place])) for place, one in zip(order, said, strict=True)]


def _wrongness(predictions: Predictions) -> Array:
    """How sure the model was of its wrongest label, [rows]; -1 of what is right.

    Of several labels: of one it said and should not have, or left out and should not have.
    """
    chosen, probabilities = predictions.chosen, predictions.probabilities
    if not predictions.multi_label:
        return np.where(chosen == predictions.targets, -1.0, probabilities[np.arange(len(chosen)), chosen])
    hot, said = predictions.targets.astype(bool), chosen.astype(bool)
    sure = np.where(said & ~hot, probabilities, np.where(hot & ~said, 1 - probabilities, -1.0))
    return np.asarray(sure.max(axis=1, initial=-1.0))


def _wrong_row(judged: Judged, place: int, predicted: Any, confidence: float) -> dict[str, Any]:
    row = judged.examples.rows[place]
    texts = {name: shown_text(value) for name, value in row.input.items()}
    return {
        "row": row.row,
        **texts,
        "label": list(row.labels) if judged.labels.multi_label else row.labels[0],
        "predicted": predicted,
        **({} if judged.labels_only else {"confidence": round(confidence, 6)}),
    }
