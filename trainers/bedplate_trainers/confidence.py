"""How sure a figure is: bootstrap intervals, and whether two models differ on the same rows.

Drawing rows with replacement is drawing how often each *kind* of row comes, from a multinomial; exchanging the answers
of two models in rows at random is drawing how often each kind is exchanged, from a binomial. There are few kinds (what
was right, what each model said), so a thousand draws cost the same for a thousand rows as for a million.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

__all__ = ["Counted", "compare", "draw", "interval", "intervals", "of_labels", "row_counts"]

Array = np.ndarray[Any, Any]
LEVEL = (2.5, 97.5)
CHUNK_DRAWS = 64
SHUFFLES = 1000


@dataclass(frozen=True)
class Counted:
    """Of each row what some metrics are made of, and these metrics of sums over rows."""

    counts: Array  # [rows, n]
    figures: Callable[[Array], Mapping[str, Array]]  # sums [draws, n] -> name: [draws]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics."""
        return tuple(self.figures(_total(self.counts)))

    def intervals(self, draws: int, seed: int) -> dict[str, list[float]]:
        """95 % intervals, by metric; none without draws."""
        if not draws:
            return {}
        return {name: interval(values) for name, values in self.figures(draw(self.counts, draws, seed)).items()}

    def difference(
        self, other: Counted, draws: int, seed: int, right: Mapping[str, tuple[Array, Array]] | None = None
    ) -> dict[str, dict[str, float]]:
        """self - other on the same rows by metric: `value`, the interval `low` to `high`, and a two-sided `p_value`.

        Without draws there are no `low` and `high`.
        `right` has of metrics that a row has or has not, [rows] of each model: they get McNemar's exact test. All
        others get approximate randomization, whatever `draws` is.
        """
        both = np.concatenate([self.counts, other.counts], axis=1)
        values = self._apart(_total(both))
        spread = self._apart(draw(both, draws, seed)) if draws else {}
        chance = self._chance(other, values, seed)
        chance |= {name: _mcnemar(*pair) for name, pair in (right or {}).items()}
        ends = {name: dict(zip(("low", "high"), interval(drawn), strict=True)) for name, drawn in spread.items()}
        return {
            name: {"value": float(value[0]), **ends.get(name, {}), "p_value": chance[name]}
            for name, value in values.items()
        }

    def _apart(self, sums: Array) -> dict[str, Array]:
        """The figures of the first half of the columns less those of the second."""
        mine, other = (self.figures(half) for half in np.split(sums, 2, axis=1))
        return {name: mine[name] - other[name] for name in mine}

    def _chance(self, other: Counted, values: Mapping[str, Array], seed: int) -> dict[str, float]:
        """How often the two are as far apart once each row's answers are exchanged or not, by the toss of a coin."""
        first, second = _total(self.counts), _total(other.counts)
        reached = dict.fromkeys(values, 1)  # the rows as they are count as one way
        for gained in _exchanged(self.counts, other.counts, seed):
            apart = self._apart(np.concatenate([first + gained, second - gained], axis=1))
            for name, value in values.items():
                reached[name] += int((np.abs(apart[name]) >= abs(value[0]) - 1e-12).sum())
        return {name: count / (SHUFFLES + 1) for name, count in reached.items()}


def row_counts(targets: Array, chosen: Array, labels: int) -> Array:
    """Per row: right or not, then per label true positive, wrongly said, missed. All else follows from their sums."""
    hot, said = (values if values.ndim == 2 else np.eye(labels, dtype=bool)[values] for values in (targets, chosen))
    hot, said = hot.astype(bool), said.astype(bool)
    right = (hot == said).all(axis=1)[:, None]
    return np.concatenate([right, hot & said, said & ~hot, hot & ~said], axis=1).astype(np.uint8)


def of_labels(counts: Array) -> Counted:
    """Accuracy and macro F1, of row_counts."""
    return Counted(counts, partial(_figures, len(counts)))


def intervals(counts: Array, draws: int, seed: int) -> dict[str, list[float]]:
    """95 % intervals of accuracy and macro F1."""
    return of_labels(counts).intervals(draws, seed)


def compare(mine: Array, other: Array, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """The difference mine - other of accuracy and macro F1 on the same rows (Counted.difference)."""
    right = {"accuracy": (mine[:, 0] > 0, other[:, 0] > 0)}
    return of_labels(mine).difference(of_labels(other), draws, seed, right)


def draw(counts: Array, draws: int, seed: int) -> Array:
    """Sums of counts over each draw: [draws, columns]."""
    kinds, rows = _kinds(counts)
    share = rows / len(counts)
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [generator.multinomial(len(counts), share, size=size).astype(np.float64) @ kinds for size in _chunks(draws)]
    )


def interval(values: Array) -> list[float]:
    """The middle 95 % of what was drawn."""
    low, high = np.percentile(values, LEVEL)
    return [float(low), float(high)]


def _exchanged(mine: Array, other: Array, seed: int) -> Iterator[Array]:
    """What the sums of `mine` gain where some rows are exchanged, each with a chance of one half: [shuffles, n]."""
    kinds, rows = _kinds(np.subtract(other, mine, dtype=np.result_type(mine, other, np.int16)))
    generator = np.random.default_rng(seed)
    for size in _chunks(SHUFFLES):
        yield generator.binomial(rows, 0.5, size=(size, len(rows))).astype(np.float64) @ kinds


def _kinds(counts: Array) -> tuple[Array, Array]:
    """The different rows, and how often each comes."""
    whole = np.ascontiguousarray(counts)
    as_bytes = whole.view(f"V{whole.dtype.itemsize * whole.shape[1]}").ravel()  # unique(axis=0) takes 40 times as long
    _, first, rows = np.unique(as_bytes, return_index=True, return_counts=True)
    return whole[first].astype(np.float64), rows


def _chunks(draws: int) -> list[int]:
    return [min(CHUNK_DRAWS, draws - at) for at in range(0, draws, CHUNK_DRAWS)]


def _total(counts: Array) -> Array:
    """[1, n]"""
    return np.asarray(counts.sum(axis=0, keepdims=True, dtype=np.float64))


def _figures(rows: int, sums: Array) -> Mapping[str, Array]:
    accuracy, rest = sums[:, 0] / rows, sums[:, 1:]
    hits, wrong, missed = np.split(rest, 3, axis=1)
    seen = hits + wrong + missed > 0  # a label that neither occurs nor is said has no F1
    f1 = np.divide(2 * hits, 2 * hits + wrong + missed, out=np.zeros_like(hits), where=seen)
    return {"accuracy": accuracy, "f1_score_macro": f1.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)}


def _mcnemar(mine: Array, other: Array) -> float:
    """Of the rows that only one of the two got right: how likely is so uneven a share by chance."""
    from scipy.stats import binomtest

    only_mine, only_other = int((mine & ~other).sum()), int((other & ~mine).sum())
    if only_mine + only_other == 0:
        return 1.0
    return float(binomtest(only_mine, only_mine + only_other).pvalue)
