"""Every released client against real processes: a gateway, and a replica for each of the nine tasks.

What each must get is what the predictor says when it is asked without any server. The replicas are started once, all
at the same time, and shared by the tests of this file.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, OverloadedError, ValidationError
from PIL import Image
from tritonclient.utils import InferenceServerException

import client_checks as checks
from client_checks import CHAT, MASKED, PROMPT, QUESTION, TEXT, TOKENS, picture

STEPS = {"num_inference_steps": 2, "seed": 7, "width": 32, "height": 32}
LANGUAGES = {"src_lang": "eng_Latn", "tgt_lang": "fra_Latn"}


TASKS = (
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "summarization",
    "translation",
    "text-generation",
    "image-classification",
    "text-to-image",
)
INPUTS: dict[str, Any] = {
    "question-answering": QUESTION,
    "fill-mask": MASKED,
    "text-generation": PROMPT,
    "image-classification": base64.b64encode(picture()).decode(),
    "text-to-image": "a red house",
}
NEEDED: dict[str, dict[str, Any]] = {
    "translation": LANGUAGES,
    "text-generation": {"max_new_tokens": TOKENS},
    "text-to-image": STEPS,
}
CLEANED = {"clean_up_tokenization_spaces": True, "truncation": "longest_first"}
SOME: dict[str, dict[str, Any]] = {
    "text-classification": {"top_k": 2, "function_to_apply": "sigmoid"},
    "token-classification": {"aggregation_strategy": "none", "ignore_labels": ["O"], "stride": 2},
    "question-answering": {
        "top_k": 3,
        "max_answer_len": 4,
        "handle_impossible_answer": True,
        "align_to_words": False,
        "doc_stride": 3,
        "max_question_len": 5,
        "max_seq_len": 20,
    },
    "fill-mask": {"top_k": 2, "targets": ["lost", "card"]},
    "summarization": {"generate_parameters": {"max_new_tokens": 4}, **CLEANED},
    "translation": {**LANGUAGES, "generate_parameters": {"max_new_tokens": 4}, **CLEANED},
    "text-generation": {
        "temperature": 0.8,
        "top_p": 0.9,
        "top_k": 20,
        "typical_p": 0.9,
        "seed": 3,
        "do_sample": True,
        "best_of": 2,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.1,
        "stop": ["zz"],
        "truncate": 3,
        "return_full_text": True,
    },
    "image-classification": {"top_k": 1, "function_to_apply": "sigmoid"},
    "text-to-image": {**STEPS, "negative_prompt": "rain", "guidance_scale": 3.0, "scheduler": "DDIMScheduler"},
}
REFUSED: dict[str, Any] = {"adapter_id": "a", "grammar": {"type": "regex", "value": "a"}, "watermark": True}
OF_DETAILS = {"details", "decoder_input_details", "top_n_tokens", "stream"}  # another test asks for these
OF_THE_CLIENT = {"model", "extra_body", "text", "question", "context", "image", "prompt", "max_new_tokens"}


@dataclass
class House:
    """A gateway before nine replicas: an endpoint for each task, by the task's name."""

    url: str
    floor: Any
    process: Any
    folder: Path
    _known: dict[str, Any] = field(default_factory=dict)

    def at(self, task: str, path: str = "") -> str:
        """The endpoint's URL, once it answers."""
        self.floor.until(lambda: f"{task} ready" in self.process.text or self._ended(), 120, f"a replica of {task}")
        return f"{self.url}/endpoints/{task}{path}"

    def _ended(self) -> bool:
        assert self.process.popen.poll() is None, self.process.text
        assert "could not be loaded" not in self.process.text, self.process.text
        return False

    def hub(self, task: str, **more: Any) -> InferenceClient:
        return InferenceClient(model=self.at(task), token=self.floor.key, timeout=60, **more)

    def post(self, task: str, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.at(task, path), headers=self.floor.authorization, json=body, timeout=60)

    def openai(self, base: str = "/v1", key: str | None = None) -> Any:
        self.at("text-generation")
        client = openai.OpenAI(base_url=self.url + base, api_key=key or self.floor.key, max_retries=0, timeout=60)
        return closing(client)

    def triton(self, task: str, base: str = "") -> Any:
        self.at(task)
        return closing(triton.InferenceServerClient(self.url.removeprefix("http://") + base, network_timeout=60))

    @property
    def key(self) -> dict[str, str]:
        """A new one for each call: tritonclient writes into it."""
        return dict(self.floor.authorization)

    def truth(self, task: str, inputs: Any = None, **parameters: Any) -> Any:
        """What the model says of one input, without any server between."""
        given = INPUTS.get(task, TEXT) if inputs is None else inputs
        question = json.dumps({"task": task, "inputs": given, "parameters": parameters})
        if question not in self._known:
            self.at(task)
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.folder / "truth.sock"))) as client:
                answer = client.post("http://truth/", content=question, timeout=60)
            assert answer.status_code == 200, self.process.text
            self._known[question] = answer.json()
        return self._known[question]


