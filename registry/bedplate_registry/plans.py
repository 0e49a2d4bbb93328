"""Which files of a model are wanted, before any of them is fetched: one format of the weights, and never code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from .errors import Refused
from .names import check_file_path
from .pipelines import choose_weights, is_pipeline
from .sizes import size_text
from .weights import refuse_missing_shards

__all__ = ["ADAPTER_FILES", "Listed", "check_room", "choose_files", "is_adapter", "is_pickle", "is_safetensors"]

# Tokenizers and cards stay well below; what is larger and not weights is data that nothing here reads.
MAX_SMALL_FILE_BYTES = 64 << 20
# Room that must stay on the disk beside the model itself.
SPARE_BYTES = 64 << 20

_SHARD = re.compile(r"model-(\d{5,6})-of-(\d{5,6})\.safetensors")
_PICKLE_SHARD = re.compile(r"pytorch_model-(\d{5,6})-of-(\d{5,6})\.bin")
_PICKLE = "pytorch_model.bin"
_SMALL_NAMES = re.compile(
    r"[\w.\-]+\.json|vocab\.\w+|merges\.txt|[\w.\-]+\.(txt|jinja|tiktoken)|README\.md|LICENSE(\.\w+)?|LICENCE(\.\w+)?"
    r"|NOTICE(\.\w+)?|(tokenizer|spiece|spm|sentencepiece(\.bpe)?|source|target)\.(model|spm)"
)
# sentence-transformers keeps one numbered folder for each module, and templates have a folder of their own.
_SMALL_PATHS = re.compile(r"\d+_\w+/config\.json|additional_chat_templates/[\w.\-]+\.jinja")
# Of a training, and of an adapter: transformers would look for its weights, which are never taken.
_UNWANTED = frozenset(
    ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json", "adapter_config.json")
)
# Beside the parts of a pipeline: a config.json there would make it another kind of model.
_PIPELINE_ROOT = re.compile(r"model_index\.json|README\.md|(LICENSE|LICENCE|NOTICE)(\.\w+)?")
_INDEX = "model.safetensors.index.json"
# Of a PEFT adapter on the model it comes with. In a folder of its own, so that transformers does not find and load it
# by itself: bedplate_serving.predictors.adapters checks it first.
ADAPTER_FILES = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors")
_ADAPTER_NAMES = tuple(PurePosixPath(path).name for path in ADAPTER_FILES)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npz", ".npy", ".msgpack", ".h5", ".keras")
_OTHERS = {".gguf": "GGUF", ".onnx": "ONNX", ".tflite": "TensorFlow Lite", ".mlmodel": "Core ML", ".ot": "rust_model"}


class Listed(Protocol):
    """A file that a Hub or a folder offers."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


F = TypeVar("F", bound=Listed)


def choose_files(files: Iterable[F], *, convert: bool = False) -> list[F]:
    """The files to take, or Refused: no safetensors, no config.json, unsafe names.

    Of an adapter alone its two files, its card and its tokenizer. With `convert` pickles are taken where there are no
    safetensors: somebody will write safetensors of them.
    """
    files = list(files)
    listed = {check_file_path(file.path): file for file in files}
    _refuse_twins([file.path for file in files])
    if is_pipeline(listed):
        wanted = _pipeline_files(listed)
        return [file for path, file in sorted(listed.items()) if path in wanted]
    small = [path for path, file in listed.items() if _is_small(path) and file.size_bytes <= MAX_SMALL_FILE_BYTES]
    if is_adapter(listed):
        own = [path for path in small if path != _INDEX]
        return [listed[path] for path in sorted({*own, *_ADAPTER_NAMES})]
    weights = _weights(list(listed), convert=convert)
    if "config.json" not in listed:
        raise _no_config()
    return [listed[path] for path in sorted({*weights, *small, *_adapter(listed)})]


def is_adapter(paths: Collection[str]) -> bool:
    """Whether these are the files of an adapter alone, as PEFT writes it: its base is elsewhere."""
    return all(name in paths for name in _ADAPTER_NAMES) and not _safetensors(paths)


def is_pickle(path: str) -> bool:
    """Whether it is a file of weights that can be converted."""
    return path == _PICKLE or _PICKLE_SHARD.fullmatch(path) is not None


def is_safetensors(path: str) -> bool:
    """Whether it is a file of weights as they are kept, or their index."""
    return path in ("model.safetensors", _INDEX) or _SHARD.fullmatch(path) is not None


def check_room(root: Path, needed_bytes: int) -> None:
    """Refused where the disk under `root` has no room for so many bytes more."""
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free
    if needed_bytes + SPARE_BYTES > free:
        raise Refused(
            f"The model needs {size_text(needed_bytes)}, and the disk of BEDPLATE_HOME has {size_text(free)} free.",
            hint="Make room, or set BEDPLATE_HOME to a folder on a larger disk.",
            code="disk-full",
        )


