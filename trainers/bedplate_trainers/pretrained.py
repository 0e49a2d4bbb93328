"""Pretrained models as training starts from them: read from disk in full precision, with a head for the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, set_seed
from transformers.utils import logging as transformers_logging

from bedplate_registry.decoders import DECODERS
from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.tasks import Task, get_task

from .labels import LabelSet

__all__ = [
    "Figures",
    "figures_of",
    "load_answerer",
    "load_classifier",
    "load_tokenizer",
    "packages",
    "pick_device",
    "pick_precision",
    "quiet",
    "set_padding",
]

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "scikit-learn")
MOST_TOKENS = 1_000_000  # tokenizers without a limit state one of about 1e30


@dataclass(frozen=True)
class Figures:
    """What defaults depend on (settings.ModelFigures)."""

    parameters: int
    model_type: str | None
    context_length: int | None


def quiet() -> None:
    """The libraries' own reports and bars are for notebooks; a worker's progress goes through its reporter."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def load_tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"The tokenizer could not be loaded: {_first_line(error)}", code="load-failed") from error


def load_classifier(
    folder: Path, labels: LabelSet, seed: int, *, replace_head: bool, task: str = "text-classification"
) -> tuple[Any, LabelSet]:
    """The model of texts or tokens, and its labels in the order of its outputs.

    A head that is there for exactly these labels is kept, in its own order; any other is replaced by a new one, or
    refused where `replace_head` is false.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    known = _labels_of(config, get_task(task))
    keeps_head = set(known) == set(labels.names) and len(known) == len(labels.names)
    if known and not keeps_head and not replace_head:
        raise Refused(
            f"The model has a head for {len(known)} other labels ({', '.join(known[:5])} …).",
            hint="Set ignore_mismatched_sizes to true to replace it.",
            code="other-head",
        )
    if keeps_head:
        labels = LabelSet(known, labels.multi_label)
    set_seed(seed)
    about = {"num_labels": len(labels.names), "id2label": dict(enumerate(labels.names)), "label2id": labels.index}
    if task == "text-classification":
        about["problem_type"] = f"{'multi' if labels.multi_label else 'single'}_label_classification"
    model = _load(folder, get_task(task), about)
    if known and not keeps_head and len(known) == len(labels.names):
        _renew_head(model)
    return model, labels


def load_answerer(folder: Path, seed: int) -> Any:
    """The model that finds where an answer starts and ends. Its head is a new one where it has none."""
    set_seed(seed)
    return _load(folder, get_task("question-answering"), {"num_labels": 2})  # whatever the labels of another head were


def set_padding(model: Any, tokenizer: Any) -> None:
    """Of a decoder-only model: padding stands behind, where no token reads it, and has a token, which is saved with the
    model. Such a model classifies by the last token that is none. Raises Refused: no-padding.
    """
    if model.config.model_type not in DECODERS:
        return
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token is None:
        raise Refused(
            "The model's tokenizer names no token that could stand for padding.",
            hint="Name one in a copy of its tokenizer_config.json: pad_token or eos_token.",
            code="no-padding",
        )
    tokenizer.padding_side = "right"
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False  # it writes nothing, so what it read need not be kept


def _load(folder: Path, task: Task, about: Mapping[str, Any]) -> Any:
    try:
        return getattr(transformers, task.auto_class).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            **about,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Refused(f"The model could not be loaded: {_first_line(error)}", code="load-failed") from error


def _labels_of(config: Any, task: Task) -> tuple[str, ...]:
    """The labels of the head for the task; none where there is none."""
    if not any(task.fits(name) for name in config.architectures or []):
        return ()
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _renew_head(model: Any) -> None:
    """A head of the right size but for other labels has nothing to say about these."""
    inside = {id(module) for module in model.base_model.modules()}
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and id(module) not in inside:
            torch.nn.init.normal_(module.weight, std=getattr(model.config, "initializer_range", 0.02))
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)


def figures_of(model: Any, tokenizer: Any) -> Figures:
    positions = getattr(model.config, "max_position_embeddings", None)
    limits = [positions and positions - _first_position(model), tokenizer.model_max_length]
    known = [limit for limit in limits if limit and limit < MOST_TOKENS]
    return Figures(model.num_parameters(), model.config.model_type, min(known) if known else None)


def _first_position(model: Any) -> int:
    """0, but RoBERTa and its kin count positions from after the padding token's number."""
    tables = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    padding = getattr(next(tables, None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def pick_device(device: str) -> str:
    """cpu or cuda; `auto` is a GPU where there is one."""
    if device not in ("auto", "cpu", "cuda") and not device.startswith("cuda:"):
        raise Refused(f"There is no device {device!r}.", hint="Known: auto, cpu, cuda.", code="bad-device")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise BedplateError(f"Device {device!r} was asked for, and torch sees no GPU.", hint="Use --device cpu.")
    return "cuda"


def pick_precision(precision: str, device: str) -> tuple[str, str]:
    """What the device really computes in, and why."""
    if device == "cpu":
        if precision == "fp16":
            raise Refused("fp16 is for GPUs.", hint="Set precision to fp32 or auto on a CPU.", code="bad-setting")
        return ("fp32" if precision == "auto" else precision), "on a CPU"
    major, minor = torch.cuda.get_device_capability()
    capability = f"compute capability {major}.{minor}"
    if precision == "bf16" and major < 8:
        raise Refused(f"bf16 needs compute capability 8.0, this card has {major}.{minor}.", hint="Set fp16 or auto.")
    if precision != "auto":
        return precision, "as set"
    return ("bf16" if major >= 8 else "fp16" if major == 7 else "fp32"), capability


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def packages() -> dict[str, str]:
    """The versions that made a model, for its lineage."""
    return {name: version(name) for name in PACKAGES}
