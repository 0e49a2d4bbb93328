"""What gives way when memory runs out in training: fewer rows at once, then activations that are computed again.

    32 rows a step, at once -> 2 x 16 -> 4 x 8 -> … -> 32 x 1 -> activation checkpointing -> out-of-memory

A step has the same rows on every rung, so the run comes to the same result. What changes it comes after the last rung
(`remedies`). The rung is kept beside the checkpoints: a resumed run begins on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bedplate_registry import durable
from bedplate_registry.errors import BedplateError

from .settings import FinetuneSettings

__all__ = ["Ladder", "Rung", "SteppedDown", "is_out_of_memory", "out_of_memory"]

FILE = "ladder.json"
# torch reports host memory, and libraries of CUDA report the card's, as a RuntimeError.
WORDS = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "STATUS_ALLOC_FAILED")
ONEDNN = "could not create a primitive"  # all that it says where the host gives it no memory


class SteppedDown(BedplateError):
    """One of several processes took the next rung amid a step: none of them can go on from where it is."""

    code = "out-of-memory"


class Rung(NamedTuple):
    """The lower one is the lesser."""

    micro_batch: int
    keeps: bool  # activations, as far as the settings let it; else they are computed again


class Ladder:
    """On which rung a run is. `micro_batch` is how many rows go through the model at once, in each process."""

    def __init__(self, settings: FinetuneSettings, work_dir: Path) -> None:
        """On the rung that an attempt before this one came to, or on the first."""
        self._settings, self._path = settings, work_dir / FILE
        first: dict[str, Any] = {"micro_batch": int(settings.per_device_train_batch_size), "recomputes": False}
        rung = json.loads(self._path.read_text()) if self._path.exists() else first
        self.micro_batch: int = rung["micro_batch"]
        self.recomputes: bool = rung["recomputes"]  # where the settings do not ask for it

    @classmethod
    def forget(cls, work_dir: Path) -> None:
        """The next run in this folder begins on the first rung."""
        (work_dir / FILE).unlink(missing_ok=True)

    @property
    def step_rows(self) -> int:
        """Rows of a step in one process: the same on every rung."""
        return int(self._settings.per_device_train_batch_size) * self._settings.gradient_accumulation_steps

    @property
    def parts(self) -> int:
        """Micro-batches of a step."""
        return math.ceil(self.step_rows / self.micro_batch)

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are not as they were resolved, by their names."""
        changed: dict[str, Any] = {}
        if self.micro_batch != self._settings.per_device_train_batch_size:
            changed["per_device_train_batch_size"] = self.micro_batch
            changed["gradient_accumulation_steps"] = self.parts
        if self.recomputes:
            changed["activation_checkpointing"] = True
        return changed

    def step_down(self, model: Any) -> str:
        """Takes the next rung, and says what changed. Raises BedplateError `out-of-memory` on the last."""
        if self.micro_batch > 1:
            self.micro_batch = (self.micro_batch + 1) // 2
            told = f"{self.step_rows} rows a step now go through the model in {self.parts} parts of {self.micro_batch}"
        elif self._can_recompute(model):
            self.recomputes = True
            self.apply(model)
            told = "activations are now computed again in the backward pass, which takes about a third more time"
        else:
            raise out_of_memory("Training does not fit into memory, not even one row at a time.")
        self._keep()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return f"Out of memory: {told}. The result stays the same."

    @property
    def rung(self) -> Rung:
        return Rung(self.micro_batch, not self.recomputes)

    def agree(self, rungs: Sequence[Rung], model: Any) -> None:
        """Takes the lowest of those that all processes came to, each with its own rows and memory."""
        lowest = min(rungs)
        if lowest != self.rung:
            self.micro_batch, self.recomputes = lowest.micro_batch, not lowest.keeps
            self.apply(model)
            self._keep()

    def _keep(self) -> None:
        durable.write_json(self._path, {"micro_batch": self.micro_batch, "recomputes": self.recomputes})

    def apply(self, model: Any) -> None:
        """Makes the model fit the rung."""
        if self.recomputes:
            model.activation_checkpointing_enable()

    def _can_recompute(self, model: Any) -> bool:
        asked = self.recomputes or self._settings.activation_checkpointing
        return not asked and bool(getattr(model, "supports_gradient_checkpointing", False))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had no memory to give."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (text == ONEDNN or any(words in text for words in WORDS))


def out_of_memory(message: str) -> BedplateError:
    """The end of the ladder: what is left changes the result (`remedies`), or is the user's to choose."""
    return BedplateError(
        message,
        hint="Set max_seq_length lower, train an adapter (apply_lora, on a GPU also load_in_4bit), or take a smaller "
        "model or more memory.",
        code="out-of-memory",
    )
