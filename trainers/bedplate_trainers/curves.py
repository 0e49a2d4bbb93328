"""Precision against recall and the ROC curve of each label against the rest, thinned to what a chart can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from .metrics.classification import Predictions

__all__ = ["curves"]

Array = np.ndarray[Any, Any]
MOST_LABELS = 20
MOST_POINTS = 100  # of a curve; fewer where there are many curves, which reports would swell with
ALL_POINTS = 1000


def curves(predictions: Predictions, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Of the most frequent labels, the first one first.

    A label that all rows have, or none, has no curve. The areas are of the whole curves.
    """
    order = np.argsort(-predictions.support, kind="stable")
    chosen = order[~predictions.constant[order]][:MOST_LABELS].tolist()
    columns = [(names[place], predictions.has(place), predictions.probabilities[:, place]) for place in chosen]
    most = min(MOST_POINTS, ALL_POINTS // max(len(columns), 1))
    return {
        "precision_recall": [_precision_recall(*column, most) for column in columns],
        "roc": [_roc(*column, most) for column in columns],
    }


def _precision_recall(label: str, targets: Array, scores: Array, most: int) -> dict[str, Any]:
    precision, recall, _ = sk.precision_recall_curve(targets, scores)
    precision, recall = precision[::-1], recall[::-1]  # from the surest rows on
    points = _thinned(recall, most)
    return {
        "label": label,
        "recall": _listed(recall[points]),
        "precision": _listed(precision[points]),
        "average_precision": float(sk.average_precision_score(targets, scores)),
    }


def _roc(label: str, targets: Array, scores: Array, most: int) -> dict[str, Any]:
    wrong, right, _ = sk.roc_curve(targets, scores)
    points = _thinned(wrong + right, most)
    return {
        "label": label,
        "false_positive_rate": _listed(wrong[points]),
        "true_positive_rate": _listed(right[points]),
        "area": float(sk.roc_auc_score(targets, scores)),
    }


def _thinned(rising: Array, most: int) -> Array:
    """Places of points evenly spread over what rises along the curve, the last one among them."""
    if len(rising) <= most:
        return np.arange(len(rising))
    wanted = np.linspace(rising[0], rising[-1], most - 1)
    places = np.minimum(np.searchsorted(rising, wanted), len(rising) - 1)
    return np.unique(np.append(places, len(rising) - 1))


def _listed(values: Array) -> list[float]:
    return [round(float(value), 4) for value in values]
