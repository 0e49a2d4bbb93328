"""The automatic split: seeded, stratified by rarest label, and identical inputs stay on one side."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .data import Example, Examples

__all__ = ["Split", "overlap", "split_off"]

# No label gives more than this many times its share, however much the others leave it: it would be drained.
MOST_SHARES = 2


@dataclass(frozen=True)
class Split:
    """What is left for training, and what was taken off."""

    train: Examples
    held: Examples


def split_off(examples: Examples, fraction: float, seed: int, purpose: str) -> Split:
    """Takes `fraction` of the rows off. The same rows, seed and purpose ("test", "validation") give the same split.

    Rows whose inputs differ only in case or blanks go together. Every label keeps at least one row in training.
    """
    rows = examples.rows
    held = _choose(rows, fraction, random.Random(f"{seed}/{purpose}"))
    kept = tuple(row for place, row in enumerate(rows) if place not in held)
    taken = tuple(row for place, row in enumerate(rows) if place in held)
    return Split(replace(examples, rows=kept), replace(examples, rows=taken))


def overlap(examples: Examples, others: Examples) -> int:
    """How many of `examples` have an input that `others` have too."""
    keys = {row.key for row in others}
    return sum(row.key in keys for row in examples)


def _choose(rows: Sequence[Example], fraction: float, generator: random.Random) -> set[int]:
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


def _strata(rows: Sequence[Example]) -> list[list[list[int]]]:
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
