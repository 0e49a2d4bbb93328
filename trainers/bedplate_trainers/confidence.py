"""How sure a figure is: bootstrap intervals, and whether two models differ on the same rows.

Drawing rows with replacement is drawing how often each *kind* of row comes, from a multinomial. There are few kinds
(what was right, what each model said), so a thousand draws cost the same for a thousand rows as for a million.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["compare", "draw", "interval", "intervals", "row_counts"]

Array = np.ndarray[Any, Any]
LEVEL = (2.5, 97.5)
CHUNK_DRAWS = 64


def row_counts(targets: Array, chosen: Array, labels: int) -> Array:
    """Per row: right or not, then per label true positive, wrongly said, missed. All else follows from their sums."""
    hot, said = (values if values.ndim == 2 else np.eye(labels, dtype=bool)[values] for values in (targets, chosen))
    hot, said = hot.astype(bool), said.astype(bool)
    right = (hot == said).all(axis=1)[:, None]
    return np.concatenate([right, hot & said, said & ~hot, hot & ~said], axis=1).astype(np.uint8)


def intervals(counts: Array, draws: int, seed: int) -> dict[str, list[float]]:
    """95 % intervals of accuracy and macro F1."""
    drawn = draw(counts, draws, seed)
    return {name: interval(values) for name, values in _figures(drawn, len(counts)).items()}


def compare(mine: Array, other: Array, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """The difference mine - other on the same rows, with its interval; for accuracy McNemar's exact p-value too."""
    width, rows = mine.shape[1], len(mine)
    sums = np.concatenate([mine, other], axis=1).sum(axis=0, keepdims=True, dtype=np.float64)
    value = _difference(sums, width, rows)
    drawn = _difference(draw(np.concatenate([mine, other], axis=1), draws, seed), width, rows)
    report = {}
    for name in value:
        low, high = interval(drawn[name])
        report[name] = {"value": float(value[name][0]), "low": low, "high": high}
    report["accuracy"]["p_value"] = _mcnemar(mine[:, 0] > 0, other[:, 0] > 0)
    return report


def draw(counts: Array, draws: int, seed: int) -> Array:
    """Sums of counts over each draw: [draws, columns]."""
    kinds, places = np.unique(counts, axis=0, return_inverse=True)
    kinds = kinds.astype(np.float64)
    share = np.bincount(places.ravel(), minlength=len(kinds)) / len(counts)
    generator = np.random.default_rng(seed)
    parts = [
        generator.multinomial(len(counts), share, size=min(CHUNK_DRAWS, draws - at)) @ kinds
        for at in range(0, draws, CHUNK_DRAWS)
    ]
    return np.concatenate(parts)


def _figures(sums: Array, rows: int) -> Mapping[str, Array]:
    accuracy, rest = sums[:, 0] / rows, sums[:, 1:]
    hits, wrong, missed = np.split(rest, 3, axis=1)
    seen = hits + wrong + missed > 0  # a label that neither occurs nor is said has no F1
    f1 = np.divide(2 * hits, 2 * hits + wrong + missed, out=np.zeros_like(hits), where=seen)
    return {"accuracy": accuracy, "f1_score_macro": f1.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)}


def _difference(sums: Array, width: int, rows: int) -> dict[str, Array]:
    mine, other = _figures(sums[:, :width], rows), _figures(sums[:, width:], rows)
    return {name: mine[name] - other[name] for name in mine}


def interval(values: Array) -> list[float]:
    """The middle 95 % of what was drawn."""
    low, high = np.percentile(values, LEVEL)
    return [float(low), float(high)]


def _mcnemar(mine: Array, other: Array) -> float:
    """Of the rows that only one of the two got right: how likely is so uneven a share by chance."""
    from scipy.stats import binomtest

    only_mine, only_other = int((mine & ~other).sum()), int((other & ~mine).sum())
    if only_mine + only_other == 0:
        return 1.0
    return float(binomtest(only_mine, only_mine + only_other).pvalue)
