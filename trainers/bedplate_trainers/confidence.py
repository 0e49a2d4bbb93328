"""How sure a figure is: 95 % intervals, and whether two models differ on the same rows.

Drawing rows with replacement is drawing how often each *kind* of row comes, from a multinomial; exchanging the answers
of two models in rows at random is drawing how often each kind is exchanged, from a binomial. There are few kinds (what
was right, what each model said), so a thousand draws cost the same for a thousand rows as for a million.

A metric that is a share of the rows has Wilson's score interval instead (E. B. Wilson, JASA 22, 1927): where nearly all
rows are right, draws of them hardly differ, and an interval made of them is far too narrow. For the same reason the
difference of two such shares has Newcombe's interval for pairs (R. G. Newcombe, Statistics in Medicine 17, 2635, 1998,
method 10), which is made of the two Wilson intervals and of how much the two models err in the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import sqrt
from typing import Any, Self

import numpy as np

__all__ = ["FEWEST_ROWS", "Counted", "interval", "kinds_of", "newcombe", "wilson"]

Array = np.ndarray[Any, Any]
LEVEL = (2.5, 97.5)
Z = 1.959963984540054  # the normal distribution has 95 % within so many standard deviations
FEWEST_ROWS = 10  # below, an interval says nothing
CHUNK_DRAWS = 64
SHUFFLES = 1000
ROUNDING = 1e-9  # figures that are nearer than this are the same: perplexities are large, shares are small


@dataclass(frozen=True)
class Counted:
    """Of each row what some metrics are made of, and these metrics of sums over rows."""

    kinds: Any  # [kinds, n], an array or a sparse one: rows that differ
    kind: Array  # [rows]: which of these each row is
    figures: Callable[[Array], Mapping[str, Array]]  # sums [draws, n] -> name: [draws]; NaN where there is no value
    # Of metrics that are a share of rows: the column that is above 0 in these, and that in those they are a share of.
    shares: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    whole: float = 1.0  # what such a metric is where that is so in all rows
    main: int = 5  # so many of the first metrics are told of parts of the rows: a table of all is too wide to read

    @classmethod
    def of(cls, counts: Array, figures: Callable[[Array], Mapping[str, Array]], **more: Any) -> Self:
        """Of counts of each row, [rows, n]."""
        first, kind = kinds_of(counts)
        return cls(counts[first].astype(np.float64), kind, figures, **more)

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def counts(self) -> Any:
        """[rows, n]"""
        return self.kinds[self.kind]

    @cached_property
    def total(self) -> Array:
        """[1, n]: the sums over all rows."""
        return np.asarray(self._rows[None].astype(np.float64) @ self.kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics, whether these rows give them a value or not."""
        return tuple(self._figures)

    @property
    def values(self) -> dict[str, float]:
        """The metrics that have a value on these rows."""
        return {name: float(value[0]) for name, value in self._figures.items() if np.isfinite(value[0])}

    def part(self, places: Array) -> Self:
        """The rows at these places alone."""
        used, kind = np.unique(self.kind[places], return_inverse=True)
        return replace(self, kinds=self.kinds[used], kind=kind)

    def intervals(self, draws: int, seed: int, names: Collection[str] | None = None) -> dict[str, list[float]]:
        """95 % intervals, by metric (of `names`); none without draws, and none of fewer than ten rows."""
        if not draws or len(self) < FEWEST_ROWS:
            return {}
        drawn = [chunk @ self.kinds for chunk in _draws(self._rows, draws, seed)]
        figures = self.figures(np.concatenate(drawn))
        wanted = [name for name in figures if names is None or name in names]
        found = {name: self._wilson(name) if name in self.shares else interval(figures[name]) for name in wanted}
        return {name: ends for name, ends in found.items() if ends}

    def difference(
        self, other: Counted, draws: int, seed: int, names: Collection[str] | None = None
    ) -> dict[str, dict[str, float]]:
        """self - other on the same rows by metric (of `names`): `value`, the interval `low` to `high`, and a
        two-sided `p_value`.

        Without draws, or with fewer than ten rows, there are no `low` and `high`. Shares of rows get McNemar's exact
        test, all others approximate randomization, whatever `draws` is.
        """
        pair = _Pair.of(self, other)
        known = {name: value for name, value in pair.values.items() if np.isfinite(value)}
        values = {name: value for name, value in known.items() if names is None or name in names}
        chance = pair.chances(values, seed)
        ends = pair.intervals(draws, seed) if len(self) >= FEWEST_ROWS else {}
        return {
            name: {
                "value": value,
                **dict(zip(("low", "high"), ends.get(name, ()), strict=False)),
                "p_value": chance[name],
            }
            for name, value in values.items()
        }

    def above_zero(self, column: int) -> Array:
        """[kinds]"""
        return np.asarray(self.kinds[:, [column]] @ np.ones(1) > 0)

    @cached_property
    def _rows(self) -> Array:
        """[kinds]: how often each comes."""
        return np.bincount(self.kind, minlength=self.kinds.shape[0])

    @cached_property
    def _figures(self) -> Mapping[str, Array]:
        return self.figures(self.total)

    def _wilson(self, name: str) -> list[float]:
        column, of = self.shares[name]
        counted = self.above_zero(of)
        right, rows = (int(self._rows[which].sum()) for which in (counted & self.above_zero(column), counted))
        return [self.whole * end for end in wilson(right, rows)] if rows >= FEWEST_ROWS else []


