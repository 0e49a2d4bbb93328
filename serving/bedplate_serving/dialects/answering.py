"""From a call to its answer: the dialect of its path reads it, the model works, the dialect writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from bedplate_serving.dialects import azure, hub, open_inference, openai
from bedplate_serving.dialects.call import Call, Reply, ScoringRequest, StreamingReply, StreamingRequest
from bedplate_serving.dialects.document import endpoint_document
from bedplate_serving.dialects.events import HEADERS
from bedplate_serving.predictors.base import Predictor
from bedplate_serving.queues import Queue, Scored, StreamingQueue
from bedplate_serving.scoring_paths import Dialect, find, no_route

__all__ = ["answer", "is_route"]

OFF_LOOP_BYTES = 64 * 1024  # a body beyond this is parsed, and its answer written, in a thread
TRUNCATED_SHOWN = 100

Asked = Reply | ScoringRequest | StreamingRequest
SPEAKERS: Mapping[Dialect, Callable[[Call, Any], Asked]] = {
    "hub": hub.parse,
    "azure": azure.parse,
    "chat": openai.parse_chat,
    "completions": openai.parse_completion,
    "models": openai.tell_models,
    "model": openai.tell_model,
    "v2-server": open_inference.tell_server,
    "v2-live": open_inference.tell_live,
    "v2-ready": open_inference.tell_ready,
    "v2-model": open_inference.tell_model,
    "v2-model-ready": open_inference.tell_ready,
    "v2-infer": open_inference.parse,
}


def is_route(method: str, path: str) -> bool:
    """Whether a dialect answers there."""
    return find(method, path) is not None


async def answer(call: Call, predictor: Predictor, queue: Queue) -> Reply | StreamingReply:
    """The answer in the dialect of its path. Raises Problem, Refused, QueueFull, DeadlineExceeded."""
    found = find(call.method, call.path)
    if found is None:
        raise no_route(call.method, call.path)
    if found.dialect == "document":
        return await endpoint_document(call, predictor, lambda other: answer(other, predictor, queue))
    is_large = len(call.body) > OFF_LOOP_BYTES
    asked: Asked = await _run(is_large, SPEAKERS[found.dialect], call, predictor)
    if isinstance(asked, ScoringRequest):
        scored = await queue.submit(asked.items, deadline=call.deadline)
        reply: Reply = await _run(is_large or asked.is_heavy, asked.write, [one.raw for one in scored])
        return reply if not any(one.truncated for one in scored) else _with_truncated(reply, scored)
    if isinstance(asked, StreamingRequest):
        pieces = cast(StreamingQueue, queue).stream(asked.item, deadline=call.deadline)
        return StreamingReply(asked.write(pieces), headers=HEADERS)
    return asked


async def _run(in_a_thread: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments) if in_a_thread else function(*arguments)


def _with_truncated(reply: Reply, scored: Sequence[Scored]) -> Reply:
    """The items that were cut at the model's context length, by index."""
    places = [index for index, one in enumerate(scored) if one.truncated]
    more = f",+{len(places) - TRUNCATED_SHOWN}" if len(places) > TRUNCATED_SHOWN else ""
    told = ("x-bedplate-truncated", ",".join(map(str, places[:TRUNCATED_SHOWN])) + more)
    return Reply(reply.body, reply.content_type, [*reply.headers, told], reply.status)