@pytest.fixture(scope="module")
def house(floor: Any) -> Iterator[House]:
    folder = floor.folder / "c"
    folder.mkdir()
    process = floor.launcher.start(str(Path(__file__).with_name("nine_replicas.py")), str(folder), *TASKS)
    gateway = floor.start_gateway(folder)
    sockets = {task: [SimpleNamespace(socket=folder / f"{task}.sock")] for task in TASKS}
    gateway.publish({task: {"main": (100, replicas)} for task, replicas in sockets.items()}, keys=keys(floor))
    yield House(gateway.url, floor, process, folder)
    process.kill()


def keys(floor: Any) -> dict[str, Any]:
    return {
        floor.digest(floor.key): floor.key_entry(),
        floor.digest("only-text"): floor.key_entry(id="k3", endpoints=["text-classification"]),
        floor.digest("slow"): floor.key_entry(id="k4", rate=0.001),
    }


# --- huggingface_hub


def wire(task: str, answer: Any) -> Any:
    """What its client makes of an answer."""
    return {
        "text-generation": lambda: answer[0]["generated_text"],
        "text-to-image": lambda: answer["image"],
    }.get(task, lambda: answer)()


@pytest.mark.parametrize("task", TASKS)
def test_the_hubs_client_gets_the_models_answer(house: House, task: str) -> None:
    needed = {key: value for key, value in NEEDED.get(task, {}).items() if key != "max_new_tokens"}
    checks.HUB[task](house.hub(task), wire(task, house.truth(task, **NEEDED.get(task, {}))), **needed)


@pytest.mark.parametrize("task", TASKS)
def test_the_hubs_client_gets_what_its_parameters_ask_for(house: House, task: str) -> None:
    expected = house.truth(task, **NEEDED.get(task, {}) | SOME[task])
    checks.HUB[task](house.hub(task), wire(task, expected), **SOME[task])


@pytest.mark.parametrize("task", TASKS)
def test_no_parameter_of_the_hubs_client_is_left_untried(task: str) -> None:
    known = set(inspect.signature(getattr(InferenceClient, task.replace("-", "_"))).parameters) - {"self"}
    tried = set(SOME[task]) | (set(REFUSED) | OF_DETAILS if task == "text-generation" else set())
    assert known - OF_THE_CLIENT == tried


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_model_here_can_do_is_refused_by_name_to_the_hubs_client(house: House, name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} cannot be asked for"):
        house.hub("text-generation").text_generation(PROMPT, **{name: REFUSED[name]})


def test_the_hubs_client_gets_an_image_of_the_models_own_size_for_a_prompt_alone(house: House) -> None:
    own = Image.open(io.BytesIO(base64.b64decode(house.truth("text-to-image", num_inference_steps=1)["image"])))
    got = house.hub("text-to-image").text_to_image("a red house")
    assert isinstance(got, Image.Image)
    assert got.size == own.size


def test_the_hubs_client_is_told_which_languages_a_model_of_many_needs(house: House) -> None:
    with pytest.raises(HfHubHTTPError, match="src_lang"):
        house.hub("translation").translation(TEXT)


def test_the_hubs_client_gets_texts_with_details_and_as_they_are_written(house: House) -> None:
    expected = wire("text-generation", house.truth("text-generation", max_new_tokens=TOKENS))
    checks.text_generation_details(house.hub("text-generation"), expected)
    checks.text_generation_stream(house.hub("text-generation"), expected)


def test_the_hubs_client_chats(house: House) -> None:
    checks.hub_chat(house.hub("text-generation"), chat_truth(house))
    checks.hub_chat_stream(house.hub("text-generation"), chat_truth(house))


