"""Pipelines of diffusers: one folder for each part, and model_index.json, which says what each of them is.

    model_index.json                  {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2D…"], …}
    unet/config.json                  a part: its configuration …
    unet/diffusion_pytorch_model.safetensors    … and its weights; also in shards, and also as a variant (….fp16.…)
    scheduler/scheduler_config.json   a part without weights

A repository offers many formats of the same weights; one is taken. What model_index.json names is checked here before a
loader reads it: classes of diffusers and transformers, never code from the repository.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Refused
from .safe_json import read_json
from .safetensors_header import Tensor
from .weights import read_weights, refuse_missing_shards

__all__ = ["Part", "Pipeline", "choose_weights", "is_pipeline", "pipeline_tensors", "prompt_length", "read_pipeline"]

INDEX = "model_index.json"
_STEMS = ("diffusion_pytorch_model", "model")  # as diffusers and as transformers name weights
_VARIANTS = (None, "fp16", "bf16")  # the full precision first: a loader halves it where the device wants that
_PICKLES = tuple(f"{stem}.bin" for stem in ("diffusion_pytorch_model", "pytorch_model"))
_PART = re.compile(r"[a-z0-9][a-z0-9_]*")
_LIBRARY = re.compile(r"[a-z][a-z0-9_]*")  # a family of pipelines too; a dot would reach into other packages
_CLASS = re.compile(r"[A-Z]\w*")
# Pipelines that want more than a prompt, or give something else than an image.
_OTHER_KINDS = re.compile(
    r"Img2Img|Inpaint|ControlNet|Adapter|Upscale|Depth2Img|Pix2Pix|Edit|Variation|Prior|Combined|Onnx|Flax"
    r"|Video|Audio|Music|3D|2D|AnimateDiff|Wan|LTX|Mochi|Latte|Allegro|Shap|Marigold|ImageTo"
)


@dataclass(frozen=True)
class Part:
    """One component: its folder, the class that reads it, and which variant of its weights is there."""

    name: str
    library: str  # diffusers, transformers, or a family of diffusers' pipelines
    class_name: str
    stem: str | None = None  # how its weights are called; None: it has none
    variant: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """What model_index.json says."""

    class_name: str
    parts: tuple[Part, ...]


def is_pipeline(files: Collection[str]) -> bool:
    """Whether a model of these files is a pipeline, and not one model of transformers."""
    return INDEX in files and not {"model.safetensors", "model.safetensors.index.json"} & set(files)


def choose_weights(paths: Iterable[str]) -> list[str]:
    """The safetensors of every part, with their indexes; Refused where a part has pickles alone."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, slash, name = path.partition("/")
        if slash and "/" not in name:
            folders[folder].add(name)
    chosen: list[str] = []
    for folder, names in sorted(folders.items()):
        found = _weights_in(names)
        if found is None and "config.json" in names and (pickles := names.intersection(_PICKLES)):
            raise _only_pickles(f"{folder}/{min(pickles)}")
        chosen.extend(f"{folder}/{name}" for name in (found.files if found else ()))
    return chosen


def read_pipeline(folder: Path) -> Pipeline:
    """The pipeline in `folder`. Refused: not one that makes images of prompts, or a part that is code or unknown."""
    index = read_json(folder / INDEX, INDEX)
    if not isinstance(index, dict):
        raise _bad(f"is {type(index).__name__}, not an object")
    class_name = index.get("_class_name")
    if not isinstance(class_name, str) or not _CLASS.fullmatch(class_name):
        raise _bad("names no pipeline of diffusers as its _class_name")  # a list names a file of code
    if not class_name.endswith("Pipeline") or _OTHER_KINDS.search(class_name):
        raise Refused(
            f"The model is a {class_name}: only pipelines that make an image of a prompt are served.",
            hint="Import the text-to-image pipeline of its family.",
            code="no-head",
        )
    parts = (_part(folder, name, value) for name, value in sorted(index.items()) if _is_part(name, value))
    return Pipeline(class_name, tuple(parts))


def pipeline_tensors(folder: Path, pipeline: Pipeline) -> list[Tensor]:
    """Every tensor of every part, from the headers. Refused where there is none."""
    tensors = [
        tensor
        for part in pipeline.parts
        if part.stem
        for tensor in read_weights(folder / part.name, part.stem, part.variant, shown=f"{part.name}/")
    ]
    if not tensors:
        raise Refused("No part of the pipeline has safetensors weights.", code="no-weights")
    return tensors


def prompt_length(folder: Path, pipeline: Pipeline) -> int | None:
    """How many tokens of a prompt are read: by the tokenizer that reads most."""
    lengths = []
    for part in pipeline.parts:
        path = folder / part.name / "tokenizer_config.json"
        config = read_json(path, f"{part.name}/{path.name}") if path.is_file() else {}
        length = config.get("model_max_length") if isinstance(config, dict) else None
        if isinstance(length, int) and not isinstance(length, bool) and 0 < length < 1 << 20:
            lengths.append(length)
    return max(lengths, default=None)


@dataclass(frozen=True)
class _Weights:
    files: tuple[str, ...]
    stem: str
    variant: str | None


def _weights_in(names: Collection[str]) -> _Weights | None:
    """The weights to take of one folder, as the loaders would choose: one file, else shards with their index."""
    for variant in _VARIANTS:
        for stem in _STEMS:
            dot = f".{variant}" if variant else ""
            if (single := f"{stem}{dot}.safetensors") in names:
                return _Weights((single,), stem, variant)
            shard = re.compile(rf"{stem}{re.escape(dot)}-\d{{5,6}}-of-\d{{5,6}}\.safetensors")
            shards = sorted(filter(shard.fullmatch, names))
            if shards and (index := f"{stem}.safetensors.index{dot}.json") in names:
                refuse_missing_shards(shards)
                return _Weights((*shards, index), stem, variant)
    return None


def _is_part(name: str, value: Any) -> bool:
    """Other entries are settings; a part that is left out is a pair of nulls."""
    return not name.startswith("_") and isinstance(value, list) and value != [None, None]


def _part(folder: Path, name: str, value: list[Any]) -> Part:
    if len(value) != 2 or not all(isinstance(item, str) for item in value) or not _PART.fullmatch(name):
        raise _bad(f"describes the part {name[:80]!r} wrongly")
    library, class_name = value
    if not _LIBRARY.fullmatch(library) or not _CLASS.fullmatch(class_name) or class_name.endswith("Pipeline"):
        raise Refused(
            f"{INDEX} makes the part {name!r} a {library[:40]}.{class_name[:60]}, which is not loaded here.",
            hint="Parts are classes of diffusers or transformers; no code of a repository is run.",
            code="remote-code",
        )
    found = _weights_in([path.name for path in (folder / name).glob("*")])
    return Part(name, library, class_name, found.stem if found else None, found.variant if found else None)


def _only_pickles(path: str) -> Refused:
    return Refused(
        f"A part of the model has no safetensors weights, only {path}: a format that can run code when it is loaded.",
        hint="Convert it on a machine you can spare: DiffusionPipeline.from_pretrained(ID).save_pretrained(DIR), then: "
        "bedplate import --from DIR --name NAME",
        code="pickle-weights",
    )


def _bad(what: str) -> Refused:
    return Refused(f"{INDEX} {what}.", hint="Get the file again from where the model came from.", code="bad-config")
