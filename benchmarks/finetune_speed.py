"""Rows per second of ours and of other ways to train the same model on the same rows, in turns, there and back.

Every side begins with the same weights. Ours and the bare loop take the same batches; the two others take rows at
random, padded as their users get them (finetune_peers).
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from finetune_loop import train_plainly
from finetune_peers import AUTOTRAIN, EXAMPLE, Approach, Subject, train_as

from bedplate_registry.progress import SILENT
from bedplate_trainers.messages import FinetuneRequest
from bedplate_trainers.recipes import RECIPES

__all__ = ["SIDES", "measure_speed", "subject_of"]

WARM_UP_STEPS = 5  # in which memory is being laid out
Moment = tuple[float, float]  # wall clock, processor time of this process
Rates = tuple[float, float]  # rows a second of either


def measure_speed(request: FinetuneRequest, steps: int, rounds: int, sides: list[str]) -> dict[str, Any]:
    """Medians over the rounds of each side's rows per second, and of the ratios of ours to it."""
    subject = subject_of(request, steps)
    rates: dict[str, list[Rates]] = {side: [] for side in sides}
    _bare(_again(subject))  # the first to meet our batches pays for what is kept of each shape
    for turn in range(rounds):
        # Not in a circle: a side that always comes after the one with the longest rows finds the memory as that left
        # it, which costs it 5 % of long steps.
        for side in sides if turn % 2 == 0 else sides[::-1]:
            rates[side].append(SIDES[side](_again(subject)))
    found = {side: _summary(rates[side]) for side in sides}
    for side in sides if "ours" in sides else ():
        pairs = list(zip(rates["ours"], rates[side], strict=True))
        for name, clock in (("ratio", 0), ("ratio_processor_time", 1)):
            found[side][name] = round(statistics.median(mine[clock] / other[clock] for mine, other in pairs), 3)
    return {"steps": subject.plan.settings.max_steps, "rounds": rounds, "sides": found}


def subject_of(request: FinetuneRequest, steps: int) -> Subject:
    """What the recipe trains: so many steps, or one epoch where that is shorter, as it ends with a checkpoint."""
    from bedplate_trainers.pretrained import quiet

    quiet()
    recipe = import_module(f"bedplate_trainers.recipes.{RECIPES[request.task]}")
    settings = {"max_steps": steps, "eval_strategy": "no", "save_steps": 0, "logging_steps": 10}
    prepared = recipe.prepare(replace(request, settings=request.settings | settings), SILENT)
    plan = prepared.plan
    most = min(steps, len(plan.train) // plan.settings.per_device_train_batch_size)
    plan = replace(plan, settings=replace(plan.settings, max_steps=most))
    return Subject(request.task, plan, prepared.tokenizer)


def _again(subject: Subject) -> Subject:
    """With the weights that it began with."""
    return replace(subject, plan=replace(subject.plan, model=copy.deepcopy(subject.plan.model)))


def _summary(rates: list[Rates]) -> dict[str, Any]:
    walls = [wall for wall, _ in rates]
    return {
        "samples_per_second": round(statistics.median(walls), 1),
        "range": [round(min(walls), 1), round(max(walls), 1)],
    }


class _Steps:
    """A reporter that keeps the moment of each step."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        if phase == "train":
            self.moments.append(moment())

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def message(self, text: str) -> None: ...


def _ours(subject: Subject) -> Rates:
    from bedplate_trainers.training import train

    steps = _Steps()
    train(subject.plan, steps, resume=False)
    return rates_of(steps.moments, int(subject.plan.settings.per_device_train_batch_size))


def _bare(subject: Subject) -> Rates:
    """The plain loop on the batches that ours takes."""
    from bedplate_trainers.sampling import LengthGroupedBatches

    plan, moments = subject.plan, list[Moment]()
    settings = plan.settings
    batches = iter(LengthGroupedBatches(plan.train.lengths, settings.per_device_train_batch_size, settings.seed))
    train_plainly(plan, batches, settings.max_steps, lambda: moments.append(moment()))
    return rates_of(moments, settings.per_device_train_batch_size)


def _peer(approaches: Mapping[str, Approach]) -> Callable[[Subject], Rates]:
    def run(subject: Subject) -> Rates:
        approach, moments = approaches[subject.task], list[Moment]()
        train_as(approach, subject, lambda: moments.append(moment()))
        return rates_of(moments, approach.batch_size)

    return run


SIDES: dict[str, Callable[[Subject], Rates]] = {
    "ours": _ours,
    "bare": _bare,
    "example": _peer(EXAMPLE),
    "autotrain": _peer(AUTOTRAIN),
}


def moment() -> Moment:
    return time.perf_counter(), time.process_time()


def rates_of(moments: list[Moment], rows: int) -> Rates:
    """From the moments after steps of so many rows."""
    kept = moments[WARM_UP_STEPS:]
    wall, busy = (kept[-1][clock] - kept[0][clock] for clock in (0, 1))
    return (len(kept) - 1) * rows / wall, (len(kept) - 1) * rows / busy
