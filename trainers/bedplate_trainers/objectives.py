"""Losses as sums over items with how many items there are (plan.Objective)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from .plan import Batch, Objective

__all__ = ["ClassLoss", "LabelsLoss", "SpanLoss", "balanced", "mean_loss"]


class ClassLoss:
    """Cross entropy of one class an item, over the last axis of the logits; items with the target -100 do not count.

    With `weights` an item counts as much as its class weighs, as in torch's weighted mean.
    """

    IGNORED = -100

    def __init__(self, smoothing: float = 0.0, weights: torch.Tensor | None = None) -> None:
        self.smoothing, self.weights = smoothing, weights

    def total(self, outputs: Any, batch: Batch) -> torch.Tensor:
        logits, targets = outputs.logits.float(), batch["labels"]
        weights = None if self.weights is None else self.weights.to(logits.device)
        return functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            targets.reshape(-1),
            weight=weights,
            label_smoothing=self.smoothing,
            ignore_index=self.IGNORED,
            reduction="sum",
        )

    def items(self, batch: Batch) -> torch.Tensor:
        targets = batch["labels"]
        counted = targets[targets != self.IGNORED]
        return torch.tensor(counted.numel()) if self.weights is None else self.weights.to(targets.device)[counted].sum()


class LabelsLoss:
    """Binary cross entropy of several labels a row, averaged over the labels. `weights` are for the positives."""

    def __init__(self, smoothing: float = 0.0, weights: torch.Tensor | None = None) -> None:
        self.smoothing, self.weights = smoothing, weights

    def total(self, outputs: Any, batch: Batch) -> torch.Tensor:
        logits, targets = outputs.logits.float(), batch["labels"]
        weights = None if self.weights is None else self.weights.to(logits.device)
        smooth = targets * (1 - self.smoothing) + self.smoothing / 2
        summed = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="sum")
        return summed / logits.shape[-1]

    def items(self, batch: Batch) -> torch.Tensor:
        return torch.tensor(len(batch["labels"]))


class SpanLoss:
    """The mean of the cross entropies of an answer's first and last token, each over all tokens of its window but
    padding: what stands beside a window in a batch does not change its loss. Windows with the target -100 do not count.
    """

    IGNORED = -100

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def total(self, outputs: Any, batch: Batch) -> torch.Tensor:
        return self.each(outputs, batch).sum()

    def items(self, batch: Batch) -> torch.Tensor:
        return (batch["start_positions"] != self.IGNORED).sum()

    def each(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The loss of each window, float32; 0 where it does not count."""
        is_token = batch["attention_mask"].to(outputs.start_logits.device) > 0
        first = self._of_one(outputs.start_logits, batch["start_positions"], is_token)
        return (first + self._of_one(outputs.end_logits, batch["end_positions"], is_token)) / 2

    def _of_one(self, logits: torch.Tensor, targets: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
        targets = targets.to(logits.device)
        believed = logits.float().masked_fill(~is_token, -torch.inf).log_softmax(dim=1)
        right = believed.gather(1, targets.clamp(min=0)[:, None])[:, 0]
        every = believed.masked_fill(~is_token, 0.0).sum(dim=1) / is_token.sum(dim=1)
        loss = -(1 - self.smoothing) * right - self.smoothing * every
        return loss.masked_fill(targets == self.IGNORED, 0.0)


def balanced(targets: np.ndarray[Any, Any], count: int) -> torch.Tensor:
    """Weights of `count` classes: items / (classes x items of that class)."""
    having = np.bincount(targets, minlength=count)
    return torch.tensor(len(targets) / (count * having), dtype=torch.float32)


def mean_loss(objective: Objective, logits: Sequence[Any] | np.ndarray[Any, Any], targets: torch.Tensor) -> float:
    """The mean over rows that were predicted before, as training would have it."""
    outputs = SimpleNamespace(logits=torch.from_numpy(np.asarray(logits, dtype=np.float32)))
    batch = {"labels": targets}
    return float(objective.total(outputs, batch) / objective.items(batch).clamp(min=1e-9))
