"""Bodies of OpenAI's dialect: what is taken, what is refused by name, and what it is in our own terms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from bedplate_registry.errors import Unavailable
from bedplate_serving.dialects import Call, ScoringRequest, StreamingRequest, tgi
from bedplate_serving.dialects.openai import parse_chat, parse_completion
from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.predictors.generation.parameters import GenerationParameters
from bedplate_serving.problems import Problem

CHAT = [{"role": "user", "content": "hello"}]


class Writer:
    """As a predictor of text generation reads what it is given."""

    task = "text-generation"

    def parameters(self, raw: Any) -> GenerationParameters:
        return GenerationParameters(**raw)

    def parse(self, item: Any, parameters: Any = None) -> Any:
        return (item, parameters)

    def token(self, token_id: int) -> tuple[str, bytes]:
        return TOKENS[token_id]

    def parse_chat(self, messages: Any, parameters: Any = None, tools: Any = None) -> Any:
        return (messages, parameters, tools)


def call(**body: Any) -> Call:
    text = json.dumps(body).encode()
    return Call(method="POST", path="/", body=text, headers={}, deadline=0, model="acme/m:2", endpoint="m", sample={})


def chat(**more: Any) -> Any:
    return parse_chat(call(messages=CHAT, **more), Writer())


def completion(**more: Any) -> Any:
    return parse_completion(call(**{"prompt": "Once", **more}), Writer())


def given(request: Any) -> dict[str, Any]:
    item = request.items[0] if isinstance(request, ScoringRequest) else request.item
    return item[1].model_dump(exclude_unset=True, exclude={"include_stop_str_in_output", "return_full_text"})


def test_fields_get_our_own_names() -> None:
    assert given(chat()) == {}
    assert given(chat(max_tokens=5, max_completion_tokens=7)) == {"max_new_tokens": 7}
    assert given(chat(temperature=0, seed=-1, stop="x")) == {"temperature": 0, "seed": 2**63 - 1, "stop": ["x"]}
    assert given(chat(n=2)) == {"num_return_sequences": 2, "do_sample": True}
    assert given(chat(logprobs=True, top_logprobs=3)) == {"top_n_tokens": 3}
    assert given(chat(logprobs=True)) == {}
    assert given(completion()) == {"max_new_tokens": 16}
    assert given(completion(best_of=3)) == {"max_new_tokens": 16, "best_of": 3, "do_sample": True}
    assert [item[0] for item in completion(prompt=["a", "b"]).items] == ["a", "b"]
    assert not completion().items[0][1].return_full_text
    assert completion(echo=True).items[0][1].return_full_text
    assert not chat().items[0][1].include_stop_str_in_output


def test_tools_go_to_the_template_unless_they_are_not_to_be_used() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert chat(tools=tools).items[0][2] == tools
    assert chat(tools=tools, tool_choice="none").items[0][2] is None


def test_what_has_no_effect_is_taken() -> None:
    chat(model="m", user="u", metadata={"a": "b"}, store=False, logit_bias={}, tools=[], n=1, service_tier="auto")
    chat(response_format={"type": "text"}, modalities=["text"], parallel_tool_calls=True, stop=None, seed=None)
    completion(suffix="", best_of=1, user="u")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("n", 0),
        ("n", 17),
        ("n", True),
        ("stop", ["x"] * 17),
        ("stop", 5),
        ("temperature", 3),
        ("temperature", "1"),
        ("top_p", 0),
        ("max_tokens", 0),
        ("max_tokens", 10**30),
        ("logit_bias", {"50256": -100}),
        ("top_logprobs", 2),
        ("tool_choice", "required"),
        ("tools", [{}] * 129),
        ("store", True),
        ("stream", 1),
        ("stream_options", {"include_usage": True}),
        ("messages", []),
        ("messages", [{"role": "user", "content": "x"}] * 1025),
        ("messages", "hello"),
        ("audio", {"voice": "x"}),
    ],
)
def test_what_would_have_an_effect_and_cannot_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Problem) as caught:
        parse_chat(call(**{"messages": CHAT, field: value}), Writer())
    assert caught.value.status in (400, 422)
    assert field in caught.value.detail or caught.value.code == "bad-json"
    assert caught.value.extra.get("param") in (field, None)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a"] * 257}, "prompt"),
        ({"prompt": ["a", "b"], "stream": True}, "prompt"),
        ({"n": 2, "stream": True}, "n"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"best_of": 2, "n": 2}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
    ],
)
def test_of_completions_as_well(more: dict[str, Any], field: str) -> None:
    with pytest.raises(Problem) as caught:
        completion(**more)
    assert caught.value.status == 422
    assert caught.value.extra["param"] == field


def test_a_body_without_what_it_needs_says_so() -> None:
    with pytest.raises(Problem, match="no 'messages'"):
        parse_chat(call(model="m"), Writer())
    with pytest.raises(Problem, match="no 'prompt'"):
        parse_completion(call(model="m"), Writer())


# --- answers


TOKENS = {0: ("</s>", b"</s>"), 1: ("Hel", b"Hel"), 2: ("lo", b"lo"), 3: ("\ufffd", b"\xc3"), 4: ("\ufffd", b"\xa9")}
PIECES = (Piece("Hel", 1, -0.5), Piece("lo", 2, -0.25))
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
ENDED = Piece("", 0, -1.0, special=True, finish_reason="eos_token", usage=USAGE)


def generation(**more: Any) -> Generation:
    return Generation("Hello", PIECES, "length", 3, **more)


def test_a_chat_counts_and_says_why_it_ended() -> None:
    answer = json.loads(chat().write([generation()]).body)
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert (answer["choices"][0]["finish_reason"], answer["choices"][0]["logprobs"]) == ("length", None)
    assert (answer["model"], answer["system_fingerprint"]) == ("m", "acme/m:2")


def test_several_texts_are_numbered_across_prompts() -> None:
    answer = json.loads(completion(prompt=["a", "b"], n=2).write([generation(others=(generation(),))] * 2).body)
    assert [one["index"] for one in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 8, "total_tokens": 14}


def test_log_probabilities_stand_beside_their_tokens() -> None:
    answer = json.loads(chat(logprobs=True).write([generation()]).body)
    assert [one["logprob"] for one in answer["choices"][0]["logprobs"]["content"]] == [-0.5, -0.25]
    older = json.loads(completion(logprobs=0).write([generation()]).body)["choices"][0]["logprobs"]
    assert (older["tokens"], older["text_offset"]) == (["Hel", "lo"], [0, 3])


def test_a_token_is_told_by_itself_though_its_text_comes_with_a_later_one() -> None:
    halves = (Piece("", 3, -0.5), Piece("é", 4, -0.25, top=((4, "\ufffd", -0.25), (3, "\ufffd", -2.0))))
    answer = json.loads(chat(logprobs=True, top_logprobs=2).write([Generation("é", halves, "length", 3)]).body)
    told = answer["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["bytes"]) for one in told] == [("\ufffd", [0xC3]), ("\ufffd", [0xA9])]
    assert [one["bytes"] for one in told[1]["top_logprobs"]] == [[0xA9], [0xC3]]
    older = json.loads(completion(logprobs=2).write([Generation("é", halves, "length", 3)]).body)["choices"][0]
    assert older["logprobs"]["tokens"] == ["\ufffd", "\ufffd"]
    assert older["logprobs"]["top_logprobs"][1] == {"\ufffd": -0.25}


def test_the_places_of_streamed_tokens_count_on_from_the_text_before() -> None:
    events = streamed(completion(stream=True, logprobs=0), *PIECES, ENDED)
    assert [one["choices"][0]["logprobs"]["text_offset"] for one in events[:-1]] == [[0], [3], [5]]


@pytest.mark.parametrize("kind", ["chat", "completion", "hub"])
def test_a_caller_who_leaves_a_stream_ends_the_work_at_once(kind: str) -> None:
    request = {
        "chat": lambda: chat(stream=True),
        "completion": lambda: completion(stream=True),
        "hub": lambda: tgi.stream("Once", GenerationParameters(), Writer()),  # type: ignore[arg-type]
    }[kind]()
    has_ended = False

    async def source() -> AsyncIterator[Piece]:
        nonlocal has_ended
        try:
            while True:
                yield PIECES[0]
        finally:
            has_ended = True

    async def test() -> None:
        pieces = source()
        async with aclosing(request.write(pieces)) as events:
            await anext(events)
        assert has_ended

    asyncio.run(test())


def streamed(request: StreamingRequest, *pieces: Any) -> list[Any]:
    """The events; an exception among the pieces is raised there."""

    async def source() -> AsyncIterator[Piece]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def read() -> list[bytes]:
        return [chunk async for chunk in request.write(source())]

    lines = [chunk.decode().strip().removeprefix("data: ") for chunk in asyncio.run(read())]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.mark.parametrize(("raw", "drawn"), [({"temperature": 0.5}, True), ({}, False), ({"seed": 3}, False)])
def test_the_details_of_a_stream_tell_the_seed_that_was_drawn(raw: dict[str, Any], drawn: bool) -> None:
    request = tgi.stream("Once", GenerationParameters(details=True, **raw), Writer())  # type: ignore[arg-type]
    seed = streamed(request, *PIECES, ENDED)[-1]["details"]["seed"]
    assert (seed is not None) == drawn
    assert seed is None or seed == request.item[1].seed


def test_events_end_with_the_count_where_it_is_wanted_and_always_with_done() -> None:
    counted = streamed(chat(stream=True, stream_options={"include_usage": True}), *PIECES, ENDED)
    assert counted[-1] == "[DONE]"
    assert (counted[-2]["choices"], counted[-2]["usage"]["total_tokens"]) == ([], 5)
    assert [one["usage"] for one in counted[:-2]] == [None] * 4
    plain = streamed(completion(stream=True), *PIECES, ENDED)
    assert [one["choices"][0]["text"] for one in plain[:-1]] == ["Hel", "lo", ""]
    assert [one["choices"][0]["finish_reason"] for one in plain[:-1]] == [None, None, "stop"]
    assert "usage" not in plain[0]


def test_an_error_before_the_first_event_is_raised_and_one_after_it_is_the_last_event() -> None:
    lost = Unavailable("The model is gone.", hint="Try again.")
    with pytest.raises(Unavailable):
        streamed(chat(stream=True), lost)
    events = streamed(chat(stream=True), PIECES[0], lost)
    assert events[-1]["error"]["message"] == "The model is gone. Try again."
    assert events[-1]["error"]["type"] == "server_error"
