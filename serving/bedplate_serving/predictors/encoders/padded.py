"""The padded pass on torch: texts of like length in one rectangle. It runs any architecture, and the others are held
against it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bedplate_serving.predictors.encoders.engines import EncoderFacts, Head, Rows, Window

__all__ = ["PaddedEngine"]

CPU_TOKEN_BUDGET = 512  # beyond this a batch gains nothing on a CPU and only makes the next request wait
GPU_TOKEN_BUDGET = 16384


class PaddedEngine:
    """See engines.EncoderEngine. `lock` is held during a pass; a packed engine that shares the model takes it, too."""

    name = "torch-padded"
    workers = 1

    def __init__(self, model: Any, head: Head, facts: EncoderFacts) -> None:
        self.model, self.head, self.facts = model, head, facts
        self.lock = threading.Lock()
        self.device = next(model.parameters()).device
        self.token_budget = CPU_TOKEN_BUDGET if self.device.type == "cpu" else GPU_TOKEN_BUDGET
        takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        # Where the padding is in front, a model would count it, too; but not RoBERTa and its kin, which pass over it.
        self._counts_for_it = facts.pads_left and takes_positions and facts.first_position == 0

    def run(self, batch: Sequence[Window]) -> list[Rows]:
        """Texts of like length together, so that a long one among short ones does not make them all long."""
        order = sorted(range(len(batch)), key=lambda index: batch[index].length)
        rows: list[Any] = [None] * len(batch)
        with self.lock, torch.inference_mode():
            for group in _alike(order, [batch[index].length for index in order]):
                outputs = self.head.read(self.model(**self._pad([batch[index] for index in group])))
                for index, row in zip(group, outputs.float().cpu().numpy(), strict=True):
                    rows[index] = row if self.head.is_pooled else self._taken(batch[index], row)
        return rows

    def _taken(self, window: Window, row: Rows) -> Rows:
        """Of the padded row of a window, what was asked for."""
        own = row[-window.length :] if self.facts.pads_left else row[: window.length]
        return own if window.take is None else own[list(window.take)]

    def _pad(self, batch: Sequence[Window]) -> dict[str, torch.Tensor]:
        facts, lengths = self.facts, [item.length for item in batch]
        longest = max(lengths)
        starts = [longest - length if facts.pads_left else 0 for length in lengths]
        mask = _padded([[1] * length for length in lengths], starts, longest, 0)
        arrays = {"input_ids": _padded([item.ids for item in batch], starts, longest, facts.pad_id)}
        arrays["attention_mask"] = mask
        if facts.wants_type_ids:
            arrays["token_type_ids"] = _padded([item.type_ids or () for item in batch], starts, longest, 0)
        if self._counts_for_it:
            arrays["position_ids"] = np.maximum(mask.cumsum(1) - 1, 0)
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}


def _padded(rows: Sequence[Sequence[int]], starts: Sequence[int], width: int, fill: int) -> Rows:
    """Rows of one width, each with its values from its start on."""
    array = np.full((len(rows), width), fill, dtype=np.int64)
    for row, (values, start) in enumerate(zip(rows, starts, strict=True)):
        array[row, start : start + len(values)] = values
    return array


def _alike(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices sorted by length, split where the longest would be half as long again as the shortest, and 8 more."""
    groups: list[list[int]] = []
    shortest = 0
    for index, length in zip(order, lengths, strict=True):
        if not groups or length > shortest * 1.5 + 8:
            groups.append([])
            shortest = length
        groups[-1].append(index)
    return groups
