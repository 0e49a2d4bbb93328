"""Stops a run that has gone wrong: a loss or gradient that is not a number, or a loss that has run away.

Looking at a figure makes a GPU wait, so figures are collected as tensors and looked at together, where the run stops
anyway: before figures are logged, before the model is judged and before a checkpoint is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bedplate_registry.errors import BedplateError

from .settings import FinetuneSettings

__all__ = ["LossWatch", "has_run_away"]

MOST_UNSEEN = 50  # steps
SHOWN_ROWS = 64
# Far above any loss that training comes back from: a mean loss a row of 10 is worse than e^10 to 1 against the truth.
RUN_AWAY_TIMES, RUN_AWAY_LEAST, RUN_AWAY_LOGS = 10.0, 10.0, 3


class LossWatch:
    """Collects the figures of steps with the rows they are of."""

    def __init__(self, settings: FinetuneSettings, numbers: Sequence[int] | None) -> None:
        """`numbers` are the rows' numbers in the file of the training data, if known."""
        self._settings, self._numbers = settings, numbers
        self._steps: list[tuple[int, Sequence[int]]] = []
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []

    @property
    def is_full(self) -> bool:
        return len(self._steps) >= MOST_UNSEEN

    def forget(self) -> None:
        """What was added and not looked at."""
        self._steps, self._losses, self._norms = [], [], []

    def add(self, step: int, rows: Sequence[int], loss: torch.Tensor) -> None:
        self._steps.append((step, rows))
        self._losses.append(loss)

    def add_norm(self, norm: Any) -> None:
        """Of the gradient of the step added last. In fp16 one that is no number is skipped over, and normal."""
        if isinstance(norm, torch.Tensor) and self._settings.precision != "fp16":
            self._norms.append(norm.detach())

    def check(self, log: Sequence[Mapping[str, float]]) -> None:
        """Looks at what was added since the last time, and at the losses logged. Raises BedplateError `diverged`."""
        steps, losses, norms = self._steps, self._losses, self._norms
        self.forget()
        if losses:
            fine = torch.isfinite(torch.stack(losses))
            if len(norms) == len(losses):
                fine &= torch.isfinite(torch.stack(norms))
            for is_fine, (step, rows) in zip(fine.tolist(), steps, strict=True):
                if not is_fine:
                    raise self._diverged(f"At step {step} the loss or its gradient is not a number", rows)
        if has_run_away(log):
            found = [entry["loss"] for entry in log if "loss" in entry]
            raise self._diverged(f"The loss has risen from {found[0]:.3g} to {found[-1]:.3g}", ())

    def _diverged(self, what: str, rows: Sequence[int]) -> BedplateError:
        of = ""
        if rows and self._numbers is not None:
            numbers = sorted({int(self._numbers[row]) for row in rows})
            shown = ", ".join(map(str, numbers[:SHOWN_ROWS])) + (" …" if len(numbers) > SHOWN_ROWS else "")
            of = f" The step is of these rows of the training data: {shown}."
        precision = self._settings.precision
        exact = f", or set precision to fp32 (it is {precision})" if precision != "fp32" else ""
        return BedplateError(
            f"{what}: training stopped, and its last checkpoint is from before that.{of}",
            hint=f"Set learning_rate lower (it is {self._settings.learning_rate:g}){exact}; look at these rows."
            if of
            else f"Set learning_rate lower (it is {self._settings.learning_rate:g}){exact}.",
            code="diverged",
        )


def has_run_away(log: Sequence[Mapping[str, float]]) -> bool:
    """Whether the last losses logged are all far above the first. Read off the log, which checkpoints keep."""
    losses = [entry["loss"] for entry in log if "loss" in entry]
    if len(losses) <= RUN_AWAY_LOGS:
        return False
    limit = max(RUN_AWAY_TIMES * losses[0], RUN_AWAY_LEAST)
    return all(loss > limit for loss in losses[-RUN_AWAY_LOGS:])
