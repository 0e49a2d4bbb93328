"""The settings of a fine-tune and of an evaluation, under their Hugging Face names. Imports no torch: the control plane
checks settings with this module before any job is made.

    settings = FinetuneSettings.from_mapping({"learning_rate": 3e-5})
    resolved = resolve(settings, facts, rows=9000, device="cpu")     every `auto` replaced, each with its reason
"""

# ruff: noqa: RUF009 - the calls describe fields; what they return is a dataclasses.field

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from bedplate_registry.errors import Refused, nearest
from bedplate_registry.tasks import get_task

from .defaults import Choice, Situation, choose
from .needs import check_needs
from .parsing import AUTO, choice, flag, integer, names, of_task, parse_settings, real, text, words
from .setting_names import RENAMED, RENAMED_METRICS, UNSUPPORTED
from .together import check_together

__all__ = ["EvaluateSettings", "FinetuneSettings", "ModelFigures", "Resolved", "check_metric", "resolve"]

Auto = Literal["auto"]
CLASSIFIERS = ("text-classification", "token-classification")
OF_ROWS = ("text-classification", "image-classification")  # one answer for a row as a whole
HEADED = (*CLASSIFIERS, "question-answering")  # a new head on an encoder
WRITERS = ("summarization", "translation")
WINDOWED = ("token-classification", "question-answering")  # read long texts in windows


