"""What happens around the steps of a run: epochs, figures, progress, extra checkpoints, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import TrainerCallback

from bedplate_registry.progress import Reporter

from .preflight import Memory
from .sampling import LengthGroupedBatches
from .settings import FinetuneSettings

__all__ = ["Flow", "has_stalled"]

GIB = 1 << 30


class Flow(TrainerCallback):  # type: ignore[misc]
    """Epochs to the sampler, figures and progress to the reporter, extra checkpoints, early stopping."""

    def __init__(self, settings: FinetuneSettings, reporter: Reporter | None) -> None:
        self.settings, self.reporter = settings, reporter
        self.batches: LengthGroupedBatches | None = None
        self.steps_per_epoch = 1
        self.rows_per_step = 1.0  # of all processes; the last batch of an epoch may be short
        self.first_step = 0
        self.seconds_aside = 0.0  # spent on evaluation and checkpoints
        self._logged_step, self._logged_seconds = 0, 0.0

    def report(self, phase: str, done: float, total: float, unit: str) -> None:
        if self.reporter is not None:
            self.reporter.progress(phase, done, total, unit)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step
        self._logged_step, self._logged_seconds = state.global_step, self._busy_seconds()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.batches is not None:
            self.batches.set_epoch(state.global_step // self.steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ends_epoch = state.global_step % self.steps_per_epoch == 0
        every = int(self.settings.save_steps) if self.settings.save_steps != "auto" else 0
        if every and not ends_epoch and state.global_step % every == 0:
            control.should_save = True
        if state.global_step >= state.max_steps:
            control.should_log = True
        self.report("train", state.global_step, state.max_steps, "steps")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if has_stalled(state.log_history, self.settings):
            control.should_training_stop = True
            if self.reporter is not None:
                self.reporter.message(
                    f"Stopped early at step {state.global_step}: {self.settings.metric_for_best_model} did not rise"
                    f" for {self.settings.early_stopping_patience} evaluations."
                )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items() if _is_kept(name, value)}
        if self.reporter is None or not figures.keys() - {"epoch"}:
            return
        if "loss" in figures:
            figures |= self._pace(state.global_step)
            figures["memory_gb"] = round(Memory(args.device).held() / GIB, 3)
        self.reporter.metrics(state.global_step, figures)

    def _pace(self, step: int) -> dict[str, float]:
        """Samples per second of all processes since the last log, without what evaluation and checkpoints took."""
        steps, now = step - self._logged_step, self._busy_seconds()
        seconds = now - self._logged_seconds
        self._logged_step, self._logged_seconds = step, now
        return {"samples_per_second": round(steps * self.rows_per_step / seconds, 3)} if steps and seconds > 0 else {}

    def _busy_seconds(self) -> float:
        """A clock that stands still during evaluation and checkpoints."""
        return time.perf_counter() - self.seconds_aside


def has_stalled(log: Sequence[dict[str, float]], settings: FinetuneSettings) -> bool:
    """Early stopping read off the log, which checkpoints keep, so that a resumed run stops where it would have."""
    if not settings.early_stopping_patience:
        return False
    name = f"eval_{settings.metric_for_best_model}"
    sign = -1.0 if name.endswith("loss") else 1.0
    best, waited = -math.inf, 0
    for value in (sign * entry[name] for entry in log if name in entry):
        waited = 0 if value > best + settings.early_stopping_threshold else waited + 1
        best = max(best, value)
    return waited >= settings.early_stopping_patience


def _is_kept(name: str, value: Any) -> bool:
    """The Trainer's own timings and sums are left out."""
    timing = name.endswith(("_runtime", "_per_second", "_time")) or name.startswith(("train_", "total_"))
    return isinstance(value, int | float | np.floating) and not timing
