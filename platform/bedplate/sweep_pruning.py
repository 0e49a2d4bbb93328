"""Which trials of a sweep are hopeless: the median rule, on what each evaluation in training came to.

A trial is pruned at its second evaluation or a later one where the best figure that it came to so far is worse than the
median of what the others had come to by their evaluation of the same number, of which there must be at least four.
(The rule is that of Golovin et al., Google Vizier, 2017, with the best figure in place of the running mean: a trial
keeps its best checkpoint. Optuna's MedianPruner says yes or no; what is told to people needs the figures, and the rule
is one line.)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bedplate.job_folder import JobFolder
from bedplate.sweep_trials import PRUNED
from bedplate_trainers.settings import FinetuneSettings

__all__ = ["LEAST_TRIALS", "PRUNERS", "Evaluation", "evaluations_of", "is_judged_twice", "why_hopeless"]

PRUNERS = ("none", "median")
LEAST_OTHERS = 4  # of fewer trials the median says little
LEAST_TRIALS = LEAST_OTHERS + 1
FIRST = 2  # evaluation that may end a trial: figures from before it are of a model that is warming up
MOST_KEPT = 1024  # logs of trials, read once for as long as they do not grow


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation in training came to."""

    step: int
    epoch: float | None
    value: float


def is_judged_twice(settings: FinetuneSettings) -> bool:
    """Whether a trial may come to the evaluation that ends one; yes where only its rows tell how many it has."""
    steps, every, epochs = settings.max_steps, settings.eval_steps, settings.num_train_epochs
    if settings.eval_strategy == "epoch":
        return steps > 0 or isinstance(epochs, str) or epochs > 1
    if isinstance(every, str):
        return True
    return 1 / every >= FIRST if every < 1 else steps < 0 or steps / every >= FIRST


def evaluations_of(folder: Path, metric: str) -> tuple[Evaluation, ...]:
    """Those of a trial so far, in their order."""
    path = JobFolder(folder).metrics_file
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return _read(folder, metric, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=MOST_KEPT)
def _read(folder: Path, metric: str, size_bytes: int, changed: int) -> tuple[Evaluation, ...]:
    name, by_step = f"eval_{metric}", {}
    for line in JobFolder(folder).metrics():
        if isinstance(line.get("step"), int) and isinstance(line.get(name), int | float):
            by_step[line["step"]] = Evaluation(line["step"], line.get("epoch"), line[name])
    return tuple(by_step[step] for step in sorted(by_step))


def why_hopeless(
    mine: Sequence[Evaluation], others: Sequence[Sequence[Evaluation]], metric: str, *, greater_is_better: bool
) -> dict[str, Any] | None:
    """Why a trial is to be pruned, as the error of its job, or None."""
    number = len(mine)
    compared = [_best(each[:number], greater_is_better) for each in others if len(each) >= number]
    if number < FIRST or len(compared) < LEAST_OTHERS:
        return None
    best, median = _best(mine, greater_is_better), statistics.median(compared)
    if best >= median if greater_is_better else best <= median:
        return None
    side, is_number = "below" if greater_is_better else "above", math.isfinite(best)
    came = f"By {_when(mine[-1])} its {metric} had come to {best:.4g}" if is_number else f"Its {metric} is no number"
    text = f"{came}, {side} the median {median:.4g} of {len(compared)} trials."
    hint = "The sweep ended it early (prune). To see it through: bedplate jobs resume, with its id."
    found = {"metric": best if is_number else None, "evaluation": number}
    return {"code": PRUNED, "message": text, "hint": hint, **found}


def _best(each: Sequence[Evaluation], greater_is_better: bool) -> float:
    """What is no number, as the loss of a run that diverges, is worse than all others."""
    worst = -math.inf if greater_is_better else math.inf
    values = [one.value if math.isfinite(one.value) else worst for one in each]
    return max(values) if greater_is_better else min(values)


def _when(evaluation: Evaluation) -> str:
    if evaluation.epoch is not None and abs(evaluation.epoch - round(evaluation.epoch)) < 0.01:
        return f"epoch {round(evaluation.epoch)}"
    return f"step {evaluation.step}"