def chat_truth(house: House) -> str:
    answer = house.truth("text-generation", {"messages": CHAT}, max_new_tokens=TOKENS)
    return str(answer[0]["generated_text"])


def test_an_image_comes_in_the_form_that_is_asked_for(house: House) -> None:
    starts = {"image/jpeg": b"\xff\xd8", "image/webp": b"RIFF", "*/*": b"\x89PNG", "image/png, */*": b"\x89PNG"}
    for accept, start in starts.items():
        headers = house.floor.authorization | {"Accept": accept}
        body = {"inputs": "a red house", "parameters": STEPS}
        response = httpx.post(house.at("text-to-image"), headers=headers, json=body, timeout=60)
        assert response.content.startswith(start)
        assert response.headers["content-type"].startswith("image/")
    headers["Accept"] = "text/html"
    refused = httpx.post(house.at("text-to-image"), headers=headers, json=body)
    assert (refused.status_code, refused.json()["code"]) == (406, "not-acceptable")
    many = house.post("text-to-image", "", inputs=["a", "b"], parameters=STEPS).json()
    assert [base64.b64decode(one)[:4] for one in many] == [b"\x89PNG"] * 2


@pytest.mark.parametrize("task", TASKS)
def test_a_list_of_inputs_is_a_list_of_answers(house: House, task: str) -> None:
    inputs = INPUTS.get(task, TEXT)
    needed = NEEDED.get(task, {})
    got = house.post(task, "", inputs=[inputs, inputs], parameters=needed).json()
    one = house.truth(task, **needed)
    assert len(got) == 2
    assert checks.close(got[0], got[1])
    if task != "text-to-image":
        assert checks.close(got[0], one)


def test_health_and_info_are_where_the_hubs_client_looks(house: House) -> None:
    client = house.hub("text-classification", provider="hf-inference")
    assert client.health_check() is True
    info = client.get_endpoint_info()
    assert info["model_id"] == "acme/text-classification:3"
    assert info["sample"]["answer"]


def test_errors_reach_the_hubs_client_as_it_knows_them(house: House) -> None:
    checks.hub_refusal(house.hub("text-generation"))
    with pytest.raises(OverloadedError, match="requests a second"):
        client = InferenceClient(model=house.at("text-generation"), token="slow")
        for _ in range(2):
            client.text_generation(PROMPT, max_new_tokens=1)
    with pytest.raises(HfHubHTTPError, match="text is empty"):
        house.hub("text-classification").text_classification(" ")
    unknown = house.post("fill-mask", "", inputs=MASKED, parameters={"topk": 1})  # its methods have no such argument
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown-parameter")
    assert "no parameter 'topk'. Did you mean 'top_k'" in unknown.json()["error"]


def test_an_input_that_only_the_model_can_judge_is_named_by_its_index(house: House) -> None:
    good, bad = INPUTS["image-classification"], base64.b64encode(picture()[:60]).decode()
    answer = house.post("image-classification", "", inputs=[good, good, bad])
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-items")
    assert [one["index"] for one in answer.json()["errors"]] == [2]
    long = house.post("text-generation", "", inputs=[PROMPT, PROMPT * 500], parameters={"max_new_tokens": 1})
    assert [one["index"] for one in long.json()["errors"]] == [1]
    cut = httpx.post(house.at("image-classification"), headers=house.floor.authorization, content=picture()[:60])
    assert (cut.status_code, cut.json()["error_type"]) == (422, "validation")


# --- Azure ML


AZURE: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "text-classification": ({"input_data": [TEXT]}, lambda truth: truth[0]),
    "question-answering": ({"input_data": QUESTION}, lambda truth: truth["answer"]),
    "fill-mask": ({"input_data": [MASKED]}, lambda truth: truth[0]["token_str"]),
    "summarization": ({"input_data": [TEXT]}, lambda truth: truth["summary_text"]),
    "translation": ({"input_data": [TEXT], "params": LANGUAGES}, lambda truth: truth["translation_text"]),
    "text-generation": (
        {"input_data": [PROMPT], "params": {"max_new_tokens": TOKENS, "return_full_text": False}},
        lambda truth: truth[0]["generated_text"],
    ),
    "image-classification": (
        {"input_data": {"columns": ["image"], "index": [0], "data": [INPUTS["image-classification"]]}},
        lambda truth: truth,
    ),
    "text-to-image": (
        {"input_data": {"columns": ["prompt"], "index": [0], "data": [{"prompt": "a red house"}], "parameters": STEPS}},
        lambda truth: {
            "prompt": "a red house",
            "generated_image": truth["image"],
            "nsfw_content_detected": truth["nsfw_content_detected"],
        },
    ),
}


