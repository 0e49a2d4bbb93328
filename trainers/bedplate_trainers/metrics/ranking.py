"""How well scores rank the rows of a label before all others. Both are what scikit-learn computes, ties and all, and
need the right rows' places among the sorted scores alone: of many labels that is far less work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["auc_and_precision"]

Array = np.ndarray[Any, Any]


def auc_and_precision(scores: Array, right: Array) -> tuple[float, float]:
    """The area under the ROC curve, and average precision: of all scores, [n], and of those that are right, [m].

    There must be both kinds, right ones and others.
    """
    scores, right = np.sort(scores), np.sort(right)
    below, up_to = (np.searchsorted(scores, right, side) for side in ("left", "right"))
    others, count = len(scores) - len(right), len(right)
    # Pairs of a right row and another one: as many as are in order, and half of those that are equal.
    pairs = (below + up_to).sum(dtype=np.float64) / 2 - count * count / 2
    # At each right score: how many have at least this one, and how many of these are right. Equal scores come together.
    precision = (count - np.searchsorted(right, right, "left")) / (len(scores) - below)
    return float(pairs / (others * count)), float(precision.mean())
