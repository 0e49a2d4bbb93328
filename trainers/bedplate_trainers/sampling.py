"""Which rows make a training batch: rows of like length together, in an order that seed and epoch alone decide.

    epoch's permutation -> chunks of many batches -> each sorted by length -> batches -> shuffled -> dealt to the ranks

Nothing is kept between epochs, so a resumed run draws the batches that the undisturbed one would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["LengthGroupedBatches", "deal"]

Places = np.ndarray[Any, Any]

# Batches sorted by length together: enough for little padding, few enough to keep batches random.
CHUNK_BATCHES = 50


class LengthGroupedBatches:
    """The batches of one rank. All ranks have equally many; the last batch of an epoch may be smaller."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, ranks: int = 1, rank: int = 0) -> None:
        self._lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self._seed, self._ranks, self._rank = seed, ranks, rank
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._lengths) / (self.batch_size * self._ranks))

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches():
            yield [int(row) for row in batch[self._rank :: self._ranks]]

    def _batches(self) -> list[Places]:
        """Batches of all ranks together, dealt out row by row so that ranks pad alike and wait little."""
        generator = np.random.default_rng((self._seed, self._epoch))
        together = self.batch_size * self._ranks
        rows = generator.permutation(len(self._lengths))
        chunks = (rows[at : at + together * CHUNK_BATCHES] for at in range(0, len(rows), together * CHUNK_BATCHES))
        ordered = np.concatenate([chunk[np.argsort(-self._lengths[chunk], kind="stable")] for chunk in chunks])
        batches = [ordered[at : at + together] for at in range(0, len(ordered), together)]
        if len(batches[-1]) < self._ranks:  # each rank needs a row; how many it has does not change the loss
            batches[-1] = np.concatenate([batches[-1], np.resize(ordered, self._ranks - len(batches[-1]))])
        return [batches[place] for place in generator.permutation(len(batches))]


def deal(lengths: Places, batch_size: int, ranks: int = 1, rank: int = 0) -> list[list[int]]:
    """Batches of one rank that together with those of the others are all rows, the longest first.

    Each rank gets equally many batches, since sharded models go forward together: where they do not come out even,
    some are given twice.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches = [[int(row) for row in order[at : at + batch_size]] for at in range(0, len(order), batch_size)]
    batches += batches[: -len(batches) % ranks] if len(batches) >= ranks else batches[:1] * (ranks - len(batches))
    return batches[rank::ranks]
