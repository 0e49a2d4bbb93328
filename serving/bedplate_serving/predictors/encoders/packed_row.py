"""The windows of a batch as one row without padding, one after another: plain arrays, whatever engine runs them.

ids         a a a b b b b c c
positions   0 1 2 0 1 2 3 0 1       (see `_positions` for RoBERTa)
segments    0 0 0 1 1 1 1 2 2       a token attends to those of its own segment
taken       0     3       7         a pooled head reads the first of each; any other the tokens asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bedplate_serving.predictors.encoders.engines import Rows, Window

__all__ = ["PackedRow", "pack"]


@dataclass(frozen=True, slots=True)
class PackedRow:
    """int64 arrays, the first four of one length."""

    ids: Rows
    positions: Rows
    segments: Rows
    type_ids: Rows
    taken: Rows
    lengths: Rows  # tokens of each window
    counts: Sequence[int] | None  # how many of `taken` are each window's; None: one each, of a pooled head

    def split(self, outputs: Rows) -> list[Rows]:
        """The rows of the taken tokens, by window."""
        return list(outputs) if self.counts is None else np.split(outputs, np.cumsum(self.counts)[:-1])


def pack(windows: Sequence[Window], first_position: int, *, pooled: bool) -> PackedRow:
    lengths = np.fromiter((window.length for window in windows), np.int64, len(windows))
    starts = np.cumsum(lengths) - lengths
    places = [_places(window) for window in windows] if not pooled else []
    ids = _row(*(window.ids for window in windows))
    return PackedRow(
        ids=ids,
        positions=_positions(ids, starts, lengths, first_position),
        segments=np.repeat(np.arange(len(windows)), lengths),
        type_ids=_row(*(window.type_ids or (0,) * window.length for window in windows)),
        taken=starts if pooled else np.concatenate([s + p for s, p in zip(starts, places, strict=True)]),
        lengths=lengths,
        counts=None if pooled else [len(one) for one in places],
    )


def _positions(ids: Rows, starts: Rows, lengths: Rows, first_position: int) -> Rows:
    """RoBERTa and its kin count from 2 and number the padding 1, which is its token id as well. Where a text spells it
    out (`<pad>`), it counts for nothing there, too.
    """
    if first_position == 0:
        return np.asarray(np.arange(len(ids)) - np.repeat(starts, lengths))
    pad_id = first_position - 1
    counts = ids != pad_id
    counted = np.cumsum(counts)
    before = np.repeat((counted - counts)[starts], lengths)  # in the windows in front
    return np.asarray(np.where(counts, counted - before, 0) + pad_id)


def _row(*parts: Sequence[int]) -> Rows:
    return np.fromiter((value for part in parts for value in part), np.int64)


def _places(window: Window) -> Rows:
    return np.arange(window.length) if window.take is None else np.asarray(window.take, dtype=np.int64)
