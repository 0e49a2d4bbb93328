"""The bodies of the Hub's and of Azure's callers, as reference documents and client code show them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from bedplate_registry.errors import BedplateError, Refused
from bedplate_serving.dialects import MAX_ITEMS, Call, Reply, ScoringRequest
from bedplate_serving.dialects.azure import parse as parse_azure
from bedplate_serving.dialects.document import endpoint_document
from bedplate_serving.dialects.hub import parse as parse_hub
from bedplate_serving.predictors import BadItems, Predictor, load_predictor
from bedplate_serving.predictors.text import TextItem
from bedplate_serving.problems import Problem
from bedplate_serving.queues import DeadlineExceeded


@pytest.fixture(scope="module")
def predictor(tiny: Path) -> Predictor:
    return load_predictor(tiny, "text-classification", device="cpu", threads=1)


def call(body: bytes, **headers: str) -> Call:
    return Call(
        method="POST", path="/", body=body, headers=headers, deadline=0, model="acme/x:1", endpoint="x", sample={}
    )


def azure(body: Any, predictor: Predictor) -> list[TextItem]:
    return list(parse_azure(call(orjson.dumps(body)), predictor).items)


def hub(body: bytes, predictor: Predictor) -> ScoringRequest:
    request = parse_hub(call(body), predictor)
    assert isinstance(request, ScoringRequest)
    return request


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": ["a", "b"], "params": {}},
        {"input_data": ["a", "b"]},
        {"inputs": {"input_string": ["a", "b"]}, "parameters": {"top_k": 1}},
        {"input_data": {"input_string": ["a", "b"], "parameters": {"top_k": 1}}},
        {"input_data": {"columns": ["input_string"], "index": [0, 1], "data": ["a", "b"]}},
        {"input_data": {"columns": ["text"], "index": [0, 1], "data": [["a"], ["b"]]}},
        {"input_data": {"columns": ["text"], "data": [{"text": "a"}, {"text": "b"}]}},
        {"input_data": {"text": ["a", "b"]}},
        {"input_data": [["a", "b"]], "params": {}},
    ],
)
def test_every_form_of_azures_body_gives_the_same_items(body: Any, predictor: Predictor) -> None:
    assert azure(body, predictor) == [TextItem("a"), TextItem("b")]


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": [{"text": "a", "text_pair": "b"}]},
        {"input_data": {"columns": ["text", "text_pair"], "index": [0], "data": [["a", "b"]]}},
        {"input_data": {"columns": ["sentence1", "sentence2"], "data": [["a", "b"]]}},
        {"input_data": {"text": ["a"], "text_pair": ["b"]}},
        {"input_data": {"text": "a", "text_pair": "b"}},
    ],
)
def test_a_pair_is_one_item_in_azures_body_too(body: Any, predictor: Predictor) -> None:
    assert azure(body, predictor) == [TextItem("a", "b")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "no value for input_data"),
        ({"input_data": ["a"], "inputs": ["a"]}, "both input_data and inputs"),
        ({"input_data": ["a"], "param": {}}, "unknown key 'param'"),
        ({"input_data": ["a"], "params": {"top_k": 1}, "parameters": {"top_k": 2}}, "given twice"),
        ({"input_data": ["a"], "params": {"return_all_scores": 1}}, "must be true or false"),
        ({"input_data": {"columns": "text", "data": ["a"]}}, "columns must be a list"),
        ({"input_data": {"columns": ["text"], "data": "a"}}, "data must be a list"),
        ({"input_data": {"columns": ["text"], "index": [0], "data": ["a", "b"]}}, "2 rows and 1 index"),
        ({"input_data": {"columns": ["text"], "rows": []}}, "unknown key 'rows'"),
        ({"input_data": {"text": ["a"], "text_pair": ["b", "c"]}}, "differ in length"),
        (["a"], "must be a JSON object, not list"),
    ],
)
def test_a_wrong_azure_body_is_refused_with_its_reason(body: Any, message: str, predictor: Predictor) -> None:
    with pytest.raises(Refused, match=message):
        azure(body, predictor)


def test_a_table_row_of_the_wrong_width_is_a_bad_item(predictor: Predictor) -> None:
    table = {"columns": ["text", "text_pair"], "data": [["a", "b"], ["a"], ["a", "b", "c"]]}
    with pytest.raises(BadItems) as caught:
        azure({"input_data": table}, predictor)
    assert [index for index, _ in caught.value.errors] == [1, 2]


def test_a_list_of_two_strings_is_two_items_and_a_pair_has_keys(predictor: Predictor) -> None:
    assert list(hub(b'{"inputs": ["a", "b"]}', predictor).items) == [TextItem("a"), TextItem("b")]
    assert list(hub(b'{"inputs": {"text": "a", "text_pair": "b"}}', predictor).items) == [TextItem("a", "b")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"inputs": NaN}',
        b'{"inputs": "\\ud800"}',
        b'{"inputs": "\xff"}',
        b"[" * 200_000,
        b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=["empty", "cut", "text", "nan", "surrogate", "latin-1", "deep", "deep-and-closed"],
)
def test_what_is_not_json_is_a_400_without_a_traceback(body: bytes, predictor: Predictor) -> None:
    with pytest.raises(Problem) as caught:
        hub(body, predictor)
    assert caught.value.status == 400
    assert "Traceback" not in caught.value.body().decode()


def test_a_deep_value_inside_json_is_a_bad_item(predictor: Predictor) -> None:
    body = b'{"inputs": ["fine", ' + b"[" * 500 + b"]" * 500 + b"]}"
    with pytest.raises(BadItems, match="item 1"):
        hub(body, predictor)


def test_a_request_with_too_many_items_is_told_how_many_and_what_to_do(predictor: Predictor) -> None:
    items = ["a"] * MAX_ITEMS
    assert len(azure({"input_data": items}, predictor)) == MAX_ITEMS
    for body in ({"input_data": [*items, 3]}, {"input_data": {"columns": ["text"], "data": [*items, 3]}}):
        with pytest.raises(Problem, match="4097 items; at most 4096") as caught:
            azure(body, predictor)
        problem = caught.value
        assert (problem.status, problem.code) == (413, "too-many-items")
        assert problem.hint == "Split it, or score a file in batch."


def document_call(seconds: float) -> Call:
    sample = {"request": {"inputs": "a"}, "answer": []}
    return Call(
        method="GET",
        path="/openapi.json",
        body=b"",
        headers={},
        deadline=time.monotonic() + seconds,
        model="acme/x:1",
        endpoint="x",
        sample=sample,
    )


class Model:
    """Answers all examples of a document, each after a moment, and counts them."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, call: Call) -> Reply:
        self.asked += 1
        await asyncio.sleep(0.05)
        return Reply(b"[]")


