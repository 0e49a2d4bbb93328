"""LoRA: small matrices beside frozen layers are trained, and the head whole. At the end the two are merged, or kept.

before    add_adapter(model, task, settings)          what is trained instead of the model
after     save_adapter(adapted, folder)               adapter_config.json, adapter_model.safetensors, config.json
          with over_base(base, folder) as view:       the two as the registry serves them
          merge(base, folder, target, task)           a plain model
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.pytorch_utils import Conv1D

from bedplate_registry.adapters import kept_path
from bedplate_registry.errors import Refused, nearest
from bedplate_registry.tasks import get_task
from bedplate_serving.predictors.adapters import find_adapter
from bedplate_serving.predictors.loading import load_model

from .settings import FinetuneSettings

__all__ = ["add_adapter", "merge", "over_base", "save_adapter", "starting_point"]

ALL_LINEAR = "all-linear"
# What PEFT calls a task: the registry reads the head of an adapter off it.
PEFT_TASKS = {
    "text-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
    "summarization": "SEQ_2_SEQ_LM",
    "translation": "SEQ_2_SEQ_LM",
}


def add_adapter(model: Any, task: str, settings: FinetuneSettings) -> Any:
    """The model with a LoRA on its layers. Its head is trained whole: it is new, or small beside the rest.

    Raises Refused where no layer has a name that lora_target_modules gives.
    """
    from peft import LoraConfig, get_peft_model

    whole = _whole_modules(model)
    targets = _targets(model, whole, tuple(settings.lora_target_modules))
    if settings.load_in_4bit:
        _to_4bit(model, targets)
    config = LoraConfig(
        task_type=PEFT_TASKS[task],
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        modules_to_save=whole or None,
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in targets),  # as in GPT-2
    )
    torch.manual_seed(settings.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
        return get_peft_model(model, config)


def save_adapter(adapted: Any, folder: Path, base_name: str = "", state_dict: Any = None) -> None:
    """The adapter, and the config of the model it makes: its labels are there. `base_name` is what the base is called.

    Never the path of the base on this machine, which is what PEFT would write.
    """
    config = adapted.peft_config["default"]
    config.base_model_name_or_path = base_name
    adapted.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    model = adapted.get_base_model()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)


@contextmanager
def over_base(base: Path, adapter: Path) -> Iterator[Path]:
    """A view of a model as the registry keeps an adapter over its base; a predictor merges the two when it loads."""
    with tempfile.TemporaryDirectory(prefix="bedplate-adapted-") as made:
        view = Path(made)
        files = {path.name: path for path in base.iterdir()} | {
            kept_path(path.name): path for path in adapter.iterdir()
        }
        for name, path in files.items():
            (view / name).parent.mkdir(exist_ok=True)
            (view / name).symlink_to(path.resolve())
        yield view


def merge(base: Path, adapter: Path, target: Path, task: str) -> None:
    """A plain model of the two, by the code that serves an adapter; the base is read again, in full precision."""
    with over_base(base, adapter) as view:
        model = load_model(getattr(transformers, get_task(task).auto_class), view, "cpu", head=task)
    model.save_pretrained(target)


@contextmanager
def starting_point(folder: Path) -> Iterator[Path]:
    """The folder to begin with: where an adapter lies over a base, a folder of the two merged."""
    if find_adapter(folder) is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="bedplate-start-") as name:
        architecture = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).architectures[0]
        load_model(getattr(transformers, architecture), folder, "cpu").save_pretrained(name)
        for path in folder.iterdir():
            target = Path(name) / path.name
            is_weights = path.name.endswith((".safetensors", ".safetensors.index.json"))
            if path.is_file() and not is_weights and not target.exists() and path.name != "adapter_config.json":
                target.symlink_to(path.resolve())
        yield Path(name)


def _whole_modules(model: Any) -> list[str]:
    """What is trained whole: all that lies outside the base model but the table of words, and a pooler, often new."""
    base, words = model.base_model, model.get_output_embeddings()
    poolers = [name for name, _ in model.named_modules() if name.rpartition(".")[2] == "pooler"]
    if base is model:
        return []
    outside = [name for name, module in model.named_children() if module is not base and module is not words]
    return [name for name in (*outside, *poolers) if any(True for _ in model.get_submodule(name).parameters())]


def _targets(model: Any, whole: list[str], asked: tuple[str, ...]) -> list[str]:
    """The full names of the layers that get an adapter."""
    words = model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not words
        and not any(f"{name}.".startswith(f"{part}.") for part in whole)
    ]
    if asked == (ALL_LINEAR,):
        return linear
    for wanted in asked:
        if not any(_ends(name, wanted) for name in linear):
            ends = sorted({name.rpartition(".")[2] for name in linear})
            hint = f"{nearest(wanted, ends)} Or {ALL_LINEAR}."
            raise Refused(f"The model has no layer {wanted!r} for a LoRA.", hint=hint, code="no-such-layer")
    return [name for name in linear if any(_ends(name, wanted) for wanted in asked)]


def _ends(name: str, wanted: str) -> bool:
    return f".{name}".endswith(f".{wanted}")


def _to_4bit(model: Any, targets: list[str]) -> None:
    """QLoRA (Dettmers et al. 2023): the frozen layers as 4-bit NormalFloat, quantized when they move to the GPU."""
    from bitsandbytes.nn import Linear4bit

    for name in targets:
        old = model.get_submodule(name)
        if not isinstance(old, torch.nn.Linear):
            continue
        new = Linear4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16,
            compress_statistics=True,
            quant_type="nf4",
        )
        new.load_state_dict(old.state_dict())
        new.requires_grad_(False)
        model.set_submodule(name, new)
    model.is_loaded_in_4bit = True  # PEFT asks for it
