"""How well scores rank the rows of a label before all others. Both are what scikit-learn computes, ties and all, and
need the right rows' places among the sorted scores alone: of many labels that is far less work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["auc_and_precision", "influences"]

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


def influences(scores: Array, right: Array) -> Array:
    """How much the two change with the weight of each, times how many there are: [2, n], of `right`, [n] of true or
    false. Both kinds must be there.

    Where all weigh 1, AUC is the mean over right ones of the share of the others that are below, and the mean over the
    others of the share of right ones above. Average precision is the mean over right ones of the precision at their
    score, in which all count that have at least this score.
    """
    order = np.argsort(scores, kind="stable")
    ordered, is_right = scores[order], right[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # equal scores come together
    mine = np.add.reduceat(is_right.astype(np.float64), starts)
    others = np.diff(np.r_[starts, len(scores)]) - mine
    count, rest, rows = mine.sum(), others.sum(), len(scores)

    below = (np.cumsum(others) - others / 2) / rest  # of each score: what a right one of it is worth
    above = 1 - (np.cumsum(mine) - mine / 2) / count  # and another one
    area = (mine * below).sum() / count
    of_area = (rows / count * (below - area), rows / rest * (above - area))

    hits = np.cumsum(mine[::-1])[::-1]
    found = hits + np.cumsum(others[::-1])[::-1]
    mean = (mine * hits / found).sum() / count
    gained, lost = np.cumsum(mine / found), np.cumsum(mine * hits / found**2)  # by the right ones of lower scores
    of_mean = (rows / count * (hits / found - mean + gained - lost), -rows / count * lost)

    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, rows]))
    both = np.empty((2, rows))
    for place, (of_right, of_other) in enumerate((of_area, of_mean)):
        both[place, order] = np.where(is_right, of_right[group], of_other[group])
    return both
