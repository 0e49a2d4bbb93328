"""What `auto` means: values from the model's size and family and from the number of rows, each with its reason.

The numbers come from runs on real data: small pretrained encoders want rates ten times those of a BERT-base. At 4.4M
parameters 5e-4 (1e-3 for many classes) over 8 and more epochs, at 22.7M 3e-4, at 110M the usual 2e-5 to 5e-5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedplate_registry.sizes import count_text
from bedplate_registry.tasks import ENCODERS

__all__ = ["Choice", "Situation", "choose"]

# Parameters below which -> the learning rate.
RATES = ((10_000_000, 5e-4), (40_000_000, 3e-4), (90_000_000, 5e-5), (200_000_000, 3e-5), (600_000_000, 2e-5))
LARGEST_RATE = 1e-5
LORA_FACTOR, HIGHEST_LORA_RATE = 10, 2e-3
# Families whose count of parameters says little about how they train: shared layers, or known to diverge.
FAMILY_RATES = {"albert": 2e-5, "deberta": 2e-5, "deberta-v2": 2e-5, "xlnet": 2e-5, "electra": 5e-5, "modernbert": 5e-5}
TINY, SMALL = 10_000_000, 40_000_000
# Encoder-decoders: T5 and its kin were made for large rates, all others for those of their encoders.
WRITER_RATES = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "switch_transformers"), 3e-4),
    **dict.fromkeys(("bart", "mbart", "mvp", "plbart", "led", "pegasus", "pegasus_x", "bigbird_pegasus"), 3e-5),
    **dict.fromkeys(("marian", "m2m_100", "nllb-moe", "fsmt", "prophetnet", "blenderbot"), 5e-5),
}
MANY_LABELS = 20
# Steps that a good fit took, and the range of epochs that they are kept within.
TINY_STEPS, TINY_MANY_STEPS, SMALL_STEPS, USUAL_STEPS, JOINED_STEPS = 1000, 4500, 1000, 300, 4000
MAX_TOKENS = 512
QUESTION_WINDOW, QUESTION_STRIDE = 384, 128  # as models for SQuAD are trained and served
MAX_SOURCE_TOKENS, MAX_TARGET_TOKENS = 1024, 512
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
    target_tokens: int | None
    on_gpu: bool
    processes: int
    max_steps: int
    accumulation: int

    @property
    def size(self) -> str:
        return f"{count_text(self.parameters)} parameters"

    @property
    def is_large(self) -> bool:
        return self.parameters > 300_000_000

    @property
    def writes(self) -> bool:
        return self.task in ("summarization", "translation")

    @property
    def joins_encoders(self) -> bool:
        """Whether an encoder-decoder is made of encoders."""
        return self.writes and (self.model_type in ENCODERS or self.model_type == "encoder-decoder")

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


ALL_WEIGHTS = Choice(
    False, "all weights learn best; an adapter where memory does not do for them, which apply_lora=false forbids"
)
WHOLE = Choice(
    False,
    "4 bits cost accuracy; taken on a GPU where memory does not do for an adapter, which load_in_4bit=false forbids",
)
ACCURACY = Choice("accuracy", "the share of right answers is what most users look at")
BEST_METRICS = {
    "summarization": Choice("rougeL", "the longest run of words in common with the reference"),
    "question-answering": Choice("f1_score", "the words in common with the right answer; half right is not wrong"),
    "translation": Choice("bleu", "what translations are usually compared by"),
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
    offer("per_device_eval_batch_size", _eval_batch(at))
    offer("learning_rate", _lora_rate(at) if given.get("apply_lora") else _learning_rate(at))
    steps = at.steps_per_epoch(value("per_device_train_batch_size"))
    offer("num_train_epochs", _epochs(at, steps))
    total = at.max_steps if at.max_steps > 0 else math.ceil(steps * value("num_train_epochs"))
    offer("max_seq_length", _max_seq_length(at))
    offer("precision", _precision(at))
    offer("doc_stride", _doc_stride(at, value("max_seq_length")))
    offer("metric_for_best_model", _best_metric(at, given))
    offer("max_source_length", _max_source_length(at))
    offer("max_target_length", _max_target_length(at))
    offer("no_repeat_ngram_size", _no_repeat_ngram_size(at))
    offer("source_prefix", Choice("auto", "the model's own files say which words it wants"))
    offer("lora_target_modules", _lora_targets(at))
    offer("apply_lora", ALL_WEIGHTS)
    offer("load_in_4bit", WHOLE)
    offer("logging_steps", Choice(min(max(1, total // LOGS), 50), f"about {LOGS} points over {total} steps"))
    offer("eval_steps", Choice(max(1, min(steps, total)), "once an epoch"))
    offer("save_steps", _save_steps(steps))
    return chosen


def _train_batch(at: Situation) -> Choice:
    if at.writes:
        return Choice(8, f"{at.size}, and texts on both sides") if at.is_large else Choice(16, "usual for such models")
    if at.rows < 400:
        return Choice(16, f"{at.rows} rows: small batches give more steps")
    if at.is_large:
        return Choice(16, f"{at.size}: larger batches need much memory")
    return Choice(32, "usual for classifiers")


def _eval_batch(at: Situation) -> Choice:
    if at.writes:
        return Choice(64 if at.on_gpu else 16, "each token of a batch has scores of the whole vocabulary")
    return Choice(256 if at.on_gpu else 64, "evaluation keeps no gradients")


def _learning_rate(at: Situation) -> Choice:
    if at.model_type in WRITER_RATES and at.parameters >= TINY:
        return Choice(WRITER_RATES[at.model_type], f"usual for the family {at.model_type}")
    if at.model_type in FAMILY_RATES:
        return Choice(FAMILY_RATES[at.model_type], f"usual for the family {at.model_type}")
    rate = next((rate for limit, rate in RATES if at.parameters < limit), LARGEST_RATE)
    if at.parameters < TINY and at.has_many_labels:
        return Choice(2 * rate, f"{at.size} and {at.labels} labels: very small models want large rates")
    return Choice(rate, f"{at.size}: the smaller the model, the larger the rate")


def _lora_rate(at: Situation) -> Choice:
    rate = min(LORA_FACTOR * _learning_rate(at).value, HIGHEST_LORA_RATE)
    return Choice(
        rate, f"{LORA_FACTOR} times that of all weights, at most {HIGHEST_LORA_RATE:g}: an adapter wants more"
    )


def _epochs(at: Situation, steps_per_epoch: int) -> Choice:
    if at.joins_encoders or (at.writes and at.parameters < TINY):
        target, low, high = JOINED_STEPS, 5, 15  # what connects the two halves begins with random weights
    elif at.parameters < TINY:
        target, low, high = (TINY_MANY_STEPS if at.has_many_labels else TINY_STEPS), 8, 15
    elif at.parameters < SMALL:
        target, low, high = SMALL_STEPS, 3, 10
    else:
        target, low, high = USUAL_STEPS, 3, 10
    epochs = min(max(math.ceil(target / steps_per_epoch), low), high)
    return Choice(epochs, f"about {target} steps for {at.size}, at {steps_per_epoch} steps an epoch")


def _max_seq_length(at: Situation) -> Choice:
    if at.task == "question-answering":
        limit = min(at.context_length or QUESTION_WINDOW, QUESTION_WINDOW)
        return Choice(limit, f"the model's context, at most {QUESTION_WINDOW}: longer contexts are read in windows")
    limit = min(at.context_length or MAX_TOKENS, MAX_TOKENS)
    return Choice(limit, "the model's context, at most 512; batches are padded to their own longest row only")


def _doc_stride(at: Situation, limit: int) -> Choice:
    if at.task == "question-answering":
        shared = min(QUESTION_STRIDE, limit // 3)
        return Choice(shared, f"a third of a window, at most {QUESTION_STRIDE}: answers are seldom longer")
    return Choice(limit // 4, "a quarter of a window, as where it is served")


def _max_source_length(at: Situation) -> Choice:
    limit = min(at.context_length or MAX_SOURCE_TOKENS, MAX_SOURCE_TOKENS)
    return Choice(limit, f"the model's context, at most {MAX_SOURCE_TOKENS}; batches are padded to their longest row")


def _max_target_length(at: Situation) -> Choice:
    if at.target_tokens is None:
        return Choice(MAX_TARGET_TOKENS // 4, "until the training targets are tokenized")
    limit = min(8 * math.ceil(at.target_tokens / 8), MAX_TARGET_TOKENS)
    return Choice(limit, f"99 of 100 training targets have at most {at.target_tokens} tokens")


def _no_repeat_ngram_size(at: Situation) -> Choice:
    if at.task == "summarization":
        return Choice(3, "a summary says nothing twice, and small models like to")
    return Choice(0, "a translation repeats what its source repeats")


def _best_metric(at: Situation, given: Mapping[str, Any]) -> Choice:
    if at.writes and not given.get("eval_generate_rows"):
        return Choice("loss", "no texts are written while training")
    return BEST_METRICS.get(at.task, ACCURACY)


def _precision(at: Situation) -> Choice:
    if not at.on_gpu:
        return Choice("fp32", "on a CPU")
    return Choice("auto", "bf16 on compute capability 8 and up, else fp16, decided on the card")


def _lora_targets(at: Situation) -> Choice:
    return Choice(
        ("all-linear",),
        f"every linear layer of {at.model_type or 'the model'} but its head: the same in all architectures",
    )


def _save_steps(steps_per_epoch: int) -> Choice:
    if steps_per_epoch <= STEPS_BETWEEN_SAVES:
        return Choice(0, "an epoch is short: a checkpoint at each evaluation is enough")
    between = max(STEPS_BETWEEN_SAVES, math.ceil(steps_per_epoch / SAVES_PER_EPOCH))
    return Choice(between, f"an epoch has {steps_per_epoch} steps: a death loses at most {between} of them")