def first(truth: Any) -> Any:
    return truth[0] if isinstance(truth, list) and len(truth) == 1 else truth


@pytest.mark.parametrize("task", AZURE)
def test_azures_newer_body_gets_azures_newer_answer(house: House, task: str) -> None:
    body, of = AZURE[task]
    truth = house.truth(task, **NEEDED.get(task, {}))
    if task in ("summarization", "translation"):
        truth = first(truth)
    checks.azure(house.post(task, "/score", **body).json(), [of(truth)])


def test_azures_entities_are_told_word_by_word_however_deep_the_list_is(house: House) -> None:
    flat = house.post("token-classification", "/score", input_data=[TEXT], params={}).json()
    assert len(flat) == 1
    assert isinstance(flat[0], list)
    assert len(flat[0]) == len(TEXT.split())
    for body in (
        {"input_data": [[TEXT]], "params": {}},
        {"input_data": {"input_string": [TEXT]}},
        {"inputs": {"input_string": [TEXT]}, "parameters": {}},
    ):
        assert house.post("token-classification", "/score", **body).json() == flat


@pytest.mark.parametrize("task", ["text-classification", "summarization", "fill-mask"])
def test_azures_older_body_gets_the_same(house: House, task: str) -> None:
    text = INPUTS.get(task, TEXT)
    newer = house.post(task, "/score", input_data=[text, text]).json()
    older = house.post(task, "/score", inputs={"input_string": [text, text]}, parameters={}).json()
    table = house.post(task, "/score", input_data={"columns": ["input_string"], "index": [0, 1], "data": [text, text]})
    assert len(newer) == 2
    assert checks.close(older, newer)
    assert checks.close(table.json(), newer)


def test_azures_questions_come_as_columns_too(house: House) -> None:
    columns = {key: [value, value] for key, value in QUESTION.items()}
    table = {"columns": list(QUESTION), "index": [0, 1], "data": [list(QUESTION.values())] * 2}
    answer = house.truth("question-answering")["answer"]
    for body in ({"inputs": columns}, {"input_data": columns, "params": {}}, {"input_data": table}):
        assert house.post("question-answering", "/score", **body).json() == [answer, answer]


# --- the Open Inference Protocol


def columns(task: str) -> dict[str, list[Any]]:
    if task == "question-answering":
        return {key: [value] for key, value in QUESTION.items()}
    if task == "image-classification":
        return {"image": [picture()]}
    return {"text": [INPUTS.get(task, TEXT)]}


@pytest.mark.parametrize("task", [task for task in TASKS if task not in NEEDED])
def test_tritons_client_gets_the_models_answer_in_binary_and_in_json(house: House, task: str) -> None:
    truth = house.truth(task)
    with house.triton(task) as client:
        got = checks.open_inference(client, [truth], columns=columns(task), name=task, headers=house.key)
        if task in ("text-classification", "image-classification"):
            checks.classified(got, [truth])
        if task != "image-classification":  # bytes that are no text do not go into JSON
            checks.open_inference(client, [truth], columns=columns(task), name=task, headers=house.key, binary=False)


@pytest.mark.parametrize("task", NEEDED)
def test_tritons_client_hands_the_tasks_parameters_on(house: House, task: str) -> None:
    tensor = triton.InferInput("text", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[INPUTS.get(task, TEXT)]] * 2, dtype=object))
    with house.triton(task) as client:
        got = client.infer(task, [tensor], request_id="r1", parameters=NEEDED[task], headers=house.key)
    rows = [json.loads(row) for row in got.as_numpy("output")]
    assert checks.close(rows, [house.truth(task, **NEEDED[task])] * 2) or task == "text-to-image"
    assert got.get_response()["id"] == "r1"


