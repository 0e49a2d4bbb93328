"""What one endpoint takes and gives, as OpenAPI 3.1: its paths, its task's schemas, and examples that work.

The examples are made of the deployment's own sample, in every dialect, and their answers are what this very model
said to them just now: they are sent through the same code as a caller's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from bedplate_registry.errors import BedplateError
from bedplate_serving.dialects.call import Call, Reply, StreamingReply
from bedplate_serving.dialects.open_inference import input_names
from bedplate_serving.dialects.openai_bodies import ChatBody, CompletionBody
from bedplate_serving.predictors.base import Predictor
from bedplate_serving.problems import Problem, problem_of
from bedplate_serving.queues import DeadlineExceeded

__all__ = ["endpoint_document"]

Ask = Callable[[Call], Awaitable[Reply | StreamingReply]]

SHOWN_BYTES = 64 * 1024  # an example beyond it, a large image say, is left out
EXAMPLE_TOKENS = 16
JSON = "application/json"
REFUSAL = {"application/problem+json": {"schema": {"type": "object"}}}  # under /v1 OpenAI's object, as plain JSON

_documents: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()  # by predictor: neither it nor the sample changes
_making: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()


async def endpoint_document(call: Call, predictor: Predictor, ask: Ask) -> Reply:
    """Made once, by the first who asks; by the next where he leaves before it is done. Raises DeadlineExceeded."""
    if predictor not in _documents:
        try:
            async with asyncio.timeout(call.deadline - time.monotonic()):
                await _make(call, predictor, ask)
        except TimeoutError:
            raise DeadlineExceeded from None
    return Reply(_documents[predictor])


async def _make(call: Call, predictor: Predictor, ask: Ask) -> None:
    async with _making.setdefault(predictor, asyncio.Lock()):
        if predictor not in _documents:
            _documents[predictor] = orjson.dumps(await _document(call, predictor, ask))


async def _document(call: Call, predictor: Predictor, ask: Ask) -> dict[str, Any]:
    components = _components(predictor)
    paths: dict[str, Any] = {"": await _hub(call, predictor, ask)}
    for path, body, words in _others(call, predictor):
        if (reply := await _answer(call, path, body, ask)) is not None:
            paths[path] = _post(words, body, orjson.loads(reply.body))
    prefix = f"/endpoints/{call.endpoint}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": call.endpoint,
            "version": call.model.rpartition(":")[2] or "1",
            "description": f"{predictor.task} by {call.model}. The examples are this model's own answers.",
        },
        "security": [{"key": []}],
        "paths": {
            **{prefix + path: {"post": operation} for path, operation in paths.items()},
            **{prefix + path.format(model=call.endpoint): {"get": _get(words)} for path, words in GETS.items()},
        },
        "components": components | {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


GETS = {
    "/health": "200 once the model answers.",
    "/info": "What is served, and how busy it is.",
    "/v2/models/{model}": "The tensors of the Open Inference Protocol.",
    "/v2/models/{model}/ready": "200 once the model answers.",
}


async def _answer(call: Call, path: str, body: Mapping[str, Any], ask: Ask) -> Reply | None:
    """None where the request is refused as it is: the model may have no template for a chat. What fails otherwise, and
    may go well the next time, is raised.
    """
    headers = {"content-type": JSON}
    other = dataclasses.replace(call, method="POST", path=path, body=orjson.dumps(body), headers=headers)
    try:
        reply = await ask(other)
    except (Problem, BedplateError) as error:
        status = error.status if isinstance(error, Problem) else problem_of(error).status
        if status == 429 or status >= 500:
            raise
        return None
    return reply if isinstance(reply, Reply) else None


async def _hub(call: Call, predictor: Predictor, ask: Ask) -> dict[str, Any]:
    request = call.sample["request"]
    operation = _post("The Hub's dialect: huggingface_hub.InferenceClient(model=this URL), curl.", request, None)
    one = {"$ref": "#/components/schemas/Answer"}
    content: dict[str, Any] = {JSON: {"schema": {"anyOf": [one, {"type": "array", "items": one}]}}}
    if predictor.task == "text-to-image" and not isinstance(request.get("inputs"), list):
        content = {"image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}}}
    elif (reply := await _answer(call, "/", request, ask)) is not None:
        content[JSON] |= _example(orjson.loads(reply.body))
    operation["responses"]["200"]["content"] = content
    operation["requestBody"]["content"][JSON]["schema"] = {"$ref": "#/components/schemas/Request"}
    return operation


def _others(call: Call, predictor: Predictor) -> list[tuple[str, dict[str, Any], str]]:
    """Path, body and words of every other dialect."""
    request = call.sample["request"]
    inputs, parameters = request["inputs"], request.get("parameters") or {}
    items = inputs if isinstance(inputs, list) else [inputs]
    azure = {"input_data": items, "params": parameters}
    tensors = _tensors(items, parameters, predictor)
    others = [("/score", azure, "Azure ML's dialect.")]
    if tensors is not None:
        others.append((f"/v2/models/{call.endpoint}/infer", tensors, "Open Inference Protocol, version 2."))
    if predictor.task == "text-generation" and isinstance(items[0], str):
        limits = {"model": call.endpoint, "max_tokens": EXAMPLE_TOKENS, "temperature": 0}
        chat = {"messages": [{"role": "user", "content": items[0]}], **limits}
        others.append(("/v1/chat/completions", chat, "OpenAI's chat, by the model's own template."))
        others.append(("/v1/completions", {"prompt": items[0], **limits}, "OpenAI's completions."))
    return others


def _tensors(items: list[Any], parameters: Mapping[str, Any], predictor: Predictor) -> dict[str, Any] | None:
    """The items as tensors. What one has beside its texts, such as languages, are parameters of the request."""
    names = input_names(predictor.task)
    rows = [_renamed(item) if isinstance(item, dict) else {names[0]: item} for item in items]
    columns = {name: [row[name] for row in rows] for name in names if rows and all(name in row for row in rows)}
    beside = [{key: value for key, value in row.items() if key not in columns} for row in rows]
    if not columns or (len(rows) > 1 and any(beside)):
        return None
    if not all(isinstance(value, str) for values in columns.values() for value in values):
        return None
    tensors = [
        {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": values} for name, values in columns.items()
    ]
    return {"inputs": tensors, "parameters": {**beside[0], **parameters}}


def _renamed(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"text" if key in ("prompt", "source", "document") else key: value for key, value in item.items()}


def _post(words: str, request: Any, answer: Any) -> dict[str, Any]:
    return {
        "summary": words,
        "requestBody": {"required": True, "content": {JSON: {"schema": _schema_of(words), **_example(request)}}},
        "responses": {
            "200": {"description": "The answer.", "content": {JSON: {"schema": {}, **_example(answer)}}},
            "default": {"description": "Why there is none, and what to do.", "content": REFUSAL},
        },
    }


def _schema_of(words: str) -> dict[str, Any]:
    named = {"OpenAI's chat": "Chat", "OpenAI's completions": "Completion"}
    found = next((name for start, name in named.items() if words.startswith(start)), None)
    return {"type": "object"} if found is None else {"$ref": f"#/components/schemas/{found}"}


def _get(words: str) -> dict[str, Any]:
    return {"summary": words, "responses": {"200": {"description": words, "content": {JSON: {"schema": {}}}}}}


def _example(value: Any) -> dict[str, Any]:
    return {"example": value} if len(orjson.dumps(value)) <= SHOWN_BYTES else {}


def _components(predictor: Predictor) -> dict[str, Any]:
    schemas = dict(predictor.schemas())
    one = {"$ref": "#/components/schemas/Input"}
    properties = {
        "inputs": {"anyOf": [one, {"type": "array", "items": one}]},
        "parameters": {"$ref": "#/components/schemas/Parameters"},
    }
    raw = {
        "Request": {"type": "object", "required": ["inputs"], "properties": properties},
        "Input": schemas["input"],
        "Parameters": schemas["parameters"],
        "Answer": schemas["answer"],
    }
    if predictor.task == "text-generation":
        properties["stream"] = {"type": "boolean", "description": "TGI's events instead of one answer."}
        raw |= {"Chat": ChatBody.model_json_schema(), "Completion": CompletionBody.model_json_schema()}
    lifted: dict[str, Any] = {}
    for name, schema in raw.items():
        own = dict(schema)
        lifted |= own.pop("$defs", {})
        lifted[name] = own
    moved: dict[str, Any] = orjson.loads(orjson.dumps(lifted).replace(b'"#/$defs/', b'"#/components/schemas/'))
    return {"schemas": moved}
