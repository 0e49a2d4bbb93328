"""What goes on while a job does: its events as server-sent events, its log as bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Send

from bedplate.api.bodies import json_bytes
from bedplate.job_folder import EventReader, LogReader
from bedplate.workspace import Workspace

__all__ = ["BrokenOff", "LogResponse", "follow_events", "follow_log", "read_log"]

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0  # proxies close a connection on which nothing comes for a minute or so
RETRY_MS = 1000  # how soon a browser asks again


async def follow_events(
    workspace: Workspace, job_id: str, after: int, may_go_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The events after the one of that number, and `state` with the whole job at first and whenever that changes.

    A `state` has no id: whoever resumes by Last-Event-ID misses none of the others for it. The last one is final. A
    server that stops ends the stream at once, and the caller asks the next one.
    """
    reader, told = EventReader(workspace.job_folder(job_id), after=after), None
    last_sent, first = time.monotonic(), f"retry: {RETRY_MS}\n".encode()
    while True:
        shown = await asyncio.to_thread(_describe, workspace, job_id)
        news = [_event(event["type"], event, event["seq"]) for event in await asyncio.to_thread(reader.read)]
        state = [shown[name] for name in ("state", "attempt", "waiting")]
        if state != told:
            news.append(_event("state", shown))
        if not news and time.monotonic() - last_sent > HEARTBEAT_SECONDS:
            news = [b": still here\n\n"]
        if news:
            yield first + b"".join(news)
            last_sent, first = time.monotonic(), b""
        if shown["is_final"] or workspace.is_stopping or not await asyncio.to_thread(may_go_on):
            return
        told = state
        await asyncio.sleep(POLL_SECONDS)


async def read_log(reader: LogReader) -> AsyncIterator[bytes]:
    """What is there now."""
    while chunk := await asyncio.to_thread(reader.read):
        yield chunk


async def follow_log(
    workspace: Workspace, job_id: str, reader: LogReader, may_go_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """What is there and what comes, until the job has ended. Its state is asked for first, then its log: whatever was
    written before the end is in the last look. Raises BrokenOff where the server stops before that."""
    while True:
        job = await asyncio.to_thread(workspace.jobs.get, job_id)
        async for chunk in read_log(reader):
            yield chunk
        if job.is_final:
            return
        if workspace.is_stopping or not await asyncio.to_thread(may_go_on):
            raise BrokenOff()
        await asyncio.sleep(POLL_SECONDS)


class BrokenOff(Exception):
    """The server stops, or the caller's key has ended: what is on its way is not whole."""


class LogResponse(StreamingResponse):
    """A log as it comes. One that is broken off has no end, so that its reader asks for the rest."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except BrokenOff:
            return


def _describe(workspace: Workspace, job_id: str) -> dict[str, Any]:
    return workspace.describe_job(workspace.jobs.get(job_id))


def _event(kind: str, data: dict[str, Any], number: int | None = None) -> bytes:
    head = f"event: {kind}\ndata: " if number is None else f"id: {number}\nevent: {kind}\ndata: "
    return head.encode() + json_bytes(data) + b"\n\n"