@dataclass(frozen=True)
class _Pair:
    """Two models on the same rows; a kind is what both made of a row."""

    first: Counted
    second: Counted
    kinds: tuple[Array, Array]  # [kinds] each
    rows: Array  # [kinds]: how often each comes

    @classmethod
    def of(cls, first: Counted, second: Counted) -> Self:
        others = second.kinds.shape[0]
        both, rows = np.unique(first.kind.astype(np.int64) * others + second.kind, return_counts=True)
        return cls(first, second, np.divmod(both, others), rows)

    @cached_property
    def counts(self) -> tuple[Any, Any]:
        """[kinds, n] of each."""
        mine, others = self.kinds
        return self.first.kinds[mine], self.second.kinds[others]

    @property
    def values(self) -> dict[str, float]:
        return {name: float(value[0]) for name, value in self._apart(self.rows[None].astype(np.float64)).items()}

    def intervals(self, draws: int, seed: int) -> dict[str, list[float]]:
        """None without draws."""
        drawn = [self._apart(chunk) for chunk in _draws(self.rows, draws, seed)]
        found = {name: interval(np.concatenate([one[name] for one in drawn])) for name in (drawn[0] if drawn else ())}
        tables = {name: self._table(name) for name in found if name in self._exact}
        shares = {name: newcombe(*cells) if sum(cells) >= FEWEST_ROWS else [] for name, cells in tables.items()}
        return found | {name: [self.first.whole * end for end in ends] for name, ends in shares.items()}

    def chances(self, values: Mapping[str, float], seed: int) -> dict[str, float]:
        """How likely is it that the two are as far apart by chance alone."""
        found = {name: self._mcnemar(name) for name in self._exact if name in values}
        return self._randomized({name: value for name, value in values.items() if name not in found}, seed) | found

    @property
    def _exact(self) -> Collection[str]:
        """The metrics that are shares of the rows."""
        return self.first.shares.keys() & self.second.shares.keys()

    def _table(self, name: str) -> tuple[int, int, int, int]:
        """How many rows both got right, the first one alone, the second one alone, and neither, of those that count."""
        sides = [*zip((self.first, self.second), self.kinds, strict=True)]
        mine, other = (side.above_zero(side.shares[name][0])[kinds] for side, kinds in sides)
        counted = self.first.above_zero(self.first.shares[name][1])[self.kinds[0]]
        cells = (counted & cell for cell in (mine & other, mine & ~other, other & ~mine, ~mine & ~other))
        both, first, second, neither = (int(self.rows[cell].sum()) for cell in cells)
        return both, first, second, neither

    def _apart(self, times: Array) -> dict[str, Array]:
        """The figures of the first less those of the second, where kinds come so often: [draws, kinds]."""
        first, second = self.counts
        return self._less(times @ first, times @ second)

    def _less(self, first: Array, second: Array) -> dict[str, Array]:
        mine, other = self.first.figures(first), self.second.figures(second)
        with np.errstate(invalid="ignore"):  # two perplexities without bounds
            return {name: mine[name] - other[name] for name in mine if name in other}

    def _randomized(self, values: Mapping[str, float], seed: int) -> dict[str, float]:
        """How often the two are as far apart once each row's answers are exchanged or not, by the toss of a coin."""
        reached = dict.fromkeys(values, 1)  # the rows as they are count as one way
        if not values:
            return {}
        first, second = (self.rows[None].astype(np.float64) @ counts for counts in self.counts)
        gain = self.counts[1] - self.counts[0]
        generator = np.random.default_rng(seed)
        for size in _chunks(SHUFFLES):
            exchanged = generator.binomial(self.rows, 0.5, size=(size, len(self.rows))).astype(np.float64)
            gained = exchanged @ gain
            apart = self._less(first + gained, second - gained)
            for name, value in values.items():
                reached[name] += int((np.abs(apart[name]) >= abs(value) * (1 - ROUNDING) - ROUNDING).sum())
        return {name: count / (SHUFFLES + 1) for name, count in reached.items()}

    def _mcnemar(self, name: str) -> float:
        """Of the rows that only one of the two got right: how likely is so uneven a share by chance."""
        from scipy.stats import binomtest

        _, only_mine, only_other, _ = self._table(name)
        if only_mine + only_other == 0:
            return 1.0
        return float(binomtest(only_mine, only_mine + only_other).pvalue)


