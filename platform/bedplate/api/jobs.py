"""/api/v1/jobs: submit, list, follow, cancel, resume."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Body, Header, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

from bedplate.api.access import Caller, Routes, WorkspaceOf, find_caller
from bedplate.job_folder import EventReader
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden

__all__ = ["routes"]

routes = Routes("/api/v1/jobs", "jobs")

SCOPE_OF = {"import": "import", "finetune": "train", "evaluate": "train", "batch": "batch"}
POLL_SECONDS = 0.25
EXAMPLE = {
    "kind": "finetune",
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "task": "text-classification",
    "train": "tickets",
    "columns": {"sentence1": "text", "label": "intent"},
    "output": "support-intent",
    "settings": {"learning_rate": 3e-5},
}


@routes.route("POST", "", "any-key", status_code=202)
def submit(
    request: Request,
    workspace: WorkspaceOf,
    body: Annotated[dict[str, Any], Body(examples=[EXAMPLE])],
    dry_run: bool = False,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Any:
    """Submit a job: `kind` and what that kind needs. With `dry_run` nothing is started, and the spec is shown."""
    kind = str(body.pop("kind", ""))
    caller = _require(request, workspace, SCOPE_OF.get(kind, "admin"))
    if dry_run:
        return JSONResponse({"spec": workspace.plan(kind, body).to_json()}, 200)
    job = workspace.submit(kind, body, client_key=idempotency_key, owner=caller.name)
    return workspace.describe_job(job)


@routes.route("GET", "", "any-key")
def list_jobs(workspace: WorkspaceOf, kind: str | None = None, state: str | None = None, limit: int = 100) -> Any:
    """Newest first."""
    jobs = workspace.jobs.find(kind=kind, state=state, limit=max(1, min(limit, 1000)))
    return {"items": [workspace.describe_job(job) for job in jobs]}


@routes.route("GET", "/{job_id}", "any-key")
def show(job_id: str, workspace: WorkspaceOf) -> Any:
    return workspace.describe_job(workspace.jobs.get(job_id))


@routes.route("POST", "/{job_id}/cancel", "any-key", status_code=202)
def cancel(job_id: str, request: Request, workspace: WorkspaceOf) -> Any:
    """A queued job is cancelled at once; a running one within five seconds, with all its processes."""
    _require(request, workspace, SCOPE_OF.get(workspace.jobs.get(job_id).kind, "admin"))
    return workspace.describe_job(workspace.jobs.ask_cancel(job_id))


@routes.route("POST", "/{job_id}/resume", "any-key", status_code=202)
def resume(job_id: str, request: Request, workspace: WorkspaceOf) -> Any:
    """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
    _require(request, workspace, SCOPE_OF.get(workspace.jobs.get(job_id).kind, "admin"))
    return workspace.describe_job(workspace.jobs.resume(job_id))


@routes.route("GET", "/{job_id}/metrics", "any-key")
def metrics(job_id: str, workspace: WorkspaceOf) -> Any:
    """Every step that was logged, each once, across attempts."""
    workspace.jobs.get(job_id)
    return {"items": workspace.job_folder(job_id).metrics()}


@routes.route("GET", "/{job_id}/log", "any-key")
def read_log(job_id: str, request: Request, workspace: WorkspaceOf, tail: int = 200) -> Any:
    _require(request, workspace, SCOPE_OF.get(workspace.jobs.get(job_id).kind, "admin"))
    return PlainTextResponse("\n".join(workspace.job_folder(job_id).log_tail(max(1, tail))) + "\n")


@routes.route("GET", "/{job_id}/outputs/{name}", "any-key")
def output(job_id: str, name: str, request: Request, workspace: WorkspaceOf) -> Any:
    """One file that the job wrote, with ranges."""
    _require(request, workspace, SCOPE_OF.get(workspace.jobs.get(job_id).kind, "admin"))
    return FileResponse(workspace.job_output(job_id, name), filename=name, media_type="application/octet-stream")


@routes.route("GET", "/{job_id}/events", "any-key")
def events(job_id: str, workspace: WorkspaceOf, last_event_id: Annotated[int, Header()] = 0) -> StreamingResponse:
    """Server-sent events: `progress`, `metrics`, `message`, and at the end `state`. Resumes after Last-Event-ID."""
    workspace.jobs.get(job_id)
    return StreamingResponse(_follow(workspace, job_id, last_event_id), media_type="text/event-stream")


async def _follow(workspace: Workspace, job_id: str, seq: int) -> AsyncIterator[str]:
    reader = EventReader(workspace.job_folder(job_id), after=seq)
    while True:
        job = await asyncio.to_thread(workspace.jobs.get, job_id)
        for event in await asyncio.to_thread(reader.read):
            yield f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
        if job.is_final:
            yield f"event: state\ndata: {json.dumps(workspace.describe_job(job))}\n\n"
            return
        await asyncio.sleep(POLL_SECONDS)


def _require(request: Request, workspace: Workspace, scope: str) -> Caller:
    """The scope depends on the kind of job, which only the body or the row tells."""
    raw: Any = request.scope
    headers = request.headers
    caller = find_caller(workspace, raw, headers.get("authorization"), headers.get("host", ""))
    if not caller.may(scope):
        raise Forbidden(f"This key may not do that: it needs the scope {scope!r}.", hint="Use another key.")
    return caller