def test_tritons_client_learns_what_there_is(house: House) -> None:
    with house.triton("text-classification") as client:
        assert client.is_server_live(headers=house.key)
        assert client.is_server_ready(headers=house.key)
        assert client.get_server_metadata(headers=house.key)["extensions"] == ["binary_tensor_data"]
        assert client.is_model_ready("text-classification", headers=house.key)
        assert client.is_model_ready("text-classification", "3", headers=house.key)
        assert not client.is_model_ready("text-classification", "4", headers=house.key)
        assert not client.is_model_ready("nothing", headers=house.key)
        metadata = client.get_model_metadata("text-classification", "3", headers=house.key)
        assert metadata["name"] == "text-classification"
        assert metadata["versions"] == ["3"]
        assert metadata["platform"] == "bedplate"
        assert [one["name"] for one in metadata["inputs"]] == ["text", "text_pair"]
        assert [one["name"] for one in metadata["outputs"]] == ["output", "label", "score"]
        with pytest.raises(InferenceServerException, match="Authorization: Bearer KEY"):
            client.get_server_metadata()


def test_pairs_and_the_address_of_the_endpoint_itself_work_for_tritons_client(house: House) -> None:
    truth = house.truth("text-classification", {"text": "a card", "text_pair": "is lost"})
    with house.triton("text-classification", "/endpoints/text-classification") as client:
        given = {"text": ["a card"], "text_pair": ["is lost"]}
        checks.open_inference(client, [truth], columns=given, name="whatever", headers=house.key)


def test_tritons_client_is_told_what_is_wrong(house: House) -> None:
    def fails(match: str, name: str = "text", datatype: str = "BYTES", data: Any = ("hi",), **more: Any) -> None:
        kind = object if datatype == "BYTES" else np.float32
        values = np.array(data, dtype=kind)
        tensor = triton.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values)
        with house.triton("text-classification") as client, pytest.raises(InferenceServerException, match=match):
            client.infer(more.pop("model", "text-classification"), [tensor], headers=house.key, **more)

    with house.triton("text-classification") as client:
        checks.open_inference_refusal(client, house.key)
    fails("must be BYTES", datatype="FP32", data=(1.0,))
    fails(r"one text a row", data=(("a", "b"),))
    fails("no endpoint 'nothing'", model="nothing")
    fails("no parameter 'topk'", parameters={"topk": 1})
    fails("no parameter 'sequence_id'", sequence_id=5)
    fails("item 1: text is empty", data=("fine", ""))
    fails("There is no output 'logits'", outputs=[triton.InferRequestedOutput("logits")])
    fails("'classification'", outputs=[triton.InferRequestedOutput("output", class_count=2)])


# --- openai


@pytest.mark.parametrize("base", ["/v1", "/endpoints/text-generation/v1"])
def test_openais_client_chats_and_completes(house: House, base: str) -> None:
    text = wire("text-generation", house.truth("text-generation", max_new_tokens=TOKENS))
    with house.openai(base) as client:
        checks.openai_chat(client, chat_truth(house))
        checks.openai_chat_stream(client, chat_truth(house))
        checks.openai_completion(client, text)
        checks.openai_completion_stream(client, text)
        checks.openai_refusal(client)
        assert [one.id for one in client.models.list()] == ["text-generation"]
        assert client.models.retrieve("text-generation").id == "text-generation"


def test_openais_client_draws_stops_and_counts(house: House) -> None:
    text = wire("text-generation", house.truth("text-generation", max_new_tokens=TOKENS))
    with house.openai() as client:
        full = client.completions.create(model="text-generation", prompt=PROMPT, max_tokens=TOKENS, logprobs=2)
        logprobs = full.choices[0].logprobs
        assert "".join(logprobs.tokens) == text
        assert all(value <= 0 for value in logprobs.token_logprobs)
        assert {len(top) for top in logprobs.top_logprobs} <= {1, 2}  # two tokens may be the same half of a character
        assert full.usage.completion_tokens == len(logprobs.tokens)
        stop = text[3:5]
        stopped = client.completions.create(model="text-generation", prompt=PROMPT, max_tokens=TOKENS, stop=[stop])
        assert stopped.choices[0].text == text[: text.index(stop)]
        assert stopped.choices[0].finish_reason == "stop"
        several = client.chat.completions.create(
            model="text-generation", messages=CHAT, max_completion_tokens=4, n=3, seed=5, temperature=1.5
        )
        again = client.chat.completions.create(
            model="text-generation", messages=CHAT, max_completion_tokens=4, n=3, seed=5, temperature=1.5
        )
        texts = [one.message.content for one in several.choices]
        assert [one.index for one in several.choices] == [0, 1, 2]
        assert texts == [one.message.content for one in again.choices]
        assert several.usage.completion_tokens <= 12
        two = client.completions.create(model="text-generation", prompt=[PROMPT, PROMPT], max_tokens=2, echo=True)
        assert [one.text.startswith(PROMPT) for one in two.choices] == [True, True]


