"""OpenAI's dialect of text generation: chat with the model's own template, and completions, whole or as events.

    POST /v1/chat/completions   {"model", "messages": [{"role", "content"}, …], …}
    POST /v1/completions        {"model", "prompt": text | [text, …], …}
    GET  /v1/models[/{model}]

`model` in the answers is the endpoint's name and `system_fingerprint` the model version that answered. Without
temperature, top_p and top_k the likeliest token is taken each time. What a model says of tools is given as text.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from bedplate_serving.dialects.body import parse_items, read_object
from bedplate_serving.dialects.call import Call, Reply, ScoringRequest, StreamingRequest
from bedplate_serving.dialects.events import event, refuse_unless_writing, with_errors
from bedplate_serving.dialects.openai_bodies import ChatBody, CompletionBody, OpenAIBody, read_body
from bedplate_serving.model_list import model_card, model_list
from bedplate_serving.predictors.base import ItemError, Piece, Predictor
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.problems import Problem

__all__ = ["parse_chat", "parse_completion", "tell_model", "tell_models"]

Asked = ScoringRequest | StreamingRequest
TokenOf = Callable[[int], tuple[str, bytes]]  # by its id


def parse_chat(call: Call, predictor: Any) -> Asked:
    refuse_unless_writing(predictor, "chat")
    body = read_body(ChatBody, read_object(call.body), "chat/completions")
    parameters = predictor.parameters(body.generation())
    try:
        item = predictor.parse_chat(body.messages, parameters, body.usable_tools)
    except ItemError as error:
        raise Problem(422, error.code, f"{error.message}.", error.hint, extra={"param": "messages"}) from error
    return _asked(_Chat(call, body, predictor.token), [item], body)


def parse_completion(call: Call, predictor: Any) -> Asked:
    refuse_unless_writing(predictor, "completions")
    body = read_body(CompletionBody, read_object(call.body), "completions")
    parameters = predictor.parameters(body.generation())
    return _asked(_Completions(call, body, predictor.token), parse_items(body.prompts, predictor, parameters), body)


def tell_models(call: Call, predictor: Predictor) -> Reply:
    return Reply(model_list([call.endpoint]))


def tell_model(call: Call, predictor: Predictor) -> Reply:
    return Reply(model_card(call.endpoint))


def _asked(answers: _Answers, items: Sequence[Any], body: OpenAIBody) -> Asked:
    if body.stream:
        return StreamingRequest(items[0], lambda pieces: with_errors(answers.events(pieces), _failure))
    return ScoringRequest(items, answers.whole)


def _failure(problem: Problem) -> bytes:
    return b"data: " + problem.openai_body() + b"\n\n"


class _Answers:
    """The shapes of one request's answer, or of the events of one."""

    prefix: str
    whole_object: str
    event_object: str

    def __init__(self, call: Call, body: OpenAIBody, token_of: TokenOf) -> None:
        self._body, self._token_of = body, token_of
        self._written = 0  # characters of the text that is streamed
        self._head = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": call.endpoint,
            "system_fingerprint": call.model,
        }

    def whole(self, raws: Sequence[Generation]) -> Reply:
        """`raws` are the prompts' texts; further ones of the same prompt lie inside."""
        texts = [one for raw in raws for one in (raw, *raw.others)]
        choices = [{"index": index, **self.choice(text)} for index, text in enumerate(texts)]
        usage = _usage([raw.usage for raw in raws])
        return Reply(orjson.dumps({"object": self.whole_object, **self._head, "choices": choices, "usage": usage}))

    async def events(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
        usage = None
        is_first = True
        async with aclosing(pieces) as opened:  # type: ignore[type-var]  # of generators: the work ends with the caller
            async for piece in opened:
                if is_first:
                    for delta in self.opening():
                        yield self._event([delta])
                    is_first = False
                yield self._event([self.delta(piece)])
                self._written += len(piece.text)
                usage = piece.usage or usage
        if self._body.wants_usage:
            yield self._event([], usage=_usage([usage or {}]))
        yield b"data: [DONE]\n\n"

    def _event(self, choices: Sequence[Mapping[str, Any]], **more: Any) -> bytes:
        told = {"object": self.event_object, **self._head, "choices": [{"index": 0, **one} for one in choices]}
        if self._body.wants_usage:
            told["usage"] = None
        return event(told | more)

    def choice(self, text: Generation) -> dict[str, Any]:
        raise NotImplementedError

    def delta(self, piece: Piece) -> dict[str, Any]:
        raise NotImplementedError

    def opening(self) -> list[dict[str, Any]]:
        """What comes before the first piece."""
        return []


class _Chat(_Answers):
    prefix, whole_object, event_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, text: Generation) -> dict[str, Any]:
        message = {"role": "assistant", "content": text.text, "refusal": None}
        logprobs = self._logprobs(text.pieces)
        return {"message": message, "logprobs": logprobs, "finish_reason": _reason(text.finish_reason)}

    def delta(self, piece: Piece) -> dict[str, Any]:
        content = {"content": piece.text} if piece.text or piece.finish_reason is None else {}
        return {"delta": content, "logprobs": self._logprobs([piece]), "finish_reason": _reason(piece.finish_reason)}

    def opening(self) -> list[dict[str, Any]]:
        return [{"delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}]

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if self._body.top is None:
            return None
        told = [self._token(piece.token_id, piece.logprob) for piece in pieces]
        for one, piece in zip(told, pieces, strict=True):
            one["top_logprobs"] = [self._token(token, logprob) for token, _, logprob in piece.top]
        return {"content": told, "refusal": None}

    def _token(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        """The token itself, not the text that it released: that may be none, or hold characters of those before it."""
        text, raw = self._token_of(token_id)
        return {"token": text, "logprob": logprob, "bytes": list(raw)}


class _Completions(_Answers):
    prefix, whole_object, event_object = "cmpl", "text_completion", "text_completion"

    def choice(self, text: Generation) -> dict[str, Any]:
        logprobs = self._logprobs(text.pieces)
        return {"text": text.prompt + text.text, "logprobs": logprobs, "finish_reason": _reason(text.finish_reason)}

    def delta(self, piece: Piece) -> dict[str, Any]:
        logprobs = self._logprobs([piece])
        return {"text": piece.text, "logprobs": logprobs, "finish_reason": _reason(piece.finish_reason)}

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if self._body.top is None:
            return None
        offsets, place = [], self._written
        for piece in pieces:
            offsets.append(place)
            place += len(piece.text)
        return {
            "tokens": [self._token_of(piece.token_id)[0] for piece in pieces],
            "token_logprobs": [piece.logprob for piece in pieces],
            "top_logprobs": [{text: logprob for _, text, logprob in reversed(piece.top)} for piece in pieces],
            "text_offset": offsets,
        }


def _reason(ours: str | None) -> str | None:
    return None if ours is None else "length" if ours == "length" else "stop"


def _usage(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    prompt = sum(one.get("prompt_tokens", 0) for one in counts)
    completion = sum(one.get("completion_tokens", 0) for one in counts)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
