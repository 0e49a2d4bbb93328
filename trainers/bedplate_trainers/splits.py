"""The automatic split: seeded, stratified by label, and identical inputs stay on one side."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .data import Example, Examples

__all__ = ["Split", "overlap", "split_off"]


@dataclass(frozen=True)
class Split:
    """What is left for training, and what was taken off."""

    train: Examples
    held: Examples


def split_off(examples: Examples, fraction: float, seed: int, purpose: str) -> Split:
    """Takes `fraction` of the rows off. The same rows, seed and purpose ("test", "validation") give the same split.

    Rows whose inputs differ only in case or blanks go together. Every label keeps at least one such group in training.
    """
    generator = random.Random(f"{seed}/{purpose}")
    held: set[int] = set()
    owed = 0.0  # the parts of rows that earlier labels could not give
    for groups in _strata(examples.rows):
        generator.shuffle(groups)
        owed += fraction * sum(map(len, groups))
        for group in groups[:-1]:
            if len(group) <= owed + 0.5:
                owed -= len(group)
                held.update(group)
    rows = examples.rows
    kept = tuple(row for place, row in enumerate(rows) if place not in held)
    taken = tuple(row for place, row in enumerate(rows) if place in held)
    return Split(replace(examples, rows=kept), replace(examples, rows=taken))


def overlap(examples: Examples, others: Examples) -> int:
    """How many of `examples` have an input that `others` have too."""
    keys = {row.key for row in others}
    return sum(row.key in keys for row in examples)


def _strata(rows: Sequence[Example]) -> list[list[list[int]]]:
    """Groups of places with the same input, gathered by label; the rarest label first, so that it gets its share."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row.key].append(place)
    strata: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for group in groups.values():
        strata[tuple(sorted(rows[group[0]].labels))].append(group)
    return [strata[name] for name in sorted(strata, key=lambda name: (len(strata[name]), name))]