def test_a_document_that_many_ask_for_at_once_is_made_once(tiny: Path) -> None:
    predictor, model = load_predictor(tiny, "text-classification", device="cpu", threads=1), Model()

    async def ask() -> list[Reply]:
        calls = [endpoint_document(document_call(30), predictor, model) for _ in range(20)]
        return await asyncio.gather(*calls)

    replies = asyncio.run(ask())
    assert len({reply.body for reply in replies}) == 1
    assert model.asked == 3  # one example in each dialect


class Refusing:
    """Answers the examples of a document, but for those of one path."""

    def __init__(self, path: str, error: BedplateError) -> None:
        self.path, self.error = path, error

    async def __call__(self, call: Call) -> Reply:
        if call.path == self.path:
            raise self.error
        return Reply(b"[]")


def paths(predictor: Predictor, model: Any) -> set[str]:
    document = orjson.loads(asyncio.run(endpoint_document(document_call(30), predictor, model)).body)
    return {path.removeprefix("/endpoints/x") for path, operations in document["paths"].items() if "post" in operations}


def test_a_document_leaves_out_what_the_model_does_not_speak_and_is_not_made_of_a_passing_fault(tiny: Path) -> None:
    for passing in (BedplateError("The model failed.", code="inference-failed"), DeadlineExceeded()):
        predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
        for path in ("/score", "/"):
            with pytest.raises(type(passing)):
                paths(predictor, Refusing(path, passing))
        assert paths(predictor, Model()) == {"", "/score", "/v2/models/x/infer"}
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
    assert paths(predictor, Refusing("/score", Refused("No.", code="wrong-task"))) == {"", "/v2/models/x/infer"}


def test_a_caller_who_leaves_while_the_document_is_made_leaves_it_to_the_next(tiny: Path) -> None:
    predictor, model = load_predictor(tiny, "text-classification", device="cpu", threads=1), Model()

    async def ask() -> Reply:
        first = asyncio.create_task(endpoint_document(document_call(30), predictor, model))
        second = asyncio.create_task(endpoint_document(document_call(30), predictor, model))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert orjson.loads(asyncio.run(ask()).body)["openapi"] == "3.1.0"


def test_whoever_waits_for_the_document_waits_no_longer_than_he_said(tiny: Path) -> None:
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)

    async def ask() -> None:
        never = asyncio.Event()
        maker = asyncio.create_task(endpoint_document(document_call(30), predictor, lambda _: never.wait()))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(endpoint_document(document_call(0.05), predictor, Model()), 10)
        maker.cancel()

    asyncio.run(ask())


def test_the_hubs_options_are_taken_and_other_keys_refused(predictor: Predictor) -> None:
    hub(b'{"inputs": "a", "parameters": null, "options": {"wait_for_model": true}}', predictor)
    with pytest.raises(Refused, match="unknown key 'input'"):
        hub(b'{"input": "a"}', predictor)
