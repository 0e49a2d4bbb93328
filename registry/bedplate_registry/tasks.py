"""The nine tasks, described once: catalog filters, column mapping, request checks and documents are read from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .decoders import DECODERS
from .errors import Refused, nearest
from .texts import one_line
from .timm_models import WRAPPER, is_timm

__all__ = [
    "ENCODERS",
    "JOINABLE",
    "SEQ2SEQ",
    "TASKS",
    "Key",
    "Task",
    "architecture_of",
    "contradicts",
    "finetunable_tasks",
    "get_task",
    "joins_for",
    "task_of",
]


@dataclass(frozen=True)
class Key:
    """One thing a row of data holds for a task."""

    name: str
    required: bool = True
    is_label: bool = False
    kind: str = "text"  # text | texts (one, or several of which any is right) | label | list | object | image

    @property
    def reads_json(self) -> bool:
        """Whether a text cell (CSV has no others) that holds JSON is read as such."""
        return self.kind in ("texts", "label", "list", "object")


@dataclass(frozen=True)
class Task:
    """What a task is."""

    name: str
    title: str
    auto_class: str
    pipeline_tags: tuple[str, ...]
    architectures: tuple[str, ...]  # how the class names of models with this head end
    head_tensors: tuple[str, ...]  # how a part of a weight's name starts where the head is there; () = not told so
    keys: tuple[Key, ...]
    metrics: tuple[str, ...]
    finetunable: bool = False

    @property
    def inputs(self) -> tuple[Key, ...]:
        return tuple(key for key in self.keys if not key.is_label)

    def fits(self, architecture: str | None) -> bool:
        """Whether a model of this class has the head."""
        return architecture is not None and architecture.endswith(self.architectures)


_AVERAGES = ("macro", "micro", "weighted")
_CLASSIFICATION = (
    "accuracy",
    "balanced_accuracy",
    "weighted_accuracy",
    "norm_macro_recall",
    "log_loss",
    "matthews_correlation",
    *(
        f"{name}_{average}"
        for name in ("f1_score", "precision_score", "recall_score", "AUC", "average_precision_score")
        for average in (*_AVERAGES, "binary")
    ),
)
_SPANS = (
    *(f"{name}_{average}" for name in ("f1_score", "precision_score", "recall_score") for average in _AVERAGES),
    "accuracy",
)
_ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_BLEU = ("bleu", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf")
_QA = tuple(f"{part}{name}" for part in ("", "has_answer_", "no_answer_") for name in ("exact_match", "f1_score"))
_SEQ2SEQ_HEADS = ("ForConditionalGeneration", "MTModel", "EncoderDecoderModel")

_DESCRIBED = (
    Task(
        name="text-classification",
        title="Text classification",
        auto_class="AutoModelForSequenceClassification",
        pipeline_tags=("text-classification", "sentiment-analysis", "zero-shot-classification", "text-ranking"),
        architectures=("ForSequenceClassification",),
        head_tensors=("classifier", "score.", "classification_head.", "logits_proj.", "sequence_summary.summary"),
        keys=(Key("sentence1"), Key("sentence2", required=False), Key("label", is_label=True, kind="label")),
        metrics=_CLASSIFICATION,
        finetunable=True,
    ),
    Task(
        name="token-classification",
        title="Token classification",
        auto_class="AutoModelForTokenClassification",
        pipeline_tags=("token-classification", "ner"),
        architectures=("ForTokenClassification",),
        head_tensors=("classifier", "score."),
        keys=(Key("tokens", kind="list"), Key("tags", is_label=True, kind="list")),
        metrics=_SPANS,
        finetunable=True,
    ),
    Task(
        name="question-answering",
        title="Question answering",
        auto_class="AutoModelForQuestionAnswering",
        pipeline_tags=("question-answering",),
        architectures=("ForQuestionAnswering", "ForQuestionAnsweringSimple"),
        head_tensors=("qa_outputs.", "start_logits.", "qa_classifier."),
        keys=(
            Key("question"),
            Key("context"),
            Key("answers", is_label=True, kind="object"),
            Key("id", required=False),
        ),
        metrics=_QA,
        finetunable=True,
    ),
    Task(
        name="summarization",
        title="Summarization",
        auto_class="AutoModelForSeq2SeqLM",
        pipeline_tags=("summarization", "text2text-generation"),
        architectures=_SEQ2SEQ_HEADS,
        head_tensors=(),
        keys=(Key("document"), Key("summary", is_label=True, kind="texts")),
        metrics=_ROUGE,
        finetunable=True,
    ),
    Task(
        name="translation",
        title="Translation",
        auto_class="AutoModelForSeq2SeqLM",
        pipeline_tags=("translation", "text2text-generation"),
        architectures=_SEQ2SEQ_HEADS,
        head_tensors=(),
        keys=(Key("source"), Key("target", is_label=True, kind="texts")),
        metrics=_BLEU,
        finetunable=True,
    ),
    Task(
        name="fill-mask",
        title="Fill-mask",
        auto_class="AutoModelForMaskedLM",
        pipeline_tags=("fill-mask",),
        architectures=("ForMaskedLM", "ForPreTraining", "WithLMHeadModel"),
        head_tensors=(
            "cls.predictions.",
            "lm_head.",
            "vocab_transform.",
            "predictions.",
            "generator_predictions.",
            "decoder.bias",
            "pred_layer.",
            "mlm",
        ),
        keys=(Key("text"), Key("answer", required=False, is_label=True)),
        metrics=("top1_accuracy", "top5_accuracy", "mrr", "pseudo_perplexity"),
    ),
    Task(
        name="text-generation",
        title="Text generation",
        auto_class="AutoModelForCausalLM",
        pipeline_tags=("text-generation", "conversational"),
        architectures=("ForCausalLM", "LMHeadModel"),
        head_tensors=(),
        keys=(Key("prompt"), Key("completion", required=False, is_label=True)),
        metrics=("perplexity", *_ROUGE, *_BLEU[:5]),
    ),
    Task(
        name="image-classification",
        title="Image classification",
        auto_class="AutoModelForImageClassification",
        pipeline_tags=("image-classification",),
        architectures=("ForImageClassification", "ForImageClassificationWithTeacher"),
        head_tensors=("classifier", "head.", "fc."),
        keys=(Key("image", kind="image"), Key("label", is_label=True, kind="label")),
        metrics=_CLASSIFICATION,
    ),
    Task(
        name="text-to-image",
        title="Text to image",
        auto_class="DiffusionPipeline",
        pipeline_tags=("text-to-image",),
        architectures=("Pipeline",),
        head_tensors=(),
        keys=(Key("prompt"),),
        metrics=(),
    ),
)

TASKS: Mapping[str, Task] = {task.name: task for task in _DESCRIBED}

# Model types, as config.json names them, that take a new head for classification, tagging and answer extraction.
ENCODERS = frozenset(
    (
        *("albert", "bert", "big_bird", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra"),
        *("ernie", "eurobert", "flaubert", "fnet", "funnel", "ibert", "longformer", "megatron-bert", "mobilebert"),
        *("modernbert", "mpnet", "mra", "nezha", "nystromformer", "rembert", "roberta", "roberta-prelayernorm"),
        *("roc_bert", "roformer", "squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yoso"),
    )
)
SEQ2SEQ = frozenset(
    (
        *("bart", "bigbird_pegasus", "blenderbot", "encoder-decoder", "fsmt", "led", "longt5", "m2m_100", "marian"),
        *("mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers"),
        *("t5", "umt5"),
    )
)
# Encoders of which two can be joined to an encoder-decoder, one of them reading and one writing.
JOINABLE = frozenset(("bert", "camembert", "electra", "ernie", "roberta", "xlm-roberta"))
# Tags that the Hub gives to models of several heads: no contradiction of any of them.
_LOOSE_TAGS = frozenset(("zero-shot-classification", "text-ranking", "text2text-generation", "conversational"))
_TRANSLATORS = frozenset(("fsmt", "m2m_100", "marian", "mbart", "nllb-moe"))


def get_task(name: str) -> Task:
    """The task of that name, or Refused with the nearest."""
    if name not in TASKS:
        raise Refused(f"{name!r} is not one of the nine tasks.", hint=nearest(name, TASKS), code="unknown-task")
    return TASKS[name]


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """The model class that config.json names first. (timm's own files name none: they are read by the wrapper.)"""
    names = config.get("architectures")
    if isinstance(names, list) and names:
        return one_line(str(names[0]))
    return WRAPPER if is_timm(config) else None


def task_of(config: Mapping[str, Any], pipeline_tag: str | None = None) -> str | None:
    """The task a model is for: by the Hub's tag where its head agrees, else by its architecture; None = a base."""
    architecture = architecture_of(config)
    by_tag = [task.name for task in _DESCRIBED if pipeline_tag in task.pipeline_tags and task.fits(architecture)]
    by_head = [task.name for task in _DESCRIBED if task.fits(architecture)]
    found = by_tag or by_head
    if {"summarization", "translation"} <= set(found):
        return "translation" if config.get("model_type") in _TRANSLATORS else "summarization"
    return found[0] if found else None


def contradicts(tag: str | None, config: Mapping[str, Any]) -> str | None:
    """The task that the head is for, where the Hub's tag names another one of the nine; else None.

    Not where the tag is none of ours (`sentence-similarity`) or fits several heads, or where there is no head.
    """
    architecture = architecture_of(config)
    tagged = {task.name for task in _DESCRIBED if tag in task.pipeline_tags and tag not in _LOOSE_TAGS}
    heads = {task.name for task in _DESCRIBED if task.fits(architecture)}
    if architecture is None or architecture.endswith("ForPreTraining"):
        return None  # those of a pre-training are fine-tuned for all that they are tagged with
    if tag == "text-generation" and "summarization" in heads:
        return None  # the Hub calls encoder-decoders so, too
    return task_of(config) if tagged and heads and not tagged & heads else None


def finetunable_tasks(model_type: str | None) -> tuple[str, ...]:
    """The tasks a model of this type can be fine-tuned for."""
    if model_type in ENCODERS:
        return _names(("text-classification", "token-classification", "question-answering"))
    if model_type in SEQ2SEQ:
        return _names(("summarization", "translation"))
    return _names(DECODERS.get(model_type or "", ()))


def joins_for(model_type: str | None, task: str) -> bool:
    """Whether a model of this type is fine-tuned for the task as both halves of an encoder-decoder."""
    return model_type in JOINABLE and task in ("summarization", "translation")


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if TASKS[name].finetunable)
