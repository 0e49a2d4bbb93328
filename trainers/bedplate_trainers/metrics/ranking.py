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
    is_right, ordered = right[order], scores[order]
    begins = np.append(True, ordered[1:] != ordered[:-1])  # equal scores come together
    group, starts = np.cumsum(begins, dtype=np.int32) - 1, np.flatnonzero(begins)
    mine = np.add.reduceat(is_right, starts, dtype=np.int32)  # of each score: right ones, and others
    others = np.diff(starts, append=len(scores)) - mine
    both = np.empty((2, len(scores)))
    for place, weigh in enumerate((_of_area, _of_mean)):
        of_right, of_other = weigh(mine, others)
        found = of_other[group]
        np.copyto(found, of_right[group], where=is_right)
        both[place, order] = found
    return both


def _of_area(mine: Array, others: Array) -> tuple[Array, Array]:
    """Of each score, from the lowest on: what a right one weighs in AUC, and what another one does."""
    count, rest = int(mine.sum()), int(others.sum())
    below = (np.cumsum(others) - others / 2) / rest  # what a right one is worth
    above = 1 - (np.cumsum(mine) - mine / 2) / count  # and another one
    area = mine @ below / count
    return (count + rest) / count * (below - area), (count + rest) / rest * (above - area)


def _of_mean(mine: Array, others: Array) -> tuple[Array, Array]:
    """The same in average precision."""
    count, rows = int(mine.sum()), int(mine.sum() + others.sum())
    hits = np.cumsum(mine[::-1])[::-1]
    share = mine / (hits + np.cumsum(others[::-1])[::-1])
    precision = share * hits / np.maximum(mine, 1)  # where there is a right one; else it is not asked for
    lost = np.cumsum(share * precision)  # by the right ones of lower scores, and what these gain
    of_right = np.cumsum(share) - lost - (mine @ precision) / count
    return rows / count * (of_right + precision), -rows / count * lost
