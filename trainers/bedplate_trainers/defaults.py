"""What `auto` means: values from the model's size and family and from the number of rows, each with its reason.

The numbers come from runs on real data: small pretrained encoders want rates ten times those of a BERT-base. At 4.4M
parameters 5e-4 (1e-3 for many classes) over 8 and more epochs, at 22.7M 3e-4, at 110M the usual 2e-5 to 5e-5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Choice", "Situation", "choose"]

# Parameters below which -> the learning rate.
RATES = ((10_000_000, 5e-4), (40_000_000, 3e-4), (90_000_000, 5e-5), (200_000_000, 3e-5), (600_000_000, 2e-5))
LARGEST_RATE = 1e-5
# Families whose count of parameters says little about how they train: shared layers, or known to diverge.
FAMILY_RATES = {"albert": 2e-5, "deberta": 2e-5, "deberta-v2": 2e-5, "xlnet": 2e-5, "electra": 5e-5, "modernbert": 5e-5}
TINY, SMALL = 10_000_000, 40_000_000
MANY_LABELS = 20
# Steps that a good fit took, and the range of epochs that they are kept within.
TINY_STEPS, TINY_MANY_STEPS, SMALL_STEPS, USUAL_STEPS = 1000, 4500, 1000, 300
MAX_TOKENS = 512
LOGS = 200
STEPS_BETWEEN_SAVES, SAVES_PER_EPOCH = 250, 4


@dataclass(frozen=True)
class Situation:
    """What defaults depend on."""

    task: str
    parameters: int
    model_type: str
    context_length: int | None
    rows: int
    labels: int | None
    on_gpu: bool
    processes: int
    max_steps: int
    accumulation: int

    @property
    def size(self) -> str:
        return f"{self.parameters / 1e6:.1f}M parameters"

    @property
    def has_many_labels(self) -> bool:
        return (self.labels or 0) > MANY_LABELS

    def steps_per_epoch(self, batch_size: int) -> int:
        return math.ceil(self.rows / (batch_size * self.processes * self.accumulation)) or 1


@dataclass(frozen=True)
class Choice:
    """A value and why."""

    value: Any
    reason: str


ACCURACY = Choice("accuracy", "the share of right answers is what most users look at")
BEST_METRICS = {
    "token-classification": Choice(
        "f1_score_micro", "whole entities; most tokens are in none, so accuracy says little"
    ),
}


def choose(at: Situation, given: Mapping[str, Any]) -> dict[str, Choice]:
    """A choice for every setting that is not in `given` and has an automatic value."""
    chosen: dict[str, Choice] = {}

    def value(name: str) -> Any:
        return given[name] if name in given else chosen[name].value

    def offer(name: str, choice: Choice) -> None:
        if name not in given:
            chosen[name] = choice

    offer("per_device_train_batch_size", _train_batch(at))
    offer("per_device_eval_batch_size", Choice(256 if at.on_gpu else 64, "evaluation keeps no gradients"))
    offer("learning_rate", _learning_rate(at))
    steps = at.steps_per_epoch(value("per_device_train_batch_size"))
    offer("num_train_epochs", _epochs(at, steps))
    total = at.max_steps if at.max_steps > 0 else math.ceil(steps * value("num_train_epochs"))
    offer("max_seq_length", _max_seq_length(at))
    offer("precision", _precision(at))
    offer("doc_stride", Choice(value("max_seq_length") // 4, "a quarter of a window, as where it is served"))
    offer("metric_for_best_model", BEST_METRICS.get(at.task, ACCURACY))
    offer("logging_steps", Choice(min(max(1, total // LOGS), 50), f"about {LOGS} points over {total} steps"))
    offer("eval_steps", Choice(max(1, min(steps, total)), "once an epoch"))
    offer("save_steps", _save_steps(steps))
    return chosen


def _train_batch(at: Situation) -> Choice:
    if at.rows < 400:
        return Choice(16, f"{at.rows} rows: small batches give more steps")
    if at.parameters > 300_000_000:
        return Choice(16, f"{at.size}: larger batches need much memory")
    return Choice(32, "usual for classifiers")


def _learning_rate(at: Situation) -> Choice:
    if at.model_type in FAMILY_RATES:
        return Choice(FAMILY_RATES[at.model_type], f"usual for the family {at.model_type}")
    rate = next((rate for limit, rate in RATES if at.parameters < limit), LARGEST_RATE)
    if at.parameters < TINY and at.has_many_labels:
        return Choice(2 * rate, f"{at.size} and {at.labels} labels: very small models want large rates")
    return Choice(rate, f"{at.size}: the smaller the model, the larger the rate")


def _epochs(at: Situation, steps_per_epoch: int) -> Choice:
    if at.parameters < TINY:
        target, low, high = (TINY_MANY_STEPS if at.has_many_labels else TINY_STEPS), 8, 15
    elif at.parameters < SMALL:
        target, low, high = SMALL_STEPS, 3, 10
    else:
        target, low, high = USUAL_STEPS, 3, 10
    epochs = min(max(math.ceil(target / steps_per_epoch), low), high)
    return Choice(epochs, f"about {target} steps for {at.size}, at {steps_per_epoch} steps an epoch")


def _max_seq_length(at: Situation) -> Choice:
    limit = min(at.context_length or MAX_TOKENS, MAX_TOKENS)
    return Choice(limit, "the model's context, at most 512; batches are padded to their own longest row only")


def _precision(at: Situation) -> Choice:
    if not at.on_gpu:
        return Choice("fp32", "on a CPU")
    return Choice("auto", "bf16 on compute capability 8 and up, else fp16, decided on the card")


def _save_steps(steps_per_epoch: int) -> Choice:
    if steps_per_epoch <= STEPS_BETWEEN_SAVES:
        return Choice(0, "an epoch is short: a checkpoint at each evaluation is enough")
    between = max(STEPS_BETWEEN_SAVES, math.ceil(steps_per_epoch / SAVES_PER_EPOCH))
    return Choice(between, f"an epoch has {steps_per_epoch} steps: a death loses at most {between} of them")
