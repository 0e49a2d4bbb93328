"""The Open Inference Protocol, version 2, as tritonclient and KServe's callers speak it.

    inputs   BYTES [n]: `text`; for pairs `text` and `text_pair`; `question` and `context`; or `image`, a file's bytes
             or their base64
    outputs  `output` BYTES [n], one JSON answer a row; for classifiers `label` BYTES [n] and `score` FP32 [n] as well

The request's `parameters` are the task's, but for `binary_data_output`. What the protocol lets a server not know
(sequences, priorities, shared memory, classification) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from bedplate_registry.errors import Refused, nearest
from bedplate_serving.dialects.body import BadItem, as_mapping, parse_items
from bedplate_serving.dialects.call import Call, Reply, ScoringRequest
from bedplate_serving.dialects.tensors import Output, check_outputs, read_inputs, read_request, write_outputs
from bedplate_serving.predictors.base import Predictor
from bedplate_serving.problems import Problem
from bedplate_serving.scoring_paths import find
from bedplate_serving.v2_server import ALIVE, READY, SERVER

__all__ = ["input_names", "parse", "tell_live", "tell_model", "tell_ready", "tell_server"]

Inputs = tuple[tuple[str, ...], tuple[str, ...]]  # the names that must be there, and those that may

TEXT: Inputs = (("text",), ())
INPUTS: Mapping[str, Inputs] = {
    "text-classification": (("text",), ("text_pair",)),
    "question-answering": (("question", "context"), ()),
    "image-classification": (("image",), ()),
}
CLASSIFIERS = ("text-classification", "image-classification")


def input_names(task: str) -> tuple[str, ...]:
    """Of its input tensors, those that must be there first."""
    needed, optional = INPUTS.get(task, TEXT)
    return (*needed, *optional)


def tell_server(call: Call, predictor: Predictor) -> Reply:
    return Reply(SERVER)


def tell_live(call: Call, predictor: Predictor) -> Reply:
    return Reply(ALIVE)


def tell_ready(call: Call, predictor: Predictor) -> Reply:
    """Of the server and of its model: a replica that has not loaded one does not come this far."""
    _version(call)
    return Reply(READY)


def tell_model(call: Call, predictor: Predictor) -> Reply:
    told = {
        "name": call.endpoint,
        "versions": [_version(call)],
        "platform": "bedplate",
        "inputs": [_tensor(name, "BYTES") for name in input_names(predictor.task)],
        "outputs": [_tensor(name, datatype) for name, datatype in _outputs(predictor)],
    }
    return Reply(orjson.dumps(told))


def parse(call: Call, predictor: Predictor) -> ScoringRequest:
    version = _version(call)
    root, binary = read_request(call)
    request_id = root.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 200):
        raise Refused("id must be a string of at most 200 characters.", code="bad-tensor")
    check_outputs(root, [name for name, _ in _outputs(predictor)])
    given = dict(as_mapping(root.get("parameters"), "parameters"))
    given.pop("binary_data_output", None)
    parameters = predictor.parameters(given)
    items = parse_items(_items(read_inputs(root, binary), predictor), predictor, parameters)
    head = {"model_name": call.endpoint, "model_version": version}
    head |= {} if request_id is None else {"id": request_id}
    return ScoringRequest(items, partial(_write, predictor, parameters, head, root))


def _version(call: Call) -> str:
    """The model's, as the path may ask for it. Raises a Problem where it is another."""
    version = call.model.rpartition(":")[2]
    found = find(call.method, call.path)
    if found is not None and found.version not in (None, version):
        detail = f"Version {found.version!r} does not answer here: it is version {version!r}."
        raise Problem(404, "no-version", detail, "Leave the version out, or choose a deployment of the other one.")
    return version


def _tensor(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}


def _outputs(predictor: Predictor) -> list[tuple[str, str]]:
    more = [("label", "BYTES"), ("score", "FP32")] if predictor.task in CLASSIFIERS else []
    return [("output", "BYTES"), *more]


def _items(tensors: Mapping[str, list[str | bytes]], predictor: Predictor) -> list[Any]:
    needed, names = INPUTS.get(predictor.task, TEXT)[0], input_names(predictor.task)
    for name in tensors:
        if name not in names:
            hint = nearest(name, names)
            raise Refused(f"{predictor.task} has no input {name!r}.", hint=hint, code="bad-tensor")
    for name in needed:
        if name not in tensors:
            raise Refused(f"The input {name!r} is missing.", code="bad-tensor")
    if len({len(values) for values in tensors.values()}) > 1:
        sizes = ", ".join(f"{name} {len(values)}" for name, values in tensors.items())
        raise Refused(f"The inputs differ in length: {sizes}.", code="bad-tensor")
    read = _image if "image" in needed else _text
    columns = {name: [read(value) for value in values] for name, values in tensors.items()}
    return [_item(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _item(row: dict[str, Any]) -> Any:
    bad = next((value for value in row.values() if isinstance(value, BadItem)), None)
    return bad or (next(iter(row.values())) if len(row) == 1 else row)


def _text(value: str | bytes) -> str | BadItem:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError as error:
        return BadItem(f"is not UTF-8 at byte {error.start}")


def _image(value: str | bytes) -> str | bytes:
    """In the binary part both a file and its base64 are found; no image file is all ASCII."""
    return value.decode() if isinstance(value, bytes) and value.isascii() and b"\0" not in value else value


def _write(
    predictor: Predictor, parameters: Any, head: Mapping[str, Any], root: Mapping[str, Any], raws: Sequence[Any]
) -> Reply:
    answers = [predictor.answer(raw, parameters) for raw in raws]
    outputs = [Output("output", "BYTES", [orjson.dumps(answer) for answer in answers])]
    if predictor.task in CLASSIFIERS:
        best = [answer[0] for answer in answers]
        outputs.append(Output("label", "BYTES", [one["label"].encode() for one in best]))
        outputs.append(Output("score", "FP32", [one["score"] for one in best]))
    return write_outputs(head, outputs, root)
