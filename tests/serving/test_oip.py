"""Tensors of the Open Inference Protocol: what is read, and what strangers may write into lengths and shapes."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import serialize_byte_tensor

from bedplate_registry.errors import Refused
from bedplate_serving.dialects import MAX_ITEMS, Call
from bedplate_serving.dialects.tensors import Output, check_outputs, read_inputs, read_request, write_outputs
from bedplate_serving.problems import Problem

TEXTS = ["", "a", "grüße 🌍", "x" * 300]


def call(body: bytes, length: Any = None) -> Call:
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    return Call(method="POST", path="/", body=body, headers=headers, deadline=0, model="a:1", endpoint="a", sample={})


def read(body: bytes, length: Any = None) -> dict[str, list[Any]]:
    return read_inputs(*read_request(call(body, length)))


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]} | changes


def bytes_of(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def binary(data: bytes, /, count: int = 1, size: Any = None, **changes: Any) -> tuple[bytes, int]:
    one = {"name": "text", "shape": [count], "datatype": "BYTES"}
    one["parameters"] = {"binary_data_size": len(data) if size is None else size}
    head = json.dumps({"inputs": [one | changes]}).encode()
    return head + data, len(head)


def test_data_in_json_and_behind_it_are_the_same() -> None:
    rows = [text.encode() for text in TEXTS]
    assert read(json.dumps({"inputs": [tensor(shape=[4], data=TEXTS)]}).encode()) == {"text": TEXTS}
    assert (
        read(json.dumps({"inputs": [tensor(shape=[4, 1], data=[[text] for text in TEXTS])]}).encode())["text"] == TEXTS
    )
    assert read(*binary(bytes_of(*rows), 4)) == {"text": rows}
    theirs = serialize_byte_tensor(np.array(rows, dtype=object)).item()
    assert read(*binary(theirs, 4)) == {"text": rows}


def test_several_tensors_lie_one_behind_the_other() -> None:
    first, second = bytes_of(b"q"), bytes_of(b"context")
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        for name, data in (("question", first), ("context", second))
    ]
    head = json.dumps({"inputs": inputs}).encode()
    assert read(head + first + second, len(head)) == {"question": [b"q"], "context": [b"context"]}


@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "0x10", " 5", "", "٣", "99999999", "9" * 5000, "1_0", "5.0"])
def test_a_length_of_the_json_that_cannot_be_is_a_400(length: str) -> None:
    body, _ = binary(bytes_of(b"hi"))
    with pytest.raises(Problem) as caught:
        read(body, length)
    assert (caught.value.status, caught.value.code) == (400, "bad-tensor")
    assert len(caught.value.detail) < 300


def test_a_length_that_cuts_the_json_is_no_json() -> None:
    body, length = binary(bytes_of(b"hi"))
    for wrong in (0, 1, length - 1, length + 1, len(body)):
        with pytest.raises(Problem) as caught:
            read(body, wrong)
        assert caught.value.code == "bad-json"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (binary(b"", size=-1), "must be a number of bytes"),
        (binary(b"", size="5"), "must be a number of bytes"),
        (binary(b"", size=True), "must be a number of bytes"),
        (binary(b"", size=2.5), "must be a number of bytes"),
        (binary(b"", size=10**30), "must be a number of bytes"),
        (binary(bytes_of(b"hi"), size=7), "6 bytes are left"),
        (binary(bytes_of(b"hi"), size=5), "5 bytes|belong to no input|1 are left"),
        (binary(bytes_of(b"hi") + b"rest", size=6), "4 bytes at the body's end belong to no input"),
        (binary(bytes_of(b"a", b"b")), "do not hold the 1 elements"),
        (binary(bytes_of(b"a"), 2), "do not hold the 2 elements"),
        (binary(b"\x01\0"), "end inside an element's length"),
        (binary(b"\xff\xff\xff\xffabc"), "says 4294967295 bytes, but 3 are left"),
        (binary(bytes_of(b"a"), data=["a"]), "both data and binary_data_size"),
        (binary(bytes_of(b"a"), parameters={"shared_memory_region": "x"}), "'shared_memory_region'"),
        (binary(bytes_of(b"a"), parameters=[1]), "must be an object"),
    ],
)
def test_binary_data_that_are_not_what_they_say_are_refused(body: tuple[bytes, int], message: str) -> None:
    with pytest.raises((Refused, Problem)) as caught:
        read(*body)
    assert any(part in str(caught.value) for part in message.split("|"))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "no inputs"),
        ([], "no inputs"),
        ({}, "must be a list of tensors"),
        (["text"], "must be a list of tensors"),
        ([tensor()] * 17, "at most 16"),
        ([tensor(), tensor()], "there twice"),
        ([tensor(name=None)], "no name"),
        ([tensor(name=5)], "no name"),
        ([tensor(datatype="FP32")], "must be BYTES"),
        ([tensor(datatype=None)], "must be BYTES"),
        ([tensor(shape=None)], r"must be [n] or [n, 1]"),
        ([tensor(shape=[])], r"must be [n] or [n, 1]"),
        ([tensor(shape=[-2])], r"must be [n] or [n, 1]"),
        ([tensor(shape=[2.0])], r"must be [n] or [n, 1]"),
        ([tensor(shape=[True])], r"must be [n] or [n, 1]"),
        ([tensor(shape=[1] * 5)], r"must be [n] or [n, 1]"),
        ([tensor(shape=[2, 2])], "one text a row"),
        ([tensor(shape=[2, 0])], "one text a row"),
        ([tensor(shape=[3])], "has 2 elements, but its shape says 3"),
        ([tensor(data=[1, 2])], "list of strings"),
        ([tensor(data="ab")], "has 1 elements"),
        ([tensor(data=None)], "list of strings"),
        ([tensor(data=[["a", "b"]])], "list of strings"),
        ([tensor(dtype="BYTES")], "unknown key 'dtype'"),
    ],
)
def test_a_tensor_that_is_none_is_refused_with_its_reason(inputs: Any, message: str) -> None:
    with pytest.raises(Refused) as caught:
        read(json.dumps({"inputs": inputs}).encode())
    assert message in caught.value.message
    assert caught.value.code in ("bad-tensor", "bad-parameter")


def test_a_shape_beyond_what_one_request_may_have_is_a_413_before_anything_is_counted() -> None:
    for shape in ([MAX_ITEMS + 1], [2**62], [2**62, 1]):
        with pytest.raises(Problem) as caught:
            read(json.dumps({"inputs": [tensor(shape=shape)]}).encode())
        assert (caught.value.status, caught.value.code) == (413, "too-many-items")


def test_a_million_lengths_of_nothing_are_not_read_to_their_end() -> None:
    body, length = binary(b"\0" * 4_000_000, 1)
    with pytest.raises(Refused, match="do not hold the 1 elements"):
        read(body, length)


OUTPUTS = [Output("output", "BYTES", [b'{"a":1}', "grüße".encode()]), Output("score", "FP32", [0.25, 1.0])]


def test_outputs_come_as_they_are_asked_for_and_tritons_client_reads_them() -> None:
    def written(**root: Any) -> triton.InferResult:
        reply = write_outputs({"model_name": "m"}, OUTPUTS, root)
        lengths = dict(reply.headers)
        assert (reply.content_type == "application/octet-stream") == bool(lengths)
        length = lengths.get("inference-header-content-length")
        return triton.InferResult.from_response_body(reply.body, header_length=length)

    for root in (
        {},
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "output", "parameters": {"binary_data": True}}, {"name": "score"}]},
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": "score"}, {"name": "output"}]},
    ):
        result = written(**root)
        texts = [one.decode() if isinstance(one, bytes) else one for one in result.as_numpy("output")]
        assert texts == ['{"a":1}', "grüße"]
        assert result.as_numpy("score").tolist() == [0.25, 1.0]
    assert written(outputs=[{"name": "score"}]).as_numpy("output") is None


def test_outputs_there_are_none_of_are_refused_before_the_model_works() -> None:
    for outputs, message in (
        ([{"name": "logits"}], "no output 'logits'. There are: output, score"),
        ([{"name": "score", "parameters": {"classification": 3}}], "'classification'"),
        ([{"parameters": {}}], "no name"),
        ("score", "must be a list"),
        ([{"name": "score"}] * 17, "at most 16"),
    ):
        with pytest.raises(Refused) as caught:
            check_outputs({"outputs": outputs}, ["output", "score"])
        assert message in caught.value.message
