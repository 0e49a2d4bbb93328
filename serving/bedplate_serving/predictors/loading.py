"""What all predictors share when they load: the device, the precision, weights that are all there, a fast tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.adapters import base_of, find_adapter
from bedplate_serving.predictors.refusing import refusing

__all__ = ["dtype_for", "load_model", "load_tokenizer", "pick_device"]


def pick_device(device: str) -> str:
    """`auto` is the first GPU where there is one; a GPU that is asked for and missing is refused."""
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Refused(f"Device {device!r} was asked for, but torch sees no GPU.", hint="Use --device cpu, or auto.")
    return device


def dtype_for(device: str) -> torch.dtype:
    """Half precision where the card is built for it: bf16 from compute capability 8, fp16 on 7 (V100)."""
    if not device.startswith("cuda"):
        return torch.float32
    major, _ = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if major >= 8 else torch.float16 if major == 7 else torch.float32


def load_model(auto_class: Any, folder: Path, device: str, *, head: str = "") -> Any:
    """The model in eval mode. Weights missing from the files are refused: random weights must never answer.

    `head` is the task whose head the model must have; without one it is a base, which needs no pooler. An adapter in
    the folder is merged into the model.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    adapter = find_adapter(folder)
    with refusing("The model"), base_of(folder) as base:
        model, info = auto_class.from_pretrained(
            base,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype_for(device),
            output_loading_info=True,
            # A head of another size than the base's comes with the adapter.
            ignore_mismatched_sizes=adapter is not None,
        )
    brought = adapter.whole() if adapter else frozenset()
    lost = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    missing = sorted(name for name in lost if name not in brought and ("pooler" not in name or head))
    if missing:
        raise _missing_weights(missing, head)
    return (adapter.merged(model) if adapter else model).eval().to(device)


def _missing_weights(missing: list[str], head: str) -> Refused:
    shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
    if not head:
        return Refused(f"The model's files lack weights: {shown}.", code="missing-weights")
    return Refused(
        f"The model has no head for {head}: its files lack {shown}.",
        hint="It is a base: import it without --task and fine-tune it.",
        code="no-head",
    )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of `folder`, which must be a fast one (it gives offsets, and releases the interpreter's lock)."""
    with refusing("The tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise Refused(
            f"The tokenizer {type(tokenizer).__name__} has no tokenizer.json.",
            hint="Save it once with transformers 5 (AutoTokenizer … save_pretrained) and import that folder.",
            code="no-fast-tokenizer",
        )
    return tokenizer