@dataclass(frozen=True)
class FinetuneSettings:
    """What a user may set. `auto` is worked out by `resolve` from the model's size and the data."""

    learning_rate: float | Auto = real(AUTO, 1e-9, 1.0, "the highest learning rate", auto=True)
    num_train_epochs: float | Auto = real(AUTO, 0.01, 10_000, "passes over the training rows", auto=True)
    max_steps: int = integer(-1, 1, 10**9, "stop after this many optimizer steps; overrides epochs", also=(-1,))
    per_device_train_batch_size: int | Auto = integer(AUTO, 1, 65_536, "rows per step and device", auto=True)
    per_device_eval_batch_size: int | Auto = integer(AUTO, 1, 65_536, "rows per evaluation step", auto=True)
    gradient_accumulation_steps: int = integer(1, 1, 65_536, "batches summed before one optimizer step")
    optim: str = choice(
        "adamw_torch_fused",
        ("adamw_torch_fused", "adamw_torch", "adafactor", "adamw_bnb_8bit"),
        "the optimizer; adamw_bnb_8bit needs bitsandbytes and a GPU",
    )
    weight_decay: float = real(0.01, 0.0, 10.0, "decoupled weight decay, not on biases and layer norms")
    adam_beta1: float = real(0.9, 0.0, 0.999999, "decay of Adam's first moment")
    adam_beta2: float = real(0.999, 0.0, 0.99999999, "decay of Adam's second moment")
    adam_epsilon: float = real(1e-8, 0.0, 1.0, "Adam's term for numerical stability")
    max_grad_norm: float = real(1.0, 0.0, 1e9, "gradients are clipped to this norm; 0 switches it off")
    lr_scheduler_type: str = choice(
        "linear",
        ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"),
        "how the learning rate falls",
    )
    lr_num_cycles: int = integer(2, 1, 1000, "how often cosine_with_restarts falls from the highest rate to nothing")
    warmup_steps: float = real(0.1, 0.0, 10**9, "steps of rising learning rate; below 1: a part of all steps")
    label_smoothing_factor: float = real(0.0, 0.0, 0.99, "share of each label spread over the others")
    class_weights: str = choice(
        "none", ("none", "balanced"), "balanced: rare classes weigh more in the loss", tasks=CLASSIFIERS
    )
    seed: int = integer(42, 0, 2**32 - 1, "the seed of weights, order and dropout")
    enable_full_determinism: bool = flag(False, "deterministic kernels; slower on a GPU")
    precision: str = choice("auto", ("auto", "fp32", "bf16", "fp16"), "auto: the best the device is built for")
    tf32: bool = flag(True, "float32 products of matrices as TF32, where the card has it")
    activation_checkpointing: bool = flag(False, "less memory for about a third more time")
    torch_compile: bool = flag(False, "compile the model; minutes at the start, then faster steps on a GPU")
    attn_implementation: str = choice(
        "default",
        ("default", "eager", "sdpa", "flash_attention_2"),
        "how attention is computed; flash_attention_2 needs flash-attn and a GPU",
    )
    apply_lora: bool | Auto = flag(
        AUTO, "train a LoRA adapter and the head, and leave the other weights as they are", auto=True
    )
    lora_r: int = integer(8, 1, 4096, "the rank of the adapter")
    lora_alpha: float = real(16, 1e-3, 1e5, "the adapter is scaled by lora_alpha / lora_r")
    lora_dropout: float = real(0.0, 0.0, 0.99, "dropout before the adapter")
    lora_target_modules: tuple[str, ...] | Auto = names(
        "the layers that get one, by the ends of their names", auto=True
    )
    merge_lora_weights: bool = flag(True, "register a plain model; false: the adapter alone, on its base")
    load_in_4bit: bool | Auto = flag(
        AUTO, "QLoRA: the frozen weights in 4 bits; needs bitsandbytes and a GPU", auto=True
    )
    deepspeed_stage: str = choice("none", ("none", "2", "3"), "the stage of ZeRO; needs deepspeed and GPUs")
    fsdp: bool = flag(False, "shard weights, gradients and moments over the GPUs (FSDP2)")
    max_seq_length: int | Auto = integer(
        AUTO, 8, 1_000_000, "longer texts are cut to this many tokens", auto=True, tasks=HEADED
    )
    max_source_length: int | Auto = integer(
        AUTO, 8, 1_000_000, "longer sources are cut to this many tokens", auto=True, tasks=WRITERS
    )
    max_target_length: int | Auto = integer(
        AUTO, 2, 1024, "longer targets are cut to this many tokens; the model writes no more", auto=True, tasks=WRITERS
    )
    source_prefix: str = words(AUTO, "words before each source; auto: those of the model", tasks=WRITERS)
    source_lang: str = words("", "the language of the sources, in the model's codes", tasks=WRITERS)
    target_lang: str = words("", "the language that is written, in the model's codes", tasks=WRITERS)
    num_beams: int = integer(4, 1, 16, "beams of the search for a text, here and where it is served", tasks=WRITERS)
    length_penalty: float = real(1.0, -10.0, 10.0, "above 0 beams prefer longer texts, below shorter", tasks=WRITERS)
    no_repeat_ngram_size: int | Auto = integer(
        AUTO, 0, 100, "no run of this many tokens comes twice; 0: any may", auto=True, tasks=WRITERS
    )
    eval_generate_rows: int = integer(
        200, 0, 1_000_000, "validation rows that are written at each evaluation; 0: the loss alone", tasks=WRITERS
    )
    doc_stride: int | Auto = integer(
        AUTO, 0, 1_000_000, "tokens that two windows of a long text share", auto=True, tasks=WINDOWED
    )
    max_answer_length: int = integer(30, 1, 512, "the longest answer, in tokens", tasks=("question-answering",))
    n_best_size: int = integer(20, 1, 100, "answers that a report shows of a wrong row", tasks=("question-answering",))
    ignore_mismatched_sizes: bool = flag(
        True, "a head for other labels is replaced; false: refuse it", tasks=CLASSIFIERS
    )
    class_names: tuple[str, ...] = names("the names of integer labels 0, 1, 2 …", tasks=CLASSIFIERS)
    validation_fraction: float = real(0.1, 0.0, 0.9, "share of the rows for validation where it is automatic")
    test_fraction: float = real(0.1, 0.0, 0.9, "share of the rows for the test where it is automatic")
    split_seed: int = integer(42, 0, 2**32 - 1, "the seed of the automatic split")
    metric_for_best_model: str = text(AUTO, "the validation metric whose best checkpoint is kept")
    eval_strategy: str = choice("epoch", ("epoch", "steps", "no"), "when the validation rows are scored")
    eval_steps: float | Auto = real(AUTO, 1e-6, 10**9, "steps between evaluations; below 1: a part of all", auto=True)
    save_steps: int | Auto = integer(AUTO, 0, 10**9, "steps between further checkpoints; 0: none", auto=True)
    save_total_limit: int = integer(2, 1, 10_000, "checkpoints kept; the best is always among them")
    logging_steps: int | Auto = integer(AUTO, 1, 10**9, "steps between figures in the log", auto=True)
    early_stopping_patience: int = integer(0, 0, 10_000, "evaluations without a better metric before it stops; 0: off")
    early_stopping_threshold: float = real(0.0, 0.0, 1e9, "what counts as better by how much")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], task: str = "text-classification") -> FinetuneSettings:
        """The settings given, or Refused naming the first that is unknown, not supported or out of range."""
        parsed = cls.each_from_mapping(values, task)
        check_together(parsed)
        return parsed

    @classmethod
    def each_from_mapping(cls, values: Mapping[str, Any], task: str) -> FinetuneSettings:
        """The same, each looked at by itself and not beside the others: values that a sweep will put together."""
        cleaned = {name: AUTO if _means_auto(name, value) else value for name, value in values.items()}
        parsed = parse_settings(cls, cleaned, task, RENAMED, UNSUPPORTED)
        if parsed.metric_for_best_model not in (AUTO, "loss"):
            check_metric(parsed.metric_for_best_model, task, also=("loss",))
        return parsed

    def to_json(self, task: str = "text-classification") -> dict[str, Any]:
        """Those that the task has."""
        return _plain(self, task)