def test_what_has_no_effect_is_taken_and_what_would_have_one_is_refused_by_name(house: House) -> None:
    with house.openai() as client:
        client.chat.completions.create(
            model="text-generation",
            messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
            max_tokens=1,
            user="u1",
            metadata={"a": "b"},
            store=False,
            response_format={"type": "text"},
        )
        for name, value in {
            "response_format": {"type": "json_object"},
            "n": 17,
            "stop": ["x"] * 17,
            "logit_bias": {"5": 1},
            "top_logprobs": 2,
            "messages": [],
        }.items():
            given = {"messages": CHAT, name: value}
            with pytest.raises(openai.UnprocessableEntityError, match=name) as caught:
                client.chat.completions.create(model="text-generation", **given)
            assert caught.value.param == name
        with pytest.raises(openai.UnprocessableEntityError, match=r"no parameter 'temprature'\. Did you mean"):
            client.chat.completions.create(model="text-generation", messages=CHAT, extra_body={"temprature": 1})
        with pytest.raises(openai.UnprocessableEntityError, match="messages"):
            client.chat.completions.create(model="text-generation", messages=[{"role": "user"}])


def test_errors_reach_openais_client_as_it_knows_them(house: House) -> None:
    def ask(key: str | None = None, model: str = "text-generation", base: str = "/v1", **more: Any) -> None:
        with house.openai(base, key) as client:
            given = {"messages": CHAT, "max_tokens": 1} | more
            client.chat.completions.create(model=model, **given)

    with pytest.raises(openai.AuthenticationError, match="no valid key") as unknown:
        ask("wrong")
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError, match="no endpoint 'nothing'") as missing:
        ask(model="nothing")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="no endpoint 'nothing'"):
        ask(base="/endpoints/nothing/v1")
    with pytest.raises(openai.PermissionDeniedError, match="may not score"):
        ask("only-text")
    with pytest.raises(openai.UnprocessableEntityError, match="does text-classification: it has no chat"):
        ask("only-text", model="text-classification")
    with pytest.raises(openai.RateLimitError, match="requests a second") as limited:
        for _ in range(3):
            ask("slow")
    assert limited.value.response.headers["retry-after"]
    with pytest.raises(openai.UnprocessableEntityError, match=r"context|token"):
        ask(messages=[{"role": "user", "content": "word " * 2000}])
    with house.openai(key="only-text") as client:
        assert list(client.models.list()) == []
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("text-generation")
    wrong = httpx.post(f"{house.url}/v1/chat/completions", headers=house.floor.authorization, content=b"{")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "bad-json")
    nowhere = httpx.post(f"{house.url}/v1/embeddings", headers=house.floor.authorization, json={})
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "no-route")


def test_the_time_a_caller_gives_is_the_replicas_to_keep(house: House) -> None:
    def ask(seconds: str, body: dict[str, Any]) -> httpx.Response:
        headers = house.floor.authorization | {"X-Bedplate-Timeout": seconds}
        return httpx.post(house.at("text-generation"), headers=headers, json=body, timeout=60)

    assert ask("never", {"inputs": PROMPT}).json()["code"] == "bad-timeout"
    late = ask("0.001", {"inputs": PROMPT, "parameters": {"max_new_tokens": 60}})
    assert (late.status_code, late.json()["code"]) == (504, "deadline-exceeded")


# --- streams


def test_events_come_through_the_gateway_as_they_are_written(house: House) -> None:
    body = {"model": "text-generation", "prompt": PROMPT, "max_tokens": 60, "stream": True}
    url = f"{house.url}/v1/completions"
    house.at("text-generation")
    with httpx.stream("POST", url, headers=house.floor.authorization, json=body, timeout=60) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert "content-length" not in response.headers
        times = [time.monotonic() for line in response.iter_lines() if line.startswith("data: ")]
    assert len(times) > 20
    assert times[0] < times[-1] - 0.005  # the first was here before the last was written


