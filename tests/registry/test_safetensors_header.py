"""The header of a safetensors file is checked before anything loads it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.safetensors_header import read_header

GOOD = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}


def built(header: Any, data_bytes: int = 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data_bytes)


def refused(tmp_path: Path, data: bytes) -> Refused:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(Refused) as caught:
        read_header(path, path.name)
    assert caught.value.code == "bad-safetensors" and path.name in caught.value.message
    return caught.value


def test_a_sound_file_lists_its_tensors(tmp_path: Path, safetensors_bytes: Callable[..., bytes]) -> None:
    path = tmp_path / "x"
    path.write_bytes(safetensors_bytes({"b": ("F16", (3, 2)), "a": ("I64", ()), "e": ("F32", (0, 4))}))
    found = [(tensor.name, tensor.dtype, tensor.shape, tensor.elements) for tensor in read_header(path, "x")]
    assert sorted(found) == [("a", "I64", (), 1), ("b", "F16", (3, 2), 6), ("e", "F32", (0, 4), 0)]


def test_padding_after_the_header_is_part_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(built(json.dumps(GOOD).encode() + b"   "))
    assert len(read_header(path, "x")) == 1


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = built(GOOD)
    for length in range(len(data)):
        refused(tmp_path, data[:length])


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [4, 20]}},
        {"a": {"dtype": "X9", "shape": [2, 2], "data_offsets": [0, 16]}},
        {"a": {"dtype": ["F32"], "shape": [2, 2], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [1 << 63, 2], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [2.0, 2], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [True, 4], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": "22", "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [1] * 40 + [4], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 8, 16]}},
        {"a": {"dtype": "F32", "shape": [2, 2]}},
        {"a": {**GOOD["a"], "more": 1}},
        {"a": [0, 16]},
        {"a": GOOD["a"], "b": GOOD["a"]},
        {"__metadata__": {"format": 1}, **GOOD},
        {"__metadata__": [], **GOOD},
        {},
        [],
        b"",
        b'{"a": ',
        b'{"a": NaN}',
        b'{"a":' * 200_000,
        b"\x80\x04\x95pickle",
        json.dumps(GOOD).encode()[:-1] + b"," + json.dumps(GOOD).encode()[1:],
        b" " + json.dumps(GOOD).encode(),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, header: Any) -> None:
    refused(tmp_path, built(header))


def test_overlap_hole_and_trailing_bytes_are_named(tmp_path: Path) -> None:
    two = {name: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for name in "ab"}
    assert "overlaps" in refused(tmp_path, built(two, 8)).message
    two["b"]["data_offsets"] = [9, 17]
    assert "gap" in refused(tmp_path, built(two, 17)).message
    assert "17 bytes of data" in refused(tmp_path, built(GOOD, 17)).message


@pytest.mark.parametrize("length", [0, 1, 1 << 63, (1 << 64) - 1, 26 << 20])
def test_a_header_length_that_cannot_be_is_refused_at_once(tmp_path: Path, length: int) -> None:
    start = time.perf_counter()
    refused(tmp_path, length.to_bytes(8, "little") + b"{}" * 100)
    assert time.perf_counter() - start < 1


def test_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05torch" + bytes(1000))
