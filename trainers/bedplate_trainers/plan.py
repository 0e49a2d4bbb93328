"""What a recipe gives the training loop: rows, what is minimized, and how the model is judged while it trains.

A recipe fills these in for its task; the loop (`training`, `loop`) is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from .settings import FinetuneSettings

__all__ = ["TARGETS", "Batch", "Judge", "Objective", "Plan", "Rows", "Trained", "inputs_of", "watched"]

Batch = dict[str, torch.Tensor]
# What a batch holds beside the inputs of the model: it never sees these.
TARGETS = frozenset(("labels", "start_positions", "end_positions", "weights"))


class Rows(Protocol):
    """Tokenized rows. A loader asks for a whole batch at once, which is padded to its own longest row."""

    lengths: np.ndarray[Any, Any]  # tokens of each row: rows of like length make a batch

    def __len__(self) -> int: ...

    def __getitems__(self, rows: Sequence[int]) -> Batch: ...


class Objective(Protocol):
    """What is minimized: a sum over items, divided by the number of items of the whole optimizer step.

    The loop divides by the items of all micro-batches and all processes together, so that neither accumulation nor the
    number of processes changes the loss, however many words or rows each of them has.
    """

    def total(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The summed loss of a batch, a scalar in float32."""

    def items(self, batch: Batch) -> torch.Tensor:
        """How many items (rows, words, the weight of them) the sum is over, a scalar."""


class Judge(Protocol):
    """Judges the model on the validation rows while it trains."""

    lengths: np.ndarray[Any, Any]  # of each row, so that rows of like length are predicted together

    def predict(self, model: Any, rows: Sequence[int], device: torch.device) -> list[Any]:
        """What the model says of each of these rows, as something that can be pickled. Gradients are off."""

    def scores(self, predictions: Sequence[Any]) -> Mapping[str, float]:
        """Metrics, `loss` among them, of the predictions of all rows in their order."""


@dataclass(frozen=True)
class Plan:
    """What to train, on what, and how it is judged."""

    model: Any
    train: Rows
    judge: Judge | None  # None: there are no validation rows
    objective: Objective
    settings: FinetuneSettings  # resolved
    work_dir: Path
    device: str
    processes: int
    base_name: str = ""  # what an adapter calls its base
    row_numbers: Sequence[int] | None = None  # in the file of the training data, of each of `train`, from 1


@dataclass(frozen=True)
class Trained:
    """Where training ended."""

    steps: int
    epochs: float
    best_step: int
    loss: float | None  # of the validation rows, at that step
    seconds: float  # of this process; a resumed run counts from its resumption
    rows: float  # that it went over in that time, again and again
    samples_per_second: float
    is_writer: bool
    save: Callable[[Path], None]  # writes the best weights, or the adapter; called in every process
    changed: Mapping[str, Any]  # the settings that had to give way where memory ran out, as they are now
    forecast: Mapping[str, Any] | None  # what a pre-flight measured, by the first attempt


def inputs_of(batch: Batch, device: torch.device | None = None) -> Batch:
    """The part of a batch that the model takes."""
    found = {name: value for name, value in batch.items() if name not in TARGETS}
    return found if device is None else {name: value.to(device) for name, value in found.items()}


def watched(usual: Sequence[str], settings: FinetuneSettings) -> tuple[str, ...]:
    """The metrics that a judge works out while training: the task's usual ones, and the one that chooses the best."""
    wanted = settings.metric_for_best_model
    return tuple(dict.fromkeys((*usual, *(() if wanted == "loss" else (wanted,)))))
