"""What metrics of classifiers are made of: of each label how often it was said rightly, wrongly, and missed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from .confidence import Counted, kinds_of

__all__ = ["averages", "count_labels", "label_totals", "precision_recall_f1"]

Array = np.ndarray[Any, Any]
ROW, RIGHT, LABELS = 0, 1, 2  # columns: 1 for each row, whether it is right, then three of each label
NAMES = ("precision_score", "recall_score", "f1_score")


def count_labels(targets: Array, chosen: Array, labels: int, positive: int = 1, known: Array | None = None) -> Counted:
    """Of label numbers [rows], or of 0 and 1 [rows, labels] where a row may have several.

    `known`, [labels] of true or false, are those of a model that is counted beside one with others; None: all.
    A row is little more than its kind, however many labels there are: kinds are sparse.
    """
    many = targets.ndim == 2
    hot, said, kind = _several(targets, chosen) if many else _single(targets, chosen, labels)
    shares = ["accuracy"] if many else ["accuracy", "f1_score_micro", "precision_score_micro", "recall_score_micro"]
    figures = partial(_figures, many, positive, np.ones(labels, dtype=bool) if known is None else known)
    return Counted(_kinds(hot, said), kind, figures, shares=dict.fromkeys(shares, (RIGHT, ROW)))


def label_totals(counted: Counted) -> tuple[Array, Array, Array]:
    """Of each label over all rows, [labels]: said rightly, said wrongly, missed."""
    hits, wrong, missed = np.split(counted.total[0, LABELS:], 3)
    return hits, wrong, missed


def precision_recall_f1(hits: Array, wrong: Array, missed: Array) -> tuple[Array, Array, Array]:
    """0 where nothing was said, and where there was nothing to find."""
    return (
        _divided(hits, hits + wrong),
        _divided(hits, hits + missed),
        _divided(2 * hits, 2 * hits + wrong + missed),
    )


def _single(targets: Array, chosen: Array, labels: int) -> tuple[Any, Any, Array]:
    from scipy.sparse import csr_array

    pairs, kind = np.unique(targets.astype(np.int64) * labels + chosen, return_inverse=True)
    shape = (len(pairs), labels)
    hot, said = (
        csr_array((np.ones(len(pairs)), (np.arange(len(pairs)), of)), shape) for of in np.divmod(pairs, labels)
    )
    return hot, said, kind


def _several(targets: Array, chosen: Array) -> tuple[Any, Any, Array]:
    from scipy.sparse import csr_array

    packed = [np.packbits(values.astype(bool), axis=1) for values in (targets, chosen)]
    first, kind = kinds_of(np.concatenate(packed, axis=1))
    hot, said = (csr_array(values[first].astype(np.float64)) for values in (targets, chosen))
    return hot, said, kind


def _kinds(hot: Any, said: Any) -> Any:
    from scipy.sparse import csr_array, hstack

    hits = hot * said
    wrong, missed = said - hits, hot - hits
    right = (wrong + missed).sum(axis=1) == 0
    return hstack([csr_array(np.stack([np.ones(len(right)), right], axis=1)), hits, wrong, missed], format="csr")


def averages(hits: Array, wrong: Array, missed: Array, seen: Array) -> dict[str, Array]:
    """Of counts of each label, [draws, labels]: means over those that are `seen`, of all together, and weighted by how
    often they are in the references. By name: [draws].
    """
    each = dict(zip(NAMES, precision_recall_f1(hits, wrong, missed), strict=True))
    whole = precision_recall_f1(*(column.sum(axis=1) for column in (hits, wrong, missed)))
    return {
        **{f"{name}_macro": _mean(values, seen) for name, values in each.items()},
        **{f"{name}_micro": values for name, values in zip(NAMES, whole, strict=True)},
        **{f"{name}_weighted": _mean(values, hits + missed) for name, values in each.items()},
    }


def _figures(many: bool, positive: int, known: Array, sums: Array) -> Mapping[str, Array]:
    hits, wrong, missed = np.split(sums[:, LABELS:], 3, axis=1)
    each = dict(zip(NAMES, precision_recall_f1(hits, wrong, missed), strict=True))
    support = hits + missed
    # A label that neither occurs nor is said counts as 0 where a row may have several, as in scikit-learn.
    seen = np.broadcast_to(known, hits.shape) if many else support + wrong > 0
    found = {"accuracy": sums[:, RIGHT] / sums[:, ROW], "f1_score_macro": _mean(each["f1_score"], seen)}
    if not many:
        found["balanced_accuracy"] = _mean(each["recall_score"], support > 0)
    found |= averages(hits, wrong, missed, seen)
    if not many and hits.shape[1] == 2:
        found |= {f"{name}_binary": values[:, positive] for name, values in each.items()}
    if not many:
        found |= _of_one_label_a_row(hits, hits + wrong, support, found["balanced_accuracy"])
    nothing = support.sum(axis=1) == 0  # then there is nothing to find
    return {name: values if name == "accuracy" else np.where(nothing, np.nan, values) for name, values in found.items()}


def _of_one_label_a_row(hits: Array, said: Array, support: Array, balanced: Array) -> Mapping[str, Array]:
    """Of counts of each label, [draws, labels], and the mean recall, [draws]."""
    rows, least = support.sum(axis=1), _divided(np.ones(len(support)), (support > 0).sum(axis=1))
    spread = np.sqrt((rows**2 - (said**2).sum(axis=1)) * (rows**2 - (support**2).sum(axis=1)))
    return {
        "weighted_accuracy": _divided((support * hits).sum(axis=1), (support**2).sum(axis=1)),
        # Where all rows have one label there is nothing to tell apart.
        "norm_macro_recall": np.where(least < 1, np.maximum(_divided(balanced - least, 1 - least), 0), np.nan),
        "matthews_correlation": _divided(hits.sum(axis=1) * rows - (said * support).sum(axis=1), spread),
    }


def _mean(values: Array, weights: Array) -> Array:
    """Over labels, weighted: [draws, labels] -> [draws]."""
    return _divided((values * weights).sum(axis=1), weights.sum(axis=1))


def _divided(above: Array, below: Array) -> Array:
    """0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
