"""The header of a safetensors file, checked before anything loads it, without torch.

8 bytes        length of the header, little-endian
header         JSON: {name: {"dtype", "shape", "data_offsets": [start, end]}, …, "__metadata__": {text: text}}
data           the tensors: in bounds, without overlap or hole, up to the last byte of the file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .errors import Refused
from .safe_json import load_json

__all__ = ["Tensor", "read_header"]

MAX_HEADER_BYTES = 25 << 20
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 16
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
    "F4": 4,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)


def read_header(path: Path, name: str) -> list[Tensor]:
    """The tensors of a file, which messages call `name`, or Refused saying what is wrong with it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _bad(name, f"has only {size} bytes")
        length = int.from_bytes(start, "little")
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise _bad(name, f"claims a header of {length} bytes in a file of {size}")
        data = file.read(length)
    return _tensors(_object(data, name), size - 8 - length, name)


def _object(data: bytes, name: str) -> dict[str, Any]:
    if not data.startswith(b"{"):
        raise _bad(name, "has a header that is not a JSON object")
    try:
        header = load_json(data, f"the header of {name}")
    except Refused as exc:
        raise _bad(name, f"is wrong: {exc.message}") from None
    metadata = header.pop("__metadata__", {})
    texts = isinstance(metadata, dict) and all(isinstance(item, str) for item in metadata.values())
    if not texts:
        raise _bad(name, "has metadata that is not texts")
    if len(header) > MAX_TENSORS:
        raise _bad(name, f"has {len(header)} tensors")
    assert isinstance(header, dict)
    return header


def _tensors(header: Mapping[str, Any], data_bytes: int, name: str) -> list[Tensor]:
    placed = sorted((_placed(key, value, name) for key, value in header.items()), key=lambda item: item[:2])
    position = 0
    for start, end, tensor in placed:
        if start != position:
            what = "overlaps another" if start < position else "leaves a gap before it"
            raise _bad(name, f"has the tensor {tensor.name!r}, which {what}")
        position = end
    if position != data_bytes:
        raise _bad(name, f"has {data_bytes} bytes of data where its tensors take {position}")
    return [tensor for _, _, tensor in placed]


def _placed(key: str, value: Any, name: str) -> tuple[int, int, Tensor]:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _bad(name, f"describes the tensor {key[:80]!r} wrongly")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _bad(name, f"has the tensor {key[:80]!r} of the unknown type {str(dtype)[:20]!r}")
    if not _sizes(shape, MAX_DIMENSIONS) or not _sizes(offsets, 2) or len(offsets) != 2:
        raise _bad(name, f"has the tensor {key[:80]!r} with a wrong shape or place")
    tensor = Tensor(key, dtype, tuple(shape))
    bits, (start, end) = tensor.elements * BITS[dtype], offsets
    if bits % 8 or end - start != bits // 8:
        raise _bad(name, f"has the tensor {key[:80]!r}, whose place has not the size of its shape")
    return start, end, tensor


def _sizes(value: Any, most: int) -> bool:
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 63 for item in value)


def _bad(name: str, what: str) -> Refused:
    return Refused(
        f"{name} is not a sound safetensors file: it {what}.",
        hint="Get the file again from where the model came from; if it stays so, tell the author.",
        code="bad-safetensors",
    )
