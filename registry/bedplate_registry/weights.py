"""The safetensors of a folder: one file, or shards that an index names. Tensors are read from the headers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import Refused
from .safe_json import read_json
from .safetensors_header import Tensor, read_header

__all__ = ["read_weights", "refuse_missing_shards"]

_NUMBERS = re.compile(r"-(\d+)-of-(\d+)\.(?:safetensors|bin)$")


def read_weights(folder: Path, stem: str = "model", variant: str | None = None, *, shown: str = "") -> list[Tensor]:
    """All tensors of `stem`.safetensors (`stem`.fp16.safetensors), or of its shards.

    Messages put `shown` before each name. Raises Refused: no-weights, or bad-safetensors.
    """
    dot = f".{variant}" if variant else ""
    single = folder / f"{stem}{dot}.safetensors"
    if single.is_file():
        return read_header(single, f"{shown}{single.name}")
    index = folder / f"{stem}.safetensors.index{dot}.json"
    if not index.is_file():
        message = f"The model has no {shown}{single.name}."
        raise Refused(message, hint="Save it with save_pretrained.", code="no-weights")
    name = f"{shown}{index.name}"
    weight_map = read_json(index, name)
    weight_map = weight_map.get("weight_map") if isinstance(weight_map, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise _bad_index(name, "has no weight_map")
    return _read_shards(folder, weight_map, name)


def refuse_missing_shards(shards: Sequence[str]) -> None:
    """Refuse shards (at least one) that are not all there, by the numbers in their names."""
    numbers = [(int(match[1]), int(match[2])) for shard in shards if (match := _NUMBERS.search(shard))]
    totals = {total for _, total in numbers}
    if len(totals) != 1 or {number for number, _ in numbers} != set(range(1, max(totals) + 1)):
        raise Refused(
            f"The model's weights are incomplete: {len(shards)} of {max(totals)} files are there.",
            hint=f"Get the whole model; the files are numbered {_NUMBERS.sub('', shards[0])}-00001-of-….",
            code="no-weights",
        )


def _read_shards(folder: Path, weight_map: Mapping[str, str], index: str) -> list[Tensor]:
    known = {path.name for path in folder.glob("*.safetensors")}
    found: list[Tensor] = []
    for shard in sorted(set(weight_map.values())):
        if shard not in known:
            raise _bad_index(index, f"names the file {shard[:80]!r}, which is not there")
        tensors = read_header(folder / shard, shard)
        stray = [tensor.name for tensor in tensors if weight_map.get(tensor.name) != shard]
        if stray:
            raise _bad_index(index, f"does not place the tensor {stray[0][:80]!r} of {shard}")
        found.extend(tensors)
    if lost := set(weight_map) - {tensor.name for tensor in found}:
        raise _bad_index(index, f"places the tensor {min(lost)[:80]!r}, which no file has")
    return found


def _bad_index(index: str, what: str) -> Refused:
    hint = "Get the files again from where the model came from."
    return Refused(f"{index} {what}.", hint=hint, code="bad-safetensors")
