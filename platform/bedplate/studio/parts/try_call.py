"""One request to an endpoint, as somebody tries it: what is sent, what comes back, and who answered."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from bedplate.aio.connection import JSON, SCORE_SECONDS
from bedplate.aio.seam import client_for
from bedplate.studio.visit import Visit
from bedplate.text_streams import EventFeed
from bedplate.wire import any_json_of, error_of, json_bytes, plain_errors
from bedplate_registry.errors import BedplateError, Forbidden

__all__ = ["DEPLOYMENT_HEADER", "Call", "Reply", "ask", "schema_of", "stream"]

DEPLOYMENT_HEADER = "X-Bedplate-Deployment"
SCHEMA_SECONDS = 20.0  # the document's examples are this model's own answers: the first to ask waits for them


@dataclass(frozen=True)
class Call:
    """What is asked of whom; without a deployment the traffic decides."""

    endpoint: str
    body: Mapping[str, Any]
    deployment: str | None = None

    @property
    def path(self) -> str:
        return f"/endpoints/{quote(self.endpoint, safe='')}"

    @property
    def headers(self) -> dict[str, str]:
        return {**JSON, DEPLOYMENT_HEADER: self.deployment} if self.deployment else JSON


@dataclass
class Reply:
    """What came back: JSON, or the bytes of an image. `seconds` is until its end."""

    content: Any = None
    seconds: float = 0.0
    model: str = ""
    deployment: str = ""
    is_cut: bool = False  # the input was longer than the model reads
    first_seconds: float | None = None  # of a stream: until its first piece
    pieces: list[str] = field(default_factory=list)

    @property
    def is_image(self) -> bool:
        return isinstance(self.content, bytes)

    def note(self, answer: httpx.Response) -> None:
        """Who answered, as the headers say."""
        self.model = answer.headers.get("X-Bedplate-Model", "")
        self.deployment = answer.headers.get(DEPLOYMENT_HEADER, "")
        self.is_cut = "X-Bedplate-Truncated" in answer.headers


async def ask(visit: Visit, call: Call) -> Reply:
    """The whole answer. Raises what the endpoint refuses, and Forbidden where this user may not score."""
    reply, began = Reply(), time.perf_counter()
    async with _answer_to(visit, call) as answer:
        await answer.aread()
        reply.seconds = time.perf_counter() - began
        reply.note(answer)
        is_image = answer.headers.get("content-type", "").startswith("image/")
        reply.content = answer.content if is_image else any_json_of(answer)
    return reply


async def stream(visit: Visit, call: Call, reply: Reply) -> AsyncGenerator[str, None]:
    """The pieces of a text as they are written; `reply` is whole when they end. Raises as `ask`."""
    began, feed = time.perf_counter(), EventFeed()
    whole = Call(call.endpoint, {**call.body, "stream": True}, call.deployment)
    async with _answer_to(visit, whole) as answer:
        reply.note(answer)
        async for chunk in answer.aiter_bytes():
            for event in feed.feed(chunk):
                piece = _piece_of(event.data)
                reply.seconds = time.perf_counter() - began
                reply.first_seconds = reply.seconds if reply.first_seconds is None else reply.first_seconds
                reply.content = (
                    event.data if reply.content is None or event.data.get("generated_text") else reply.content
                )
                reply.pieces.append(piece)
                yield piece


async def schema_of(visit: Visit, call: Call) -> dict[str, Any]:
    """What parameters this endpoint takes, as JSON schema. Raises as `ask`."""
    await _check_may_score(visit)
    async with client_for("http://gateway", socket=visit.scoring_socket) as client:
        with plain_errors(call.path, is_here=True):
            place = f"{call.path}/openapi.json"
            answer = await client.get(place, headers=call.headers, timeout=SCHEMA_SECONDS)
    if not answer.is_success:
        raise error_of(answer)
    schema: dict[str, Any] = answer.json()["components"]["schemas"]["Parameters"]
    return schema


@asynccontextmanager
async def _answer_to(visit: Visit, call: Call) -> AsyncIterator[httpx.Response]:
    """Over the gateway's own socket, which asks for no key: so who may score is asked here."""
    await _check_may_score(visit)
    async with client_for("http://gateway", socket=visit.scoring_socket) as client:
        with plain_errors(call.path, is_here=True):
            content = json_bytes(call.body)
            sent = client.stream("POST", call.path, content=content, headers=call.headers, timeout=SCORE_SECONDS)
            async with sent as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise error_of(answer)
                yield answer


async def _check_may_score(visit: Visit) -> None:
    session = await visit.ws.connection.get("/api/v1/session")
    if "infer" not in session["permissions"]:
        raise Forbidden(f"The role {session['role']!r} may not score.", hint="Ask an admin for the role 'user'.")


def _piece_of(data: Mapping[str, Any]) -> str:
    """Of one event. The last one of a text that failed holds the error."""
    if "token" not in data:
        message = data.get("detail") or data.get("error") or json.dumps(data)
        raise BedplateError(str(message), hint=str(data.get("hint") or ""), code=str(data.get("code") or "failed"))
    token = data["token"]
    return "" if token.get("special") else str(token["text"])
