"""Tensors of the Open Inference Protocol in a body, and its binary extension, both ways.

    body    JSON                                                     all data inside it
            JSON | data of the 1st binary tensor | of the 2nd …      where Inference-Header-Content-Length says how
                                                                     long the JSON is, and each such tensor its
                                                                     parameters.binary_data_size
    BYTES   for each element: its length in 4 bytes, little endian | the element
    FP32    4 bytes each, little endian

All of it comes from strangers: each length is checked against what is there before anything is cut or counted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import orjson

from bedplate_registry.errors import Refused
from bedplate_serving.dialects.body import as_mapping, read_object, refuse_too_many
from bedplate_serving.dialects.call import Call, Reply
from bedplate_serving.problems import Problem

__all__ = ["LENGTH_HEADER", "Output", "check_outputs", "read_inputs", "read_request", "write_outputs"]

LENGTH_HEADER = "inference-header-content-length"
MAX_TENSORS = 16
MAX_DIMENSIONS = 4
KEYS = ("id", "parameters", "inputs", "outputs")
INPUT_KEYS = ("name", "shape", "datatype", "parameters", "data")


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer: BYTES of bytes, or FP32 of floats; a row of it for each item."""

    name: str
    datatype: str
    values: Sequence[Any]


def read_request(call: Call) -> tuple[dict[str, Any], memoryview]:
    """The JSON of a request, and the binary data behind it."""
    said = call.headers.get(LENGTH_HEADER)
    if said is None:
        return read_object(call.body, KEYS), memoryview(b"")
    if not (said.isascii() and said.isdigit() and len(said) < 12) or int(said) > len(call.body):
        detail = f"Inference-Header-Content-Length is {said[:100]!r}; the body has {len(call.body)} bytes."
        raise Problem(400, "bad-tensor", detail, "It is the length of the JSON at the body's beginning.")
    length = int(said)
    return read_object(call.body[:length], KEYS), memoryview(call.body)[length:]


def read_inputs(root: Mapping[str, Any], binary: memoryview) -> dict[str, list[str | bytes]]:
    """The input tensors by name: str as it stands in JSON, bytes from the binary part."""
    inputs = _tensor_list(root.get("inputs"), "inputs")
    if not inputs:
        raise _refused("The body has no inputs.")
    tensors: dict[str, list[str | bytes]] = {}
    for raw in inputs:
        name = _name(raw, "input")
        if name in tensors:
            raise _refused(f"The input {name!r} is there twice.")
        size = _binary_size(raw, name)
        if size is not None and size > len(binary):
            raise _refused(f"The input {name!r} says binary_data_size {size}, but {len(binary)} bytes are left.")
        part, binary = (memoryview(b""), binary) if size is None else (binary[:size], binary[size:])
        tensors[name] = _values(raw, name, None if size is None else part)
    if len(binary):
        raise _refused(f"{len(binary)} bytes at the body's end belong to no input.")
    return tensors


