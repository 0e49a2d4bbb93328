"""The checks of client_checks.py notice an answer of another shape: each passes on the right one and on no wrong one.

Released clients take many a wrong answer without an error, so a check that only calls them would prove nothing.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import openai
import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient

import client_checks as checks

LABELS = [{"label": "b", "score": 0.7}, {"label": "a", "score": 0.3}]
ENTITIES = [{"entity_group": "PER", "score": 0.9, "word": "card", "start": 3, "end": 7}]
ANSWER = {"answer": "London", "score": 0.9, "start": 31, "end": 37}
MASKS = [{"score": 0.9, "token": 5, "token_str": "lost", "sequence": "my card is lost"}]
IMAGE = checks.picture()
CHOICE = {"index": 0, "finish_reason": "stop", "logprobs": None}
USAGE = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
HEAD = {"id": "1", "created": 1, "model": "m"}
CHAT = {
    **HEAD,
    "object": "chat.completion",
    "choices": [{**CHOICE, "message": {"role": "assistant", "content": "yes"}}],
    "usage": USAGE,
}
COMPLETION = {**HEAD, "object": "text_completion", "choices": [{**CHOICE, "text": "yes"}], "usage": USAGE}
TOKEN = {"id": 4, "text": "yes", "logprob": -0.1, "special": False}
DETAILS = {"finish_reason": "length", "generated_tokens": 1, "input_length": 2, "seed": None}


def events(*given: Any, done: bool = True) -> bytes:
    lines = [b"data: " + json.dumps(one).encode() for one in given]
    return b"\n\n".join([*lines, b"data: [DONE]" if done else b"", b""])


def chunk(**delta: Any) -> dict[str, Any]:
    return {
        **HEAD,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        "usage": None,
    }


LAST = chunk() | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
COUNT = chunk() | {"choices": [], "usage": USAGE}
EVENT = {"index": 1, "token": TOKEN, "generated_text": "yes", "details": DETAILS}


def tensors(rows: list[bytes], shape: list[int], size: int | None = None) -> tuple[bytes, int]:
    data = b"".join(struct.pack("<I", len(row)) + row for row in rows)
    output = {"name": "output", "datatype": "BYTES", "shape": shape}
    output["parameters"] = {"binary_data_size": len(data) if size is None else size}
    head = json.dumps({"model_name": "m", "outputs": [output]}).encode()
    return head + data, len(head)


ROWS = [json.dumps(LABELS).encode()]

# what is checked, with what it expects; the right body; wrong ones, each as somebody has sent it
CASES: dict[str, tuple[Any, Any, list[Any]]] = {
    "text-classification": (LABELS, [LABELS], [LABELS, {"labels": ["b"], "scores": [0.7]}, [[LABELS]], [LABELS[:1]]]),
    "token-classification": (ENTITIES, ENTITIES, [[ENTITIES], [["O", "PER"]], ENTITIES[0]]),
    "question-answering": (ANSWER, ANSWER, [[ANSWER], "London", {"answer": "London"}, ANSWER | {"start": 30}]),
    "fill-mask": (MASKS, MASKS, [[MASKS], MASKS[0], ["lost"], [MASKS[0] | {"token_str": None}]]),
    "summarization": (
        {"summary_text": "yes"},
        [{"summary_text": "yes"}],
        [{"summary_text": "yes"}, ["yes"], [{"generated_text": "yes"}]],
    ),
    "translation": (
        {"translation_text": "yes"},
        [{"translation_text": "yes"}],
        [{"translation_text": "yes"}, ["yes"], [{"summary_text": "yes"}]],
    ),
    "text-generation": ("yes", [{"generated_text": "yes"}], [COMPLETION, ["yes"], [[{"generated_text": "yes"}]]]),
    "image-classification": (LABELS, LABELS, [[LABELS], LABELS[:1], {"label": "b", "score": 0.7}]),
    "text-to-image": (
        base64.b64encode(IMAGE).decode(),
        IMAGE,
        [{"image": base64.b64encode(IMAGE).decode()}, [base64.b64encode(IMAGE).decode()], b""],
    ),
}


class Server(ThreadingHTTPServer):
    """Answers every request with one body."""

    body: Any = b""
    json_length: int | None = None
    status = 200

    def say(self, body: Any, json_length: int | None = None, status: int = 200) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.json_length, self.status = json_length, status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        kind = "text/event-stream" if self.server.body.startswith(b"data:") else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.send_header("Connection", "close")  # a client keeps nothing of one answer for the next
        if self.server.json_length is not None:
            self.send_header("Inference-Header-Content-Length", str(self.server.json_length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def hub(server: Server) -> InferenceClient:
    return InferenceClient(model=f"http://127.0.0.1:{server.server_port}/endpoints/x", timeout=10)


def fails(check: Any, *arguments: Any, **more: Any) -> None:
    with pytest.raises((Exception, pytest.fail.Exception)):  # which one is the client's business
        check(*arguments, **more)


@pytest.mark.parametrize("task", CASES)
def test_a_wrong_answer_to_the_hubs_client_is_noticed(server: Server, task: str) -> None:
    expected, right, wrong = CASES[task]
    server.say(right)
    checks.HUB[task](hub(server), expected)
    for body in wrong:
        server.say(body)
        fails(checks.HUB[task], hub(server), expected)


def test_a_wrong_stream_to_the_hubs_client_is_noticed(server: Server) -> None:
    server.say(events(EVENT, done=False))
    checks.text_generation_stream(hub(server), "yes")
    for body in (
        events(chunk(content="yes"), LAST),
        events(EVENT | {"generated_text": None}, done=False),
        events(EVENT | {"index": 0}, done=False),
        events(EVENT | {"details": None}, done=False),
        b'[{"generated_text": "yes"}]',
        b"",
    ):
        server.say(body)
        fails(checks.text_generation_stream, hub(server), "yes")


def test_a_wrong_chat_to_the_hubs_client_is_noticed(server: Server) -> None:
    server.say(CHAT)
    checks.hub_chat(hub(server), "yes")
    for body in ([{"generated_text": "yes"}], COMPLETION, CHAT | {"usage": None}, CHAT | {"choices": []}):
        server.say(body)
        fails(checks.hub_chat, hub(server), "yes")
    first, text = chunk(role="assistant", content=""), chunk(content="yes")
    server.say(events(first, text, LAST))
    checks.hub_chat_stream(hub(server), "yes")
    for streamed in (events(first, text), events(first, LAST), events(EVENT), json.dumps(CHAT).encode(), b""):
        server.say(streamed)
        fails(checks.hub_chat_stream, hub(server), "yes")


def test_wrong_details_to_the_hubs_client_are_noticed(server: Server) -> None:
    details = DETAILS | {"tokens": [TOKEN], "prefill": []}
    server.say([{"generated_text": "yes", "details": details}])
    checks.text_generation_details(hub(server), "yes")
    for more in ({}, {"details": None}, {"details": details | {"tokens": []}}):
        server.say([{"generated_text": "yes", **more}])
        fails(checks.text_generation_details, hub(server), "yes")


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    with closing(openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=10)) as client:
        yield client


def test_a_wrong_answer_to_openais_client_is_noticed(server: Server, client: openai.OpenAI) -> None:
    for check, right, others in (
        (
            checks.openai_chat,
            CHAT,
            [COMPLETION, [{"generated_text": "yes"}], CHAT | {"usage": None}, CHAT | {"choices": []}],
        ),
        (
            checks.openai_completion,
            COMPLETION,
            [CHAT, [{"generated_text": "yes"}], COMPLETION | {"usage": None}, COMPLETION | {"choices": []}],
        ),
    ):
        server.say(right)
        check(client, "yes")
        for body in others:
            server.say(body)
            fails(check, client, "yes")


def test_a_wrong_stream_to_openais_client_is_noticed(server: Server, client: openai.OpenAI) -> None:
    first, text = chunk(role="assistant", content=""), chunk(content="yes")
    server.say(events(first, text, LAST, COUNT))
    checks.openai_chat_stream(client, "yes")
    for body in (
        events(first, text, LAST),
        events(first, text, COUNT),
        events(text, LAST, COUNT),
        events(first, LAST, COUNT),
        events(EVENT),
        json.dumps(CHAT).encode(),
    ):
        server.say(body)
        fails(checks.openai_chat_stream, client, "yes")


def test_a_wrong_stream_of_a_completion_to_openais_client_is_noticed(server: Server, client: openai.OpenAI) -> None:
    def piece(text: str, reason: str | None = None) -> dict[str, Any]:
        choice = {**CHOICE, "text": text, "finish_reason": reason}
        return COMPLETION | {"choices": [choice], "usage": None}

    last, count = piece("s", "stop"), COMPLETION | {"choices": []}
    server.say(events(piece("ye"), last, count))
    checks.openai_completion_stream(client, "yes")
    for body in (
        events(piece("ye"), last),
        events(piece("ye"), piece("s"), count),
        events(last, count),
        events(chunk(content="yes"), LAST, COUNT),
        events(EVENT),
        json.dumps(COMPLETION).encode(),
    ):
        server.say(body)
        fails(checks.openai_completion_stream, client, "yes")


def test_a_wrong_refusal_is_noticed_by_each_client(server: Server, client: openai.OpenAI) -> None:
    said = "it has no input 'txt'. Did you mean 'text'? n is 17. max_new_tokens is 0; it must be at least 1."
    problem = {"title": "Unprocessable", "status": 422, "detail": said}  # RFC 9457 alone
    scoring = problem | {"error": said, "error_type": "validation"}
    object_ = {"error": {"message": said, "type": "invalid_request_error", "param": "n", "code": "bad-parameter"}}
    with closing(triton.InferenceServerClient(f"127.0.0.1:{server.server_port}", network_timeout=10)) as other:
        for check, right, wrong in (
            (lambda: checks.hub_refusal(hub(server)), scoring, [problem, object_, scoring | {"error_type": None}]),
            (lambda: checks.openai_refusal(client), object_, [problem, scoring, {"error": said}]),
            (lambda: checks.open_inference_refusal(other), scoring, [problem, {"detail": said}]),
        ):
            server.say(right, status=422)
            check()
            for body in wrong:
                server.say(body, status=422)
                fails(check)
            server.say(right)  # a refusal by its words alone
            fails(check)


def test_a_wrong_answer_to_tritons_client_is_noticed(server: Server) -> None:
    asked: dict[str, Any] = {"columns": {"text": ["hi"]}, "name": "m"}
    with closing(triton.InferenceServerClient(f"127.0.0.1:{server.server_port}", network_timeout=10)) as client:
        server.say(*tensors(ROWS, [1]))
        checks.open_inference(client, [LABELS], **asked)
        for body in (
            tensors(ROWS, [2]),
            tensors([b"b"], [1]),
            tensors([*ROWS, *ROWS], [2]),
            tensors(ROWS, [1], size=3),
            (b'{"model_name": "m", "outputs": []}', None),
            (
                json.dumps(
                    {"outputs": [{"name": "output", "datatype": "BYTES", "shape": [1], "data": LABELS}]}
                ).encode(),
                None,
            ),
            (json.dumps([LABELS]).encode(), None),
        ):
            server.say(*body)
            fails(checks.open_inference, client, [LABELS], **asked)


def test_wrong_tensors_of_a_classifier_are_noticed(server: Server) -> None:
    def say(*outputs: dict[str, Any]) -> None:
        server.say({"model_name": "m", "outputs": list(outputs)})

    def tensor(name: str, datatype: str, *data: Any) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data)}

    def check(client: triton.InferenceServerClient) -> None:
        asked = triton.InferInput("text", [1], "BYTES")
        asked.set_data_from_numpy(np.array(["hi"], dtype=object))
        checks.classified(client.infer("m", [asked]), [LABELS])

    label, score = tensor("label", "BYTES", "b"), tensor("score", "FP32", 0.7)
    with closing(triton.InferenceServerClient(f"127.0.0.1:{server.server_port}", network_timeout=10)) as client:
        say(label, score)
        check(client)
        for wrong in (
            [label],
            [score],
            [label, tensor("score", "FP64", 0.7)],
            [label, tensor("score", "FP32", 0.3)],
            [tensor("label", "BYTES", "a"), score],
            [tensor("label", "INT64", 1), score],
            [tensor("label", "BYTES", "b", "a"), tensor("score", "FP32", 0.7, 0.3)],
        ):
            say(*wrong)
            fails(check, client)


def test_a_wrong_answer_to_azures_callers_is_noticed() -> None:
    checks.azure(["lost"], ["lost"])
    for body in ([{"0": "lost"}], {"0": "lost"}, "lost", [["lost"]], ["lost", "lost"], [MASKS[0]]):
        fails(checks.azure, body, ["lost"])
