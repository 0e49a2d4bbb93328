"""A pipeline of diffusers as it is loaded: from safetensors, part by part, from classes of diffusers and transformers.

Each part must find all of its weights. No code that lies beside a model is run.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from bedplate_registry.errors import Refused
from bedplate_registry.pipelines import Part, read_pipeline
from bedplate_registry.safe_json import read_json
from bedplate_serving.predictors.loading import dtype_for
from bedplate_serving.predictors.refusing import refusing

__all__ = [
    "MAX_SIDE",
    "default_size",
    "default_steps",
    "load_pipeline",
    "longest_tokenizer",
    "prompt_tokens",
    "schedulers_for",
]

MAX_SIDE = 2048
MAX_TRAIN_STEPS = 10_000  # of a scheduler, which keeps a number for each; models have a thousand
USUAL_SIDE, USUAL_STEPS = 1024, 50  # of a pipeline that does not say


def load_pipeline(folder: Path, device: str) -> Any:
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    described = read_pipeline(folder)
    parts = {part.name: _load_part(folder, part, device) for part in described.parts}
    with refusing("The pipeline"):
        pipeline_class = getattr(diffusers, described.class_name)
        pipeline = pipeline_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **parts)
        if "prompt" not in inspect.signature(pipeline.__call__).parameters:
            raise Refused(f"{described.class_name} takes no prompt.", code="no-head")
        _check_size(*default_size(pipeline))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _load_part(folder: Path, part: Part, device: str) -> Any:
    """One component in eval mode, or a tokenizer, a scheduler. Weights missing from its files are refused."""
    where = folder / part.name
    with refusing(f"The model's {part.name}"):
        kind = _class_of(part)
        if not issubclass(kind, torch.nn.Module):
            _check_scheduler(where / "scheduler_config.json")
            return kind.from_pretrained(where, local_files_only=True)
        options: dict[str, Any] = {"trust_remote_code": False} if issubclass(kind, PreTrainedModel) else {}
        model, info = kind.from_pretrained(
            where,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype_for(device),
            variant=part.variant,
            output_loading_info=True,
            **options,
        )
    if missing := sorted(info["missing_keys"]):
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise Refused(f"The files of the model's {part.name} lack weights: {shown}.", code="missing-weights")
    return model.eval().to(device)


def _class_of(part: Part) -> type[Any]:
    """The class that a part names, which must be one of transformers or diffusers. (model_index.json was checked.)"""
    if part.library in ("diffusers", "transformers"):
        module = import_module(part.library)
    else:  # a family of pipelines with parts of its own: the safety checker
        module = getattr(import_module("diffusers.pipelines"), part.library)
    name = part.class_name
    if not hasattr(module, name):  # as transformers called its image processors until version 5
        name = name.replace("FeatureExtractor", "ImageProcessor")
    kind = getattr(module, name)
    if not isinstance(kind, type) or not kind.__module__.startswith(("diffusers.", "transformers.")):
        raise ValueError(f"{part.library}.{part.class_name} is no class of diffusers or transformers")
    return kind


def schedulers_for(pipeline: Any) -> dict[str, Any]:
    """By name, the model's own among them; without the stand-ins (`_backends`) for classes whose library is missing."""
    own = type(pipeline.scheduler)
    others = pipeline.scheduler.compatibles if getattr(pipeline.scheduler, "has_compatibles", False) else []
    found = {kind.__name__: kind for kind in others if not hasattr(kind, "_backends")}
    return {**dict(sorted(found.items())), own.__name__: own}


def longest_tokenizer(pipeline: Any) -> Any:
    """The tokenizer that reads most of a prompt: of several text encoders one reads it all (SD3, Flux)."""
    tokenizers = [part for name, part in pipeline.components.items() if name.startswith("tokenizer") and part]
    return max(tokenizers, key=lambda tokenizer: tokenizer.model_max_length, default=None)


def prompt_tokens(pipeline: Any) -> int | None:
    """As many of a prompt's tokens are read; None where there is no limit, which tokenizers write as 1e30."""
    own = getattr(longest_tokenizer(pipeline), "model_max_length", None)
    asked = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    limits = (own, None if asked is None else asked.default)
    return min((limit for limit in limits if isinstance(limit, int) and limit < 1_000_000), default=None)


def default_size(pipeline: Any) -> tuple[int, int]:
    """Width and height of an image where nobody asks for others, as pipelines work it out."""
    model = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    own = getattr(getattr(model, "config", None), "sample_size", None)
    side = getattr(pipeline, "default_sample_size", None) or own
    if side is None:
        stated = inspect.signature(pipeline.__call__).parameters
        return tuple(_stated(stated, name, USUAL_SIDE) for name in ("width", "height"))  # type: ignore[return-value]
    height, width = side if isinstance(side, list | tuple) else (side, side)
    scale = getattr(pipeline, "vae_scale_factor", 1)
    return int(width * scale), int(height * scale)


def default_steps(pipeline: Any) -> int:
    return _stated(inspect.signature(pipeline.__call__).parameters, "num_inference_steps", USUAL_STEPS)


def _stated(parameters: Any, name: str, usual: int) -> int:
    default = parameters[name].default if name in parameters else None
    return default if isinstance(default, int) else usual


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise Refused(
            f"The model draws {width:,} x {height:,} pixels by default; an image may have {MAX_SIDE} on a side.",
            hint="Correct sample_size in the config.json of its unet or transformer.",
            code="bad-config",
        )


def _check_scheduler(path: Path) -> None:
    """Before it is loaded: it makes a table of its steps at once."""
    config = read_json(path, path.name) if path.is_file() else {}
    steps = config.get("num_train_timesteps", 1) if isinstance(config, dict) else None
    if not isinstance(steps, int) or not 0 < steps <= MAX_TRAIN_STEPS:
        raise Refused(
            f"The model's scheduler has num_train_timesteps = {str(steps)[:40]}; it may have {MAX_TRAIN_STEPS:,}.",
            hint="Correct scheduler_config.json.",
            code="bad-config",
        )