def test_a_caller_who_leaves_a_stream_ends_the_work(house: House) -> None:
    """The model makes a step for each token: fewer than the whole text has. (A text may be faster than its leaver.)"""
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 100}, "stream": True}
    url, headers = house.at("text-generation"), house.floor.authorization

    def info() -> dict[str, Any]:
        return dict(httpx.get(f"{url}/info", headers=headers).json())

    def steps(reads: Callable[[Iterator[str]], object]) -> int:
        before = info()["batches"]
        with httpx.stream("POST", url, headers=headers, json=body, timeout=60) as response:
            reads(response.iter_lines())
        house.floor.until(lambda: info()["waiting"] == 0, 10, "an empty queue")
        now, last = info()["batches"], -1
        while now != last:
            time.sleep(0.1)
            now, last = info()["batches"], now
        return int(now - before)

    whole = steps(list)
    assert whole > 20
    house.floor.until(lambda: steps(next) < whole, 60, "a text that ends with its reader")


# --- curl, and the endpoint's own document


def test_curl_is_enough(house: House) -> None:
    key = f"Authorization: Bearer {house.floor.key}"
    done = subprocess.run(
        ["curl", "-sS", "-H", key, house.at("text-classification"), "-d", json.dumps({"inputs": TEXT})],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert checks.close(json.loads(done.stdout), [house.truth("text-classification")])
    raw = subprocess.run(
        ["curl", "-sS", "-H", key, house.at("image-classification"), "--data-binary", "@-"],
        input=picture(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert checks.close(json.loads(raw.stdout), house.truth("image-classification"))


VOLATILE = ("id", "created")


@pytest.mark.parametrize("task", TASKS)
def test_the_examples_of_an_endpoints_document_are_its_answers(house: House, task: str) -> None:
    headers = house.floor.authorization
    document = httpx.get(house.at(task, "/openapi.json"), headers=headers, timeout=60).json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == task
    tried = 0
    for path, operations in document["paths"].items():
        if "post" not in operations:
            continue
        example = operations["post"]["requestBody"]["content"]["application/json"]["example"]
        response = httpx.post(house.url + path, headers=headers, json=example, timeout=60)
        assert response.status_code == 200, (path, response.text)
        told = operations["post"]["responses"]["200"]["content"]
        if "image/png" in told:
            assert response.content.startswith(b"\x89PNG")
        else:
            expected = told["application/json"]["example"]
            answer = response.json()
            for name in VOLATILE if "/v1/" in path else ():
                assert answer.pop(name)
                expected.pop(name)
            assert "/v2/" in path or checks.close(answer, expected), path
        tried += 1
    assert tried == (5 if task == "text-generation" else 3)
    refs = set(_refs(document))
    assert refs <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "$ref":
                yield one
            else:
                yield from _refs(one)
    elif isinstance(value, list):
        for one in value:
            yield from _refs(one)


# --- the page that describes all this

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "scoring.md"
NAMES = dict(
    zip(
        ("support", "people", "answers", "blanks", "briefs", "french", "writer", "photos", "painter"),
        TASKS,
        strict=True,
    )
)


def blocks(language: str) -> list[str]:
    """Those of the page, by the names that this file's endpoints have."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(r'(?<=["/])(\w+)(?=[/" ])', lambda name: NAMES.get(name[1], name[1]), block) for block in found]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the page leaves its file open
def test_the_page_on_scoring_runs_as_it_is_written(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(picture())
    for task in TASKS:
        house.at(task)
    given = {"URL": house.url, "KEY": house.floor.key}
    namespace: dict[str, Any] = dict(given)
    for block in blocks("python"):
        exec(compile(block, str(GUIDE), "exec"), namespace)
    assert (tmp_path / "house.png").read_bytes().startswith(b"\x89PNG")
    assert "['text-generation']" in capsys.readouterr().out
    for block in blocks("bash"):
        done = subprocess.run(["bash", "-ec", block], env=os.environ | given, capture_output=True, check=True)
        assert b"error" not in done.stdout, done.stdout


def test_the_page_on_scoring_names_every_parameterless_route_of_the_table() -> None:
    from bedplate_serving.scoring_paths import EXACT, OF_THE_REPLICA

    text = GUIDE.read_text()
    for _, path in (*EXACT, *OF_THE_REPLICA):
        first = "/" + path.split("/")[1]
        assert f"/endpoints/NAME{first}".rstrip("/") in text or f"`{path}`" in text, path
