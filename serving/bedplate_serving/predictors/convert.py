"""The conversion of an import: reads weights that are pickles as data alone, and writes them as safetensors.

    python -m bedplate_serving.predictors.convert FOLDER TARGET

    {"ok": true, "tools": {"torch": "2.13.0", …}}                                    exit 0
    {"ok": false, "error": {"code", "message", "hint"}}                              exit 1

FOLDER holds pytorch_model.bin, or its shards, beside config.json. A pickle is a program; torch's reader of weights runs
none of it but what makes tensors, and refuses the rest by name. Run in a cage all the same.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.plans import is_pickle
from bedplate_registry.safe_json import read_json

__all__ = ["convert", "main"]

MAX_SHARD_BYTES = 5 * 10**9
# Tensors may share memory, as tied ones do; written apart they take some times what the pickles have, and no more.
MOST_GROWTH = 4
SPARE_BYTES = 4 << 30  # of memory, beside the tensors: torch itself
INSIDE = ("state_dict", "model")  # where a training may have put the weights
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # how torch's reader names what it refuses


def main(arguments: list[str] | None = None) -> int:
    folder, target = map(Path, sys.argv[1:] if arguments is None else arguments)
    _limit_memory(folder)
    try:
        report: dict[str, Any] = {"ok": True, "tools": convert(folder, target)}
    except BedplateError as error:
        report = {"ok": False, "error": error.to_json()}
    print(json.dumps(report), flush=True)
    return 0 if report["ok"] else 1


def convert(folder: Path, target: Path) -> dict[str, str]:
    """Writes model.safetensors, or shards with their index, to `target`; the versions of what did it.

    Raises Refused: pickle-refused for what is more than tensors, or bad-pickle.
    """
    import torch
    from huggingface_hub import save_torch_state_dict

    state: dict[str, Any] = {}
    for path in _pickles(folder):
        for name, tensor in _tensors(path):
            if name in state:
                raise _bad(path.name, f"holds the tensor {name[:80]!r}, which another file holds as well")
            state[name] = tensor
    if not state:
        raise _bad("The pickle", "holds no tensors")
    _check_growth(folder, state)
    save_torch_state_dict(_apart(state, _tied(folder)), target, max_shard_size=MAX_SHARD_BYTES)
    return _versions(torch)


def _pickles(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_pickle(path.name))


def _pickle_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _pickles(folder))


def _check_growth(folder: Path, state: Mapping[str, Any]) -> None:
    """A few bytes can be seen as a tensor of any size. It would be written as that."""
    size, most = sum(tensor.numel() * tensor.element_size() for tensor in state.values()), _pickle_bytes(folder)
    if size > MOST_GROWTH * most:
        raise _bad("The pickle", f"has {most} bytes, and tensors that would take {size}")


def _limit_memory(folder: Path) -> None:
    """What a pickle may have torch allocate, where the platform limits that: a bomb ends this process alone."""
    try:
        import resource

        most = SPARE_BYTES + MOST_GROWTH * _pickle_bytes(folder)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ImportError, OSError, ValueError, OverflowError) as error:
        print(f"without a limit of memory ({error})", file=sys.stderr)


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    import torch

    state = _load(path)
    for key in INSIDE:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise _bad(path.name, f"holds a {type(state).__name__}, and no tensors by name")
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise _bad(path.name, f"holds a tensor under {str(name)[:80]!r}, which is no text")
        if not isinstance(tensor, torch.Tensor):
            raise _bad(path.name, f"holds a {type(tensor).__name__} under {name[:80]!r}, and no tensor")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise _bad(path.name, f"holds {name[:80]!r}, which is sparse, quantized or without data")
        yield name, tensor.detach()


def _load(path: Path) -> Any:
    import torch

    try:
        # Only the newer of torch's two formats is an archive, whose tensors need not be read into memory.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - a stranger's file: whatever it makes of the reader is one answer
        print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr)
        if found := GLOBAL.search(str(error)):
            raise Refused(
                f"{path.name} asks for {found[1][:100]} when it is read, and holds more than weights: nothing was run.",
                hint="Do not load it elsewhere either. Choose a model with safetensors weights.",
                code="pickle-refused",
            ) from None
        raise _bad(path.name, "cannot be read as weights alone: it is damaged, or no saved state_dict") from None


def _tied(folder: Path) -> Mapping[str, str]:
    """The weights that transformers makes of others when it loads this model: name -> the one it is made of."""
    import transformers

    config = read_json(folder / "config.json", "config.json")
    names = config.get("architectures") if isinstance(config, dict) else None
    architecture = getattr(transformers, str(names[0]), None) if isinstance(names, list) and names else None
    tied = getattr(architecture, "_tied_weights_keys", None)
    config_class = getattr(architecture, "config_class", None)
    if not isinstance(tied, dict) or config_class is None:
        return {}
    is_tied = config.get("tie_word_embeddings", getattr(config_class(), "tie_word_embeddings", False))
    return tied if is_tied is True else {}


def _apart(state: Mapping[str, Any], tied: Mapping[str, str]) -> dict[str, Any]:
    """Tensors that share no memory. The same one under two names is kept once where transformers ties the two again."""
    found: dict[str, Any] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        if name in tied and _is_same(tensor, state.get(tied[name])):
            continue
        place = tensor.untyped_storage().data_ptr()
        is_part = tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()
        found[name] = tensor.contiguous().clone() if place in taken or is_part else tensor.contiguous()
        taken.add(place)
    return found


def _is_same(tensor: Any, other: Any) -> bool:
    """Whether two are one place in memory, seen the same way."""
    if other is None or tensor is other:
        return other is not None
    return bool(
        tensor.data_ptr() == other.data_ptr()
        and tensor.shape == other.shape
        and tensor.stride() == other.stride()
        and tensor.dtype == other.dtype
    )


def _versions(torch: Any) -> dict[str, str]:
    import safetensors
    import transformers

    return {module.__name__: str(module.__version__) for module in (torch, safetensors, transformers)}


def _bad(name: str, what: str) -> Refused:
    return Refused(
        f"{name} {what}.",
        hint="Save it elsewhere with transformers' save_pretrained, and import that: bedplate import --from DIR",
        code="bad-pickle",
    )


if __name__ == "__main__":
    sys.exit(main())
