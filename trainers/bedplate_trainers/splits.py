"""The automatic split: seeded, stratified by rarest label, and identical inputs stay on one side."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from bedplate_registry.progress import Reporter

__all__ = ["Split", "SplitRow", "T", "Table", "overlap", "split_off", "tell_twins"]

# No label gives more than this many times its share, however much the others leave it: it would be drained.
MOST_SHARES = 2


class SplitRow(Protocol):
    """A row as a split sees it."""

    @property
    def key(self) -> str:
        """Equal for inputs that are the same."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the split is stratified by; may be empty."""


class Table(Protocol):
    """Rows, and perhaps more that all of them have in common."""

    @property
    def rows(self) -> Sequence[SplitRow]: ...
    def take(self, places: Iterable[int]) -> Self:
        """The rows at these places alone."""


T = TypeVar("T", bound=Table)


@dataclass(frozen=True)
class Split(Generic[T]):
    """What is left for training, and what was taken off."""

    train: T
    held: T


def split_off(examples: T, fraction: float, seed: int, purpose: str) -> Split[T]:
    """Takes `fraction` of the rows off. The same rows, seed and purpose ("test", "validation") give the same split.

    Rows whose inputs differ only in case or blanks go together. Every label keeps at least one row in training.
    """
    rows = examples.rows
    held = _choose(rows, fraction, random.Random(f"{seed}/{purpose}"))
    kept = [place for place in range(len(rows)) if place not in held]
    return Split(examples.take(kept), examples.take(sorted(held)))


def tell_twins(examples: Table, others: Table, rows: str, reporter: Reporter) -> None:
    """Says how many of them, which it calls `rows`, a model may know by heart."""
    if twins := overlap(examples, others):
        reporter.message(f"{twins} of {len(examples.rows)} {rows} have an input that the training rows have too.")


def overlap(examples: Table, others: Table) -> int:
    """How many of `examples` have an input that `others` have too."""
    keys = {row.key for row in others.rows}
    return sum(row.key in keys for row in examples.rows)


def _choose(rows: Sequence[SplitRow], fraction: float, generator: random.Random) -> set[int]:
    """The places of the rows to hold. What a label cannot give is owed by those after it, up to twice their share."""
    left = _count(row.labels for row in rows)
    held: set[int] = set()
    owed = 0.0
    for groups in _strata(rows):
        generator.shuffle(groups)
        sizes = [len(group) for group in groups]
        owed += fraction * sum(sizes)
        room = max(MOST_SHARES * fraction * sum(sizes), min(sizes))
        for group in groups:
            labels = _count(rows[place].labels for place in group)
            if len(group) > min(owed + 0.5, room) or any(left[name] <= labels[name] for name in labels):
                continue
            left -= labels
            owed, room = owed - len(group), room - len(group)
            held.update(group)
    return held


def _strata(rows: Sequence[SplitRow]) -> list[list[list[int]]]:
    """Groups of places with the same input, gathered by their rarest label; the smallest gathering first, so that what
    it cannot give is left to larger ones. (Whole combinations of labels would mostly be alone, and give nothing.)"""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row.key].append(place)
    having = _count(row.labels for row in rows)
    strata: dict[str | None, list[list[int]]] = defaultdict(list)
    for group in groups.values():
        names = {name for place in group for name in rows[place].labels}
        strata[min(names, key=lambda name: (having[name], name), default=None)].append(group)
    return [strata[name] for name in sorted(strata, key=lambda name: (len(strata[name]), name or ""))]


def _count(labels: Iterable[tuple[str, ...]]) -> Counter[str]:
    """How many rows have each label."""
    return Counter(name for names in labels for name in names)