@dataclass(frozen=True)
class EvaluateSettings:
    """What a user may set for an evaluation."""

    metrics: tuple[str, ...] = names("the metrics wanted; all that apply where none is given")
    class_names: tuple[str, ...] = names(
        "the names of integer labels 0, 1, 2 …", tasks=(*CLASSIFIERS, "image-classification")
    )
    positive_label: str = words(
        "", "of two labels the one that *_binary metrics are about; the second where none is given", tasks=OF_ROWS
    )
    source_lang: str = words("", "the language of the sources, in the model's codes", tasks=("translation",))
    target_lang: str = words("", "the language that is written, in the model's codes", tasks=("translation",))
    max_answer_length: int | Auto = integer(
        AUTO, 1, 512, "the longest answer, in tokens; auto: as served", auto=True, tasks=("question-answering",)
    )
    n_best_size: int = integer(20, 1, 100, "answers that a report shows of a wrong row", tasks=("question-answering",))
    max_new_tokens: int | Auto = integer(
        AUTO, 1, 100_000, "the longest text, in tokens; auto: as served", auto=True, tasks=("text-generation",)
    )
    slices: tuple[str, ...] = names("columns of the data: metrics are given for each of their values as well")
    confidence_draws: int = integer(1000, 0, 100_000, "bootstrap draws for the 95 % intervals; 0: none")
    latency_rows: int = integer(50, 0, 10_000, "rows that are timed one at a time; 0: none")
    seed: int = integer(42, 0, 2**32 - 1, "the seed of the bootstrap, of the paired test, and of masks over raw texts")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], task: str = "text-classification") -> EvaluateSettings:
        parsed = parse_settings(cls, values, task, {"class_labels": "class_names"}, {})
        for name in parsed.metrics:
            check_metric(name, task)
        return parsed

    def to_json(self, task: str) -> dict[str, Any]:
        """Those that the task has."""
        return _plain(self, task)


class ModelFigures(Protocol):
    """What defaults depend on; bedplate_registry.models.ModelFacts has it."""

    @property
    def parameters(self) -> int: ...
    @property
    def model_type(self) -> str | None: ...
    @property
    def context_length(self) -> int | None: ...


@dataclass(frozen=True)
class Resolved:
    """Settings without an `auto`, and why each automatic value was chosen."""

    settings: FinetuneSettings
    reasons: dict[str, str]
    task: str = "text-classification"

    def sources(self, given: Iterable[str]) -> dict[str, str]:
        """Where each value comes from: `given`, `default`, or `chosen: ` and why."""
        chosen = {name: f"chosen: {reason}" for name, reason in self.reasons.items()}
        named = dict.fromkeys(given, "given") | chosen  # what was given as auto was chosen
        return {name: named.get(name, "default") for name in of_task(FinetuneSettings, self.task)}

    def to_json(self) -> dict[str, Any]:
        return {"values": self.settings.to_json(self.task), "reasons": dict(self.reasons)}


def resolve(
    settings: FinetuneSettings,
    facts: ModelFigures,
    rows: int,
    device: str,
    *,
    task: str = "text-classification",
    labels: int | None = None,
    target_tokens: int | None = None,
    processes: int = 1,
) -> Resolved:
    """Every `auto` replaced by a value. `rows` are the training rows; `labels` is how many there are, if known, and
    `target_tokens` how many tokens the longest texts to be written have.
    """
    for name in ("max_seq_length", "max_source_length"):
        _check_length(name, getattr(settings, name), facts.context_length)
    check_needs(asdict(settings), device, processes)
    given = {name: value for name, value in asdict(settings).items() if value != AUTO}
    situation = Situation(
        task=task,
        parameters=facts.parameters,
        model_type=facts.model_type or "",
        context_length=facts.context_length,
        rows=rows,
        labels=labels,
        target_tokens=target_tokens,
        on_gpu=device.startswith("cuda"),
        processes=processes,
        max_steps=settings.max_steps,
        accumulation=settings.gradient_accumulation_steps,
    )
    known = of_task(FinetuneSettings, task)
    chosen = {name: item for name, item in choose(situation, given).items() if name in known}
    return Resolved(replace(settings, **_values(chosen)), {name: item.reason for name, item in chosen.items()}, task)


def check_metric(name: str, task: str, also: tuple[str, ...] = ()) -> None:
    """Refused with the nearest where `name` is not a metric of the task."""
    known = (*get_task(task).metrics, *also)
    if name in known:
        return
    renamed = RENAMED_METRICS.get(name)
    hint = f"Here it is {renamed}." if renamed in known else nearest(name, known)
    raise Refused(f"{task} has no metric {name!r}.", hint=hint, code="unknown-metric")


def _plain(settings: FinetuneSettings | EvaluateSettings, task: str) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in of_task(type(settings), task)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _values(chosen: Mapping[str, Choice]) -> dict[str, Any]:
    return {name: item.value for name, item in chosen.items()}


def _means_auto(name: str, value: Any) -> bool:
    return name == "max_seq_length" and value in (-1, "-1")


def _check_length(name: str, asked: int | Auto, context_length: int | None) -> None:
    if asked != AUTO and context_length is not None and int(asked) > context_length:
        raise Refused(
            f"{name} is {asked}, and the model takes at most {context_length} tokens.",
            hint=f"Set it to {context_length} or less, or to auto.",
            code="bad-setting",
        )
