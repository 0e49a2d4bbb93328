"""The rows of an optimizer step, cut into the micro-batches that go through the model one after the other.

Which rows make a step is drawn without regard to the cut, so the size of micro-batches never changes what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .ladder import Ladder
from .plan import Batch, Rows

__all__ = ["Step", "StepRows"]


class Step(NamedTuple):
    """What one process does in a step."""

    rows: list[int]
    batches: list[Batch]  # the same rows, tokenized and padded


class StepRows:
    """A data set for a loader: asked for the rows of a step, it gives the step."""

    def __init__(self, rows: Rows, ladder: Ladder) -> None:
        self._rows, self._ladder = rows, ladder

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, rows: Sequence[int]) -> Step:
        """Cut into parts of like size, none above the ladder's micro-batch."""
        parts = np.array_split(np.asarray(rows), -(-len(rows) // self._ladder.micro_batch))
        return Step(list(rows), [self._rows.__getitems__(part.tolist()) for part in parts])
