"""What goes on while a job does: its events as server-sent events, its log as bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from bedplate.job_folder import EventReader, LogReader
from bedplate.workspace import Workspace

__all__ = ["follow_events", "follow_log", "read_log"]

POLL_SECONDS = 0.25


async def follow_events(workspace: Workspace, job_id: str, after: int) -> AsyncIterator[str]:
    """The events after the one of that number, and `state` with the whole job at first and whenever that changes.

    A `state` has no id: whoever resumes by Last-Event-ID misses none of the others for it. The last one is final.
    """
    reader, told = EventReader(workspace.job_folder(job_id), after=after), None
    while True:
        shown = await asyncio.to_thread(_describe, workspace, job_id)
        for event in await asyncio.to_thread(reader.read):
            yield f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
        state = [shown[name] for name in ("state", "attempt", "waiting")]
        if state != told:
            yield f"event: state\ndata: {json.dumps(shown)}\n\n"
        if shown["is_final"]:
            return
        told = state
        await asyncio.sleep(POLL_SECONDS)


async def read_log(reader: LogReader) -> AsyncIterator[bytes]:
    """What is there now."""
    while chunk := await asyncio.to_thread(reader.read):
        yield chunk


async def follow_log(workspace: Workspace, job_id: str, reader: LogReader) -> AsyncIterator[bytes]:
    """What is there and what comes, until the job has ended. Its state is asked for first, then its log: whatever was
    written before the end is in the last look."""
    while True:
        job = await asyncio.to_thread(workspace.jobs.get, job_id)
        async for chunk in read_log(reader):
            yield chunk
        if job.is_final:
            return
        await asyncio.sleep(POLL_SECONDS)


def _describe(workspace: Workspace, job_id: str) -> dict[str, Any]:
    return workspace.describe_job(workspace.jobs.get(job_id))