def _weights(paths: Sequence[str], *, convert: bool) -> list[str]:
    """The safetensors to take: the whole file, or its shards, as transformers would choose. Else pickles, if wanted."""
    if found := _safetensors(paths) or (_pickles(paths) if convert else []):
        if len(found) > 1 or found[0] not in ("model.safetensors", _PICKLE):
            refuse_missing_shards(found)
        return found
    raise _no_weights(paths)


def _safetensors(paths: Collection[str]) -> list[str]:
    if "model.safetensors" in paths:
        return ["model.safetensors"]
    return [path for path in paths if _SHARD.fullmatch(path)] if _INDEX in paths else []


def _pickles(paths: Collection[str]) -> list[str]:
    if _PICKLE in paths:
        return [_PICKLE]
    return [path for path in paths if _PICKLE_SHARD.fullmatch(path)]


def _pipeline_files(listed: Mapping[str, Listed]) -> set[str]:
    """Of each part one format of the weights, and the small files beside them; the index and the card."""
    weights = choose_weights(listed)
    if not weights:
        raise _no_weights(list(listed))
    root = {path for path in listed if _PIPELINE_ROOT.fullmatch(path)}
    small = {path for path in listed if path.count("/") == 1 and _is_small(path.partition("/")[2])}
    small = {path for path in small if ".safetensors.index." not in path}
    return {*weights, *(path for path in root | small if listed[path].size_bytes <= MAX_SMALL_FILE_BYTES)}


def _adapter(paths: Collection[str]) -> tuple[str, ...]:
    """The files of the adapter, where there is one."""
    config, weights = ADAPTER_FILES
    if config not in paths:
        return ()
    if weights not in paths:
        raise Refused(
            f"The model's adapter has no {PurePosixPath(weights).name}.",
            hint="Save it with PEFT's save_pretrained, which writes safetensors.",
            code="no-weights",
        )
    return ADAPTER_FILES


def _is_small(path: str) -> bool:
    if "/" in path:
        return bool(_SMALL_PATHS.fullmatch(path))
    if path in _UNWANTED or (path.endswith(".index.json") and path != _INDEX):
        return False
    return bool(_SMALL_NAMES.fullmatch(path))


def _no_weights(paths: Sequence[str]) -> Refused:
    if "adapter_model.safetensors" in paths:
        return Refused(
            "The model is an adapter without its adapter_config.json, which names its base.",
            hint="Save it with PEFT's save_pretrained, which writes both.",
            code="adapter-only",
        )
    suffixes = {PurePosixPath(path).suffix.lower(): path for path in sorted(paths, reverse=True)}
    pickles = [suffixes[suffix] for suffix in _PICKLES if suffix in suffixes]
    if pickles:
        shown = (_pickles(paths) or pickles)[0]
        return Refused(
            f"The model has no safetensors weights, only {shown}: a format that can run code when it is loaded.",
            hint='Have it converted in a cage: add --convert-weights (REST: "convert_weights": true).'
            if _pickles(paths) and not is_pipeline(paths)
            else "Convert it on a machine you can spare: AutoModel.from_pretrained(ID).save_pretrained(DIR), then the "
            "tokenizer the same way, and: bedplate import --from DIR --name NAME",
            code="pickle-weights",
        )
    others = [(kind, suffixes[suffix]) for suffix, kind in _OTHERS.items() if suffix in suffixes]
    if others:
        return Refused(
            f"The model has no safetensors weights, only {others[0][0]} ({others[0][1]}).",
            hint="Import the model it was made from: its card names it.",
            code=f"{others[0][0].lower().replace(' ', '-')}-weights",
        )
    return Refused(
        "The model has no model.safetensors.",
        hint="Bedplate imports models in the layout of transformers: config.json beside model.safetensors.",
        code="no-weights",
    )


def _no_config() -> Refused:
    hint = "Bedplate imports models in the layout of transformers: config.json beside model.safetensors."
    return Refused("The model has no config.json.", hint=hint, code="no-config")


def _refuse_twins(paths: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for path in paths:
        twin = seen.get(path.lower())
        if twin == path:
            raise Refused(
                f"The model lists the file {path} twice.",
                hint="Ask its author: readers differ in which they take.",
                code="duplicate-file",
            )
        if twin is not None:
            raise Refused(
                f"The model has two files whose names differ only in case: {twin} and {path}.",
                hint="They would be one file on some disks. Rename one in a copy and import that with --from DIR.",
                code="case-twin",
            )
        seen[path.lower()] = path
