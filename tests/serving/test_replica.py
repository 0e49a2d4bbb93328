"""One replica as a real process on its Unix socket."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate_serving.dialects import MAX_ITEMS


@pytest.fixture(scope="module")
def replica(floor: Any, tiny: Path) -> Any:
    return floor.pair(tiny)[0]


@pytest.fixture
def client(replica: Any) -> Any:
    with replica.client() as client:
        yield client


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "error", "error_type"} <= set(document)
    assert (document["status"], document["code"]) == (status, code)
    assert isinstance(document["error"], str)
    assert "Traceback" not in response.text
    return document


def test_every_answer_names_model_and_deployment(client: httpx.Client) -> None:
    for response in (client.post("/", json={"inputs": "hi"}), client.get("/health"), client.post("/", content=b"{")):
        assert response.headers["x-bedplate-model"] == "acme/support:1"
        assert response.headers["x-bedplate-deployment"] == "blue"


def test_one_input_is_a_list_in_a_list_and_n_inputs_are_n_lists(client: httpx.Client) -> None:
    single = client.post("/", json={"inputs": "my card is lost"}).json()
    assert len(single) == 1
    assert [set(one) for one in single[0]] == [{"label", "score"}] * 3
    many = client.post("/", json={"inputs": ["my card is lost", "b", {"text": "a", "text_pair": "b"}]}).json()
    assert len(many) == 3
    assert many[0][0]["label"] == single[0][0]["label"]
    assert client.post("/", json={"inputs": []}).json() == []


def test_azures_callers_get_one_object_an_item_and_all_scores_when_they_ask(client: httpx.Client) -> None:
    for body in ({"input_data": ["a", "b"], "params": {}}, {"inputs": {"input_string": ["a", "b"]}}):
        answer = client.post("/score", json=body).json()
        assert [set(one) for one in answer] == [{"label", "score"}] * 2
    every = client.post("/score", json={"input_data": ["a", "b"], "params": {"return_all_scores": True}}).json()
    assert [len(one) for one in every] == [3, 3]
    some = client.post("/score", json={"input_data": ["a"], "params": {"top_k": 2}}).json()
    assert [len(one) for one in some] == [2]
    assert [one["label"] for one in some[0]] == [one["label"] for one in every[0][:2]]


def test_bad_items_are_a_422_that_names_each_by_index(client: httpx.Client) -> None:
    response = client.post("/", json={"inputs": ["fine", 3, "fine", "", {"text": None}]})
    document = assert_problem(response, 422, "bad-items")
    assert [error["index"] for error in document["errors"]] == [1, 3, 4]
    assert document["errors"][1]["message"] == "text is empty"
    assert "item 3: text is empty" in document["detail"]
    assert document["error_type"] == "validation"


def test_wrong_requests_are_problem_documents(client: httpx.Client) -> None:
    assert_problem(client.post("/", content=b'{"inputs": '), 400, "bad-json")
    assert_problem(client.post("/", content=b"[" * 100_000), 400, "bad-json")
    assert_problem(client.post("/", json={"inputs": "a", "parameters": {"topk": 1}}), 422, "unknown-parameter")
    assert_problem(client.post("/", json={"text": "a"}), 422, "unknown-key")
    assert_problem(client.get("/"), 405, "wrong-method")
    assert client.get("/score").headers["allow"] == "POST"
    assert_problem(client.get("/nowhere"), 404, "no-route")
    assert_problem(client.post("/", content=b"x", headers={"content-encoding": "gzip"}), 415, "unsupported-encoding")


def test_a_body_beyond_the_limit_is_a_413_stated_or_streamed(client: httpx.Client) -> None:
    assert_problem(client.post("/", content=b"x" * 3_000_000), 413, "body-too-large")
    assert_problem(client.post("/", content=iter([b"x" * 10_000] * 300)), 413, "body-too-large")


def test_more_items_than_one_request_may_have_are_a_413(client: httpx.Client) -> None:
    assert_problem(client.post("/", json={"inputs": ["a"] * (MAX_ITEMS + 1)}), 413, "too-many-items")


def test_items_cut_at_the_context_length_are_told_by_index(client: httpx.Client) -> None:
    response = client.post("/", json={"inputs": ["short", "long " * 100, "short", "long " * 200]})
    assert response.status_code == 200
    assert response.headers["x-bedplate-truncated"] == "1,3"
    assert "x-bedplate-truncated" not in client.post("/", json={"inputs": "short"}).headers


def test_info_says_what_is_served(client: httpx.Client) -> None:
    info = client.get("/info").json()
    assert info["model"] == "acme/support:1"
    assert info["task"] == "text-classification"
    assert info["labels"] == ["negative", "neutral", "positive"]
    assert info["waiting"] == 0
    assert info["engine"]
    sample = info["sample"]
    [again], [kept] = client.post("/", json=sample["request"]).json(), sample["answer"]
    assert [one["label"] for one in again] == [one["label"] for one in kept], "the sample is a call one can repeat"


def test_a_request_may_have_less_time_than_the_deployment_gives_and_never_more(client: httpx.Client) -> None:
    body = {"inputs": ["please help " * 30] * 30}
    late = client.post("/", json=body, headers={"x-bedplate-timeout": "0.002"})
    assert assert_problem(late, 504, "deadline-exceeded")["hint"]
    assert "retry-after" not in late.headers
    for value in ("soon", "0", "-1", "nan", "inf", ""):
        assert_problem(client.post("/", json=body, headers={"x-bedplate-timeout": value}), 422, "bad-timeout")
    for value in ("30", "1e9"):
        assert client.post("/", json=body, headers={"x-bedplate-timeout": value}).status_code == 200
    assert client.get("/info").json()["waiting"] == 0


def test_its_own_imports_are_light_so_that_a_model_without_torch_starts_without_it() -> None:
    heavy = ["torch", "transformers", "onnxruntime", "pandas", "pyarrow", "sqlalchemy", "fastapi"]
    code = f"import bedplate_serving.replica, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_owner_may_connect(replica: Any) -> None:
    assert stat.S_IMODE(replica.socket.stat().st_mode) == 0o600


def test_an_overfull_queue_says_when_to_come_back_and_accepted_requests_are_answered(replica: Any) -> None:
    statuses: list[int] = []
    waits: list[str] = []

    def call() -> None:
        with replica.client() as client:
            response = client.post("/", json={"inputs": ["please help " * 25] * 39})
            statuses.append(response.status_code)
            if response.status_code != 200:
                assert assert_problem(response, 429, "queue-full")["error_type"] == "overloaded"
                waits.append(response.headers["retry-after"])

    threads = [threading.Thread(target=call) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(statuses) == 24
    assert set(statuses) == {200, 429}
    assert all(1 <= int(wait) <= 60 for wait in waits)
    with replica.client() as client:
        assert client.post("/", json={"inputs": "after the storm"}).status_code == 200
        assert client.get("/info").json()["waiting"] == 0


@pytest.fixture(scope="module")
def second(floor: Any, tiny: Path) -> Any:
    """A replica on its way up, under a path that no socket address can hold."""
    folder = floor.folder / ("deep" * 20) / ("er" * 20)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 108
    sample = {"inputs": ["my own", "sample " * 1000], "parameters": {"top_k": 1}}
    return floor.replica(
        tiny, False, socket=str(folder / "replica.sock"), max_queue=10_000, request_timeout_seconds=25, sample=sample
    )


def test_health_is_503_until_the_model_has_answered_its_sample(floor: Any, second: Any) -> None:
    floor.until(second.socket.exists, 20)
    with second.client() as client:
        assert_problem(client.get("/health"), 503, "loading")
        response = client.post("/", json={"inputs": "too early"})
        assert_problem(response, 503, "loading")
        assert response.headers["retry-after"]
        floor.until(second.is_ready, 60)
        assert client.post("/", json={"inputs": "now"}).status_code == 200


def test_the_sample_of_a_deployment_is_what_it_is_tried_with(second: Any) -> None:
    with second.client() as client:
        info = client.get("/info").json()
    assert info["sample"]["request"] == second.spec["sample"]
    assert [len(one) for one in info["sample"]["answer"]] == [1, 1]
    assert info["request_timeout_seconds"] == 25


def test_the_work_of_a_caller_who_hung_up_is_dropped(floor: Any, second: Any) -> None:
    with second.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/", json={"inputs": ["please help " * 20] * 4000}, timeout=0.3)
        floor.until(lambda: client.get("/info").json()["waiting"] == 0, 10)
        assert client.get("/info").json()["items"] < 4000


def test_sigterm_answers_what_is_inside_and_ends_with_0(floor: Any, second: Any) -> None:
    answers: list[int] = []

    def call() -> None:
        with second.client() as client:
            answers.append(client.post("/", json={"inputs": ["please help " * 20] * 1500}).status_code)

    thread = threading.Thread(target=call)
    thread.start()
    with second.client() as client:
        floor.until(lambda: client.get("/info").json()["waiting"] > 0, 10)
    assert second.process.kill(signal.SIGTERM) == 0
    thread.join(30)
    assert answers == [200]


def test_a_model_that_cannot_be_loaded_ends_the_process_with_one_line_of_json(floor: Any, tiny_base: Path) -> None:
    replica = floor.replica(tiny_base, wait=False)
    assert replica.process.popen.wait(60) == 1
    error = json.loads(replica.process.text.strip().splitlines()[-1])
    assert error["code"] == "no-head"


def test_a_sample_that_the_model_cannot_answer_ends_the_process_and_says_why(floor: Any, tiny: Path) -> None:
    replica = floor.replica(tiny, wait=False, sample={"inputs": ["good", ""]})
    assert replica.process.popen.wait(60) == 1
    error = json.loads(replica.process.text.strip().splitlines()[-1])
    assert error["code"] == "bad-items"
    assert "item 1: text is empty" in error["event"]


def test_a_tokenizer_that_panics_ends_the_process_and_says_so(floor: Any, tiny: Path) -> None:
    """The panic of a library in Rust is no Exception: it must not pass by all that answers."""
    model = floor.folder / "panics"
    shutil.copytree(tiny, model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    table = (4).to_bytes(4, "little") + b"\xff\xff\xff\x7f"  # it points behind its own end
    broken = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [tokenizer["normalizer"], broken]}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    replica = floor.replica(model, wait=False)
    assert replica.process.popen.wait(60) == 1
    error = json.loads(replica.process.text.strip().splitlines()[-1])
    assert error["code"] in ("load-failed", "inference-failed")  # as soon as it is tried
    assert "index out of bounds" in error["event"] or "PanicException" in error["event"]