def kinds_of(counts: Array) -> tuple[Array, Array]:
    """Where each different row comes first, and which of these each row is."""
    whole = np.ascontiguousarray(counts)
    if not whole.shape[1]:
        return np.arange(min(len(whole), 1)), np.zeros(len(whole), dtype=np.int64)
    as_bytes = whole.view(f"V{whole.dtype.itemsize * whole.shape[1]}").ravel()  # unique(axis=0) takes 40 times as long
    _, first, kind = np.unique(as_bytes, return_index=True, return_inverse=True)
    return first, kind


def interval(values: Array) -> list[float]:
    """The middle 95 % of what was drawn; nothing where no draw has a value."""
    known = values[~np.isnan(values)]
    return np.percentile(known, LEVEL).tolist() if len(known) else []


def wilson(right: int, rows: int) -> list[float]:
    """Wilson's score interval of a share."""
    share, spread = right / rows, Z * Z / rows
    middle = (share + spread / 2) / (1 + spread)
    half = Z * sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return [middle - half if right else 0.0, middle + half if right < rows else 1.0]


def newcombe(both: int, first: int, second: int, neither: int) -> list[float]:
    """Newcombe's interval of how far two shares of the same rows are apart: of these rows both, or only one, is right.

    The two errors are put together as those of two figures that go together by `phi`, which is corrected towards 0.
    """
    rows = both + first + second + neither
    mine, other = (both + first) / rows, (both + second) / rows
    (low, high), (other_low, other_high) = wilson(both + first, rows), wilson(both + second, rows)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    apart = float(both * neither - first * second)
    together = max(apart - rows / 2, 0.0) if apart > 0 else apart
    phi = together / sqrt(margins) if margins else 0.0
    below, above = (
        _put_together(*ends, phi) for ends in ((mine - low, other_high - other), (high - mine, other - other_low))
    )
    return [mine - other - below, mine - other + above]


def _put_together(one: float, another: float, phi: float) -> float:
    return sqrt(max(one * one - 2 * phi * one * another + another * another, 0.0))


def _draws(rows: Array, draws: int, seed: int) -> Iterator[Array]:
    """How often each kind comes in each draw: [draws, kinds], some draws at a time."""
    generator, count = np.random.default_rng(seed), int(rows.sum())
    for size in _chunks(draws):
        yield generator.multinomial(count, rows / count, size=size).astype(np.float64)


def _chunks(draws: int) -> list[int]:
    return [min(CHUNK_DRAWS, draws - at) for at in range(0, draws, CHUNK_DRAWS)]