def _tensor_list(value: Any, what: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _refused(f"{what} must be a list of tensors.")
    if len(value) > MAX_TENSORS:
        raise _refused(f"There are {len(value)} {what}; at most {MAX_TENSORS} are taken.")
    return value


def _name(raw: Mapping[str, Any], what: str) -> str:
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise _refused(f"An {what} has no name.")
    return name[:100]


def _binary_size(raw: Mapping[str, Any], name: str) -> int | None:
    parameters = as_mapping(raw.get("parameters"), f"The parameters of {name!r}")
    for key in parameters:
        if key != "binary_data_size":
            raise _refused(f"The input {name!r} has the parameter {key[:100]!r}, which is not taken here.")
    size = parameters.get("binary_data_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise _refused(f"The input {name!r} says binary_data_size {str(size)[:100]}; it must be a number of bytes.")
    return size


def _values(raw: Mapping[str, Any], name: str, binary: memoryview | None) -> list[str | bytes]:
    for key in raw:
        if key not in INPUT_KEYS:
            raise _refused(f"The input {name!r} has the unknown key {key[:100]!r}.")
    if raw.get("datatype") != "BYTES":
        raise _refused(f"The input {name!r} is {str(raw.get('datatype'))[:100]!r}; it must be BYTES.")
    count = _count(raw.get("shape"), name)
    if binary is not None:
        if "data" in raw:
            raise _refused(f"The input {name!r} has both data and binary_data_size.")
        return _split(binary, count, name)
    values = _flat(raw.get("data"))
    if not all(isinstance(value, str) for value in values):
        raise _refused(f"The data of the input {name!r} must be a list of strings.")
    if len(values) != count:
        raise _refused(f"The input {name!r} has {len(values)} elements, but its shape says {count}.")
    return values


def _count(shape: Any, name: str) -> int:
    """How many rows: every dimension but the first is 1."""
    whole = isinstance(shape, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in shape)
    if not whole or not 1 <= len(shape) <= MAX_DIMENSIONS or any(one < 0 for one in shape):
        raise _refused(f"The shape of the input {name!r} must be [n] or [n, 1].")
    if prod(shape[1:]) != 1:
        raise _refused(f"The shape of the input {name!r} is {shape}; it must be [n] or [n, 1]: one text a row.")
    refuse_too_many(shape[0])
    return int(shape[0])


def _flat(data: Any) -> list[Any]:
    """Data may be nested as its shape is: rows of one."""
    if not isinstance(data, list):
        return [data]
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]


def _split(binary: memoryview, count: int, name: str) -> list[str | bytes]:
    values: list[str | bytes] = []
    place = 0
    while place < len(binary) and len(values) <= count:
        if place + 4 > len(binary):
            raise _refused(f"The data of the input {name!r} end inside an element's length.")
        (length,) = struct.unpack_from("<I", binary, place)
        place += 4
        if length > len(binary) - place:
            raise _refused(f"An element of the input {name!r} says {length} bytes, but {len(binary) - place} are left.")
        values.append(bytes(binary[place : place + length]))
        place += length
    if len(values) != count or place != len(binary):
        raise _refused(f"The data of the input {name!r} do not hold the {count} elements of its shape.")
    return values


def _refused(message: str) -> Refused:
    return Refused(message, code="bad-tensor")


# --- outputs


def write_outputs(head: Mapping[str, Any], outputs: Sequence[Output], root: Mapping[str, Any]) -> Reply:
    """The outputs that were asked for, each in JSON or behind it as the request wants it."""
    wanted = _wanted(root, outputs)
    told, parts = [], []
    for output, is_binary in wanted:
        raw: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": [len(output.values)]}
        if is_binary:
            parts.append(_packed(output))
            raw["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            raw["data"] = [one.decode() if isinstance(one, bytes) else one for one in output.values]
        told.append(raw)
    text = orjson.dumps({**head, "outputs": told})
    if not parts:
        return Reply(text)
    length = ("inference-header-content-length", str(len(text)))
    return Reply(b"".join([text, *parts]), "application/octet-stream", [length])


def check_outputs(root: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises Refused for an output there is none of, before anything is worked on."""
    for raw in _tensor_list(root.get("outputs"), "outputs"):
        if _name(raw, "output") not in names:
            raise _refused(f"There is no output {raw['name'][:100]!r}. There are: {', '.join(names)}.")
        for key in as_mapping(raw.get("parameters"), "The parameters of an output"):
            if key != "binary_data":
                raise _refused(f"The output {raw['name']!r} has the parameter {key[:100]!r}, which is not taken here.")


def _wanted(root: Mapping[str, Any], outputs: Sequence[Output]) -> list[tuple[Output, bool]]:
    default = bool(as_mapping(root.get("parameters"), "parameters").get("binary_data_output"))
    asked = _tensor_list(root.get("outputs"), "outputs")
    if not asked:
        return [(output, default) for output in outputs]
    by_name = {output.name: output for output in outputs}
    return [(by_name[raw["name"]], bool((raw.get("parameters") or {}).get("binary_data", default))) for raw in asked]


def _packed(output: Output) -> bytes:
    if output.datatype == "FP32":
        return struct.pack(f"<{len(output.values)}f", *output.values)
    return b"".join(struct.pack("<I", len(one)) + one for one in output.values)
