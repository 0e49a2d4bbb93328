"""How sure metrics are that are no sums over rows: AUC, average precision, and log_loss beside them.

The influence of a row is how much a metric changes with the row's weight, times the number of rows. Influences add up
to 0, and the root of the sum of their squares, over the rows, is the standard error of the metric: the infinitesimal
jackknife (B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 6), which is what bootstrap
draws come to, without drawing. For AUC it is the method of E. R. DeLong and others (Biometrics 44, 837, 1988), and the
difference of two models on the same rows has their test.

Intervals are made where a metric has no bounds that they could cross: of the log odds of what is between 0 and 1, of
the logarithm of log_loss. A metric that is exactly 0 or 1 has none: that all these rows are in order does not say how
many others are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import erfc, exp, log, sqrt
from typing import Any

import numpy as np

from .confidence import FEWEST_ROWS, Z
from .metrics.classification import RANKED, Predictions
from .metrics.ranking import influences

__all__ = ["differences", "influences_of", "intervals"]

Array = np.ndarray[Any, Any]
LOG_LOSS = "log_loss"


def intervals(predictions: Predictions, metrics: Mapping[str, float]) -> dict[str, list[float]]:
    """95 % intervals of those of `metrics` that are here, whose values are given. Of fewer than ten rows none."""
    if len(predictions) < FEWEST_ROWS:
        return {}
    found = {}
    for name, influence in influences_of(predictions, metrics).items():
        if ends := _ends(name, metrics[name], _error(influence)):
            found[name] = ends
    return found


def differences(first: Predictions, second: Predictions, values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """For those of the metrics that are here, of which `values` says by how much `first` exceeds `second` on the same
    rows: `value`, `low`, `high` and `p_value`. Of fewer than ten rows none.
    """
    if len(first) < FEWEST_ROWS:
        return {}
    mine, others = influences_of(first, values), influences_of(second, values)
    return {name: _apart(values[name], _error(mine[name] - others[name])) for name in mine if name in others}


def _apart(value: float, error: float) -> dict[str, float]:
    """Where no row has an influence on either there is no interval. Two that rank all rows alike do not differ; of one
    that ranks all rightly and one that ranks none, the rows cannot say how sure their difference is.
    """
    if error == 0:
        return {"value": value, "p_value": 1.0} if value == 0 else {"value": value}
    chance = erfc(abs(value) / error / sqrt(2))
    return {"value": value, "low": value - Z * error, "high": value + Z * error, "p_value": chance}


def _ends(name: str, value: float, error: float) -> list[float]:
    into, back, slope = _scale(name, value)
    if error == 0 or slope == 0:
        return []
    middle, half = into(value), Z * error / slope
    return [back(middle - half), back(middle + half)]


def _scale(name: str, value: float) -> tuple[Callable[[float], float], Callable[[float], float], float]:
    """A function whose values have no bounds, the way back, and the inverse of its slope at `value`."""
    if name == LOG_LOSS:
        return log, exp, value
    return lambda share: log(share / (1 - share)), lambda odds: 1 / (1 + exp(-odds)), value * (1 - value)


def _error(influence: Array) -> float:
    return float(np.sqrt((influence**2).sum()) / len(influence))


def influences_of(predictions: Predictions, names: Collection[str]) -> dict[str, Array]:
    """Of each of the metrics that is here and has a value: [rows]."""
    wanted = [name for name in names if name == LOG_LOSS or name.rpartition("_")[0] in RANKED]
    if predictions.labels_only or not wanted:
        return {}
    found = _of_means(predictions, {name.rpartition("_")[2] for name in wanted} & {"macro", "weighted", "binary"})
    if any(name.endswith("_micro") for name in wanted):
        found |= _of_all_together(predictions)
    if LOG_LOSS in wanted:
        found[LOG_LOSS] = predictions.row_log_loss - predictions.row_log_loss.mean()
    return {name: found[name] for name in wanted if name in found}


def _of_means(predictions: Predictions, averages: Collection[str]) -> dict[str, Array]:
    """Of the positive label alone, and of means over labels, whose weights are counts of rows, and change as well."""
    labels = np.flatnonzero(~predictions.constant).tolist()
    if not averages or not labels:
        return {}
    rows, total = len(predictions), float(predictions.support[labels].sum())
    macro, weighted, binary = (np.zeros((2, rows)) for _ in range(3))
    for label in labels:
        has = predictions.has(label)
        of_label = influences(predictions.probabilities[:, label], has)
        share = predictions.support[label] / total
        mean = np.average(predictions.ranked[labels], axis=0, weights=predictions.support[labels])
        macro += of_label / len(labels)
        weighted += share * of_label + rows / total * np.outer(predictions.ranked[label] - mean, has)
        if label == predictions.positive:
            binary = of_label
    found = {"macro": macro, "weighted": weighted, "binary": binary}
    return {f"{base}_{how}": found[how][place] for place, base in enumerate(RANKED) for how in averages}


def _of_all_together(predictions: Predictions) -> dict[str, Array]:
    """Of one ranking of the labels of all rows, in which a row has a place for each label."""
    rows, labels = predictions.probabilities.shape
    has = predictions.targets > 0 if predictions.multi_label else np.arange(labels) == predictions.targets[:, None]
    whole = influences(predictions.probabilities.ravel(), has.ravel()).reshape(2, rows, labels).sum(axis=2) / labels
    return {f"{base}_micro": whole[place] for place, base in enumerate(RANKED)}
