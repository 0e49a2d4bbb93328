"""/api/v1/jobs: submit, list, follow, cancel, resume, retry, rerun, archive.

A caller sees jobs of its own, operators and admins everybody's; to others such a job is one that does not exist. What
a caller may do with a job is a matter of its kind's scope.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Caller, CallerOf, Routes, WorkspaceOf, find_caller, note
from bedplate.api.bodies import Answer, DescribedBy, Limit, Page, RequestBody, json_answer
from bedplate.api.demands import Demand, HeldLease
from bedplate.api.etags import IfNoneMatch, tagged
from bedplate.api.job_streams import LogResponse, follow_events, follow_log, read_log
from bedplate.api.problems import codes
from bedplate.intake import find_kind
from bedplate.job_folder import LogReader
from bedplate.jobs import LEGAL_MOVES
from bedplate.jobs import Job as Row
from bedplate.kinds import KINDS
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden, Refused, nearest

__all__ = ["IdempotencyKey", "Job", "routes"]

routes = Routes("/api/v1/jobs", "jobs")

ARCHIVED = {"false": False, "true": True, "all": None}
MOST_KEY = 200  # characters of an Idempotency-Key
MOST_SEQ = 1 << 62  # what a column of the database can hold
BYTES = {"schema": {"type": "string", "format": "binary"}}
JobId = Annotated[str, Path(description="The id of a job.", examples=["finetune-1a2b3c4d"])]
BatchJobId = Annotated[str, Path(description="The id of a job.", examples=["batch-1a2b3c4d"])]
OutputName = Annotated[str, Path(description="As the job's result lists it.", examples=["scored.parquet"])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=rf"^[ -~]{{1,{MOST_KEY}}}$",
        description="However often it is sent with the same request, one job is made of it.",
    ),
]
EXAMPLE: JsonDict = {
    "id": "finetune-1a2b3c4d",
    "kind": "finetune",
    "state": "running",
    "is_final": False,
    "attempt": 1,
    "priority": 10,
    "preemptible": False,
    "parent": None,
    "owner": "ana",
    "request_id": "6f1e0d9c8b7a4f5e9d8c7b6a5f4e3d2c",
    "created": 1795449600.0,
    "started": 1795449601.0,
    "finished": None,
    "archived": None,
    "waiting": None,
    "waiting_for": None,
    "position": None,
    "demand": {"cores": 4, "memory_bytes": 8589934592, "gpus": 0, "gpu_memory_bytes": None},
    "lease": {
        "cores": 4,
        "memory_bytes": 8589934592,
        "gpus": [],
        "gpu_memory_bytes": None,
        "since": 1795449601.0,
    },
    "progress": {"phase": "train", "done": 120, "total": 900, "unit": "steps", "percent": 13.3, "seconds_left": 61.0},
    "result": None,
    "error": None,
    "spec": {"model": "sentence-transformers/all-MiniLM-L6-v2:1", "task": "text-classification"},
}
Submission = Annotated[
    dict[str, Any],
    DescribedBy(lambda: {kind.name: kind.request for kind in KINDS.values() if kind.request is not None}),
]


class Job(Answer):
    """A job. Times are seconds since 1970, UTC."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    kind: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    is_final: bool
    attempt: Annotated[int, Field(description="Counts its starts.")]
    priority: int
    preemptible: bool
    parent: Annotated[str | None, Field(description="The sweep that submitted it.")]
    owner: str
    request_id: Annotated[str | None, Field(description="Of the call that submitted it.")]
    created: float
    started: float | None
    finished: float | None
    archived: float | None
    waiting: Annotated[str | None, Field(description="Why it is still queued, and its place in line.")]
    waiting_for: Annotated[str | None, Field(description="cores, memory, gpus, jobs or attempt.")]
    position: Annotated[int | None, Field(description="In line, from 1.")]
    demand: Demand
    lease: HeldLease | None
    progress: Annotated[dict[str, Any] | None, Field(description="The last progress of its current attempt.")]
    result: Annotated[dict[str, Any] | None, Field(description="What it came to, by its kind.")]
    error: Annotated[dict[str, Any] | None, Field(description="code, message and hint.")]
    spec: Annotated[dict[str, Any], Field(description="The request, resolved: versions, digests, defaults.")]


class Plan(Answer):
    """A job that is checked and resolved and was not submitted."""

    kind: str
    spec: dict[str, Any]
    demand: Demand
    priority: int
    preemptible: bool


class Archiving(RequestBody):
    """Whether it is to be hidden."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"archived": True}]})

    archived: bool = True


class MetricsLine(Answer):
    """What one step logged: `attempt`, `step`, and figures by name."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"attempt": 1, "step": 10, "loss": 0.41, "learning_rate": 3e-05}]},
    )

    step: int | None = None


@routes.route(
    "POST",
    "",
    "read",
    status_code=202,
    response_model=Job,
    responses={
        200: {"model": Plan, "description": "With `dry_run`: what would be queued."},
        **codes(
            *("unknown-kind", "idempotency-mismatch", "does-not-fit", "base-model", "not-finetunable"),
            *("adapter-not-trained", "bad-base", "no-gpu", "server-only"),
        ),
    },
)
def submit(
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: Submission,
    dry_run: Annotated[bool, Query(description="Check and resolve it, and queue nothing.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job. The scope that it takes is its kind's."""
    kind = body.pop("kind", "")
    if not isinstance(kind, str):
        raise Refused(f"kind={str(kind)[:80]!r} is not a kind of job.", hint="Give one as a text.", code="unknown-kind")
    _require(caller, kind, unknown="data")
    caller.check_priority(body.get("priority"))
    if dry_run:
        return json_answer(workspace.plan(kind, body).to_json())
    job = workspace.submit(kind, body, **_call(request, caller, idempotency_key))
    note(request, job=job.id)
    return json_answer(workspace.describe_job(job), 202)


@routes.route("GET", "", "read", response_model=Page[Job])
def list_jobs(
    workspace: WorkspaceOf,
    caller: CallerOf,
    kind: str | None = None,
    state: Annotated[str | None, Query(json_schema_extra={"enum": sorted(LEGAL_MOVES)})] = None,
    parent: Annotated[str | None, Query(description="Those that this sweep submitted.")] = None,
    archived: Annotated[str, Query(json_schema_extra={"enum": sorted(ARCHIVED)})] = "false",
    limit: Limit = 100,
    after: Annotated[str | None, Query(description="`next` of the page before.", pattern="^[0-9]{1,18}$")] = None,
) -> Response:
    """List jobs, the newest first."""
    if kind is not None:
        find_kind(kind)
    if state is not None:
        _check("state", state, LEGAL_MOVES)
    _check("archived", archived, ARCHIVED)
    found = workspace.jobs.find(
        kind=kind,
        state=state,
        parent=parent,
        owner=None if caller.sees_all else caller.user,
        archived=ARCHIVED[archived],
        before=None if after is None else int(after),
        limit=limit + 1,
    )
    following = str(found[limit - 1].seq) if len(found) > limit else None
    return json_answer({"items": workspace.describe_jobs(found[:limit]), "next": following})


@routes.route("GET", "/{job_id}", "read", response_model=Job)
def show_job(job_id: JobId, workspace: WorkspaceOf, caller: CallerOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a job: its state, its place in line, its progress, its result."""
    return tagged(workspace.describe_job(workspace.jobs.get(job_id, sees=caller.sees)), if_none_match)


@routes.route("POST", "/{job_id}/cancel", "read", status_code=202, response_model=Job)
def cancel(job_id: JobId, workspace: WorkspaceOf, caller: CallerOf) -> Response:
    """Cancel a job: at once where it is queued; within five seconds, with all its processes, where it runs."""
    _find(workspace, caller, job_id)
    return json_answer(workspace.describe_job(workspace.cancel_job(job_id)), 202)


@routes.route("POST", "/{job_id}/resume", "read", status_code=202, response_model=Job)
def resume(job_id: JobId, workspace: WorkspaceOf, caller: CallerOf) -> Response:
    """Queue a failed or cancelled job again. It goes on from its last complete checkpoint."""
    _find(workspace, caller, job_id)
    return json_answer(workspace.describe_job(workspace.resume_job(job_id)), 202)


@routes.route("POST", "/{job_id}/retry", "read", status_code=202, response_model=Job)
def retry(job_id: JobId, workspace: WorkspaceOf, caller: CallerOf) -> Response:
    """Queue a failed or cancelled job again, from the start."""
    _find(workspace, caller, job_id)
    return json_answer(workspace.describe_job(workspace.resume_job(job_id, start_over=True)), 202)


@routes.route(
    "POST",
    "/{job_id}/rerun",
    "read",
    status_code=202,
    response_model=Job,
    responses=codes("idempotency-mismatch"),
)
def rerun(
    job_id: JobId,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a new job like this one, whatever became of it: the same data, versions and settings."""
    _find(workspace, caller, job_id)
    job = workspace.rerun_job(job_id, **_call(request, caller, idempotency_key))
    note(request, job=job.id)
    return json_answer(workspace.describe_job(job), 202)


@routes.route("POST", "/{job_id}/archive", "read", response_model=Job)
def archive(job_id: JobId, workspace: WorkspaceOf, caller: CallerOf, body: Archiving | None = None) -> Response:
    """Hide a job that has ended from the list, or show it again. Nothing of it is deleted."""
    _find(workspace, caller, job_id)
    archived = body is None or body.archived
    return json_answer(workspace.describe_job(workspace.jobs.archive(job_id, archived=archived)))


@routes.route("GET", "/{job_id}/metrics", "read", response_model=Page[MetricsLine])
def list_metrics(
    job_id: JobId,
    workspace: WorkspaceOf,
    caller: CallerOf,
    limit: Annotated[int, Query(ge=1, le=100_000, description="At most so many steps.")] = 100_000,
    after: Annotated[int, Query(ge=0, lt=MOST_SEQ, description="`next` of the page before.")] = 0,
) -> Response:
    """List every step that was logged, each once, across attempts."""
    workspace.jobs.get(job_id, sees=caller.sees)
    lines = workspace.job_folder(job_id).metrics()
    end = after + limit
    return json_answer({"items": lines[after:end], "next": str(end) if len(lines) > end else None})


@routes.route("GET", "/{job_id}/log", "read", response_class=PlainTextResponse)
def show_log(
    job_id: JobId,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    tail: Annotated[int, Query(ge=0, lt=MOST_SEQ, description="So many last lines.")] = 200,
    follow: Annotated[bool, Query(description="Also what it prints from now on, until it has ended.")] = False,
    offset: Annotated[
        int | None, Query(ge=0, lt=MOST_SEQ, description="From this byte on, whatever `tail` is.")
    ] = None,
) -> StreamingResponse:
    """Show the last lines of what its worker printed.

    X-Bedplate-Offset tells at which byte of the log the answer begins: one that was cut off goes on where it was
    with that and what came of it as `offset`, in place of `tail`.
    """
    _find(workspace, caller, job_id)
    reader = LogReader(workspace.job_folder(job_id), offset=offset, tail=tail)
    chunks = follow_log(workspace, job_id, reader, _watch(request, workspace)) if follow else read_log(reader)
    headers = {"X-Bedplate-Offset": str(reader.offset), "X-Content-Type-Options": "nosniff"}
    return LogResponse(chunks, media_type="text/plain; charset=utf-8", headers=headers)


@routes.route(
    "GET",
    "/{job_id}/outputs/{name}",
    "read",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": BYTES}},
        206: {"content": {"application/octet-stream": BYTES}, "description": "The range that was asked for."},
    },
)
def download_output(job_id: BatchJobId, name: OutputName, workspace: WorkspaceOf, caller: CallerOf) -> FileResponse:
    """Download one file that the job wrote, or a range of it."""
    _find(workspace, caller, job_id)
    number = workspace.open_output(job_id, name)
    file = FileResponse(
        f"/proc/self/fd/{number}",
        filename=name,
        media_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff"},
    )
    weakref.finalize(file, os.close, number)  # however the answer ends
    return file


@routes.route(
    "GET",
    "/{job_id}/events",
    "read",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def follow_job(
    job_id: JobId,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    last_event_id: Annotated[int, Header(ge=0, lt=MOST_SEQ, description="The last one that was seen.")] = 0,
) -> StreamingResponse:
    """Follow a job by server-sent events.

    `progress`, `metrics` and `message` resume after Last-Event-ID; `state` is the whole job at first and whenever its
    state or the reason why it waits changes. The last one is final.
    """
    workspace.jobs.get(job_id, sees=caller.sees)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = follow_events(workspace, job_id, last_event_id, _watch(request, workspace))
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _watch(request: Request, workspace: Workspace) -> Callable[[], bool]:
    """Asks whether the caller of a stream may still see it: a key that is revoked meanwhile sees no more."""

    def may_go_on() -> bool:
        try:
            find_caller(workspace, request.scope)
        except Forbidden:
            return False
        return True

    return may_go_on


def _find(workspace: Workspace, caller: Caller, job_id: str) -> Row:
    """A job, for a caller who may do with it what its kind allows. Raises NotFound, Forbidden."""
    job = workspace.jobs.get(job_id, sees=caller.sees)
    _require(caller, job.kind)
    return job


def _require(caller: Caller, kind: str, *, unknown: str = "admin") -> None:
    """The scope depends on the kind of job, which only the body or the row tells. Raises Forbidden."""
    caller.require(KINDS[kind].scope if kind in KINDS else unknown)


def _call(request: Request, caller: Caller, client_key: str | None) -> dict[str, str | None]:
    """What a job keeps of the call that makes it."""
    return {"client_key": client_key, "owner": caller.user, "request_id": request.state.request_id}


def _check(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise Refused(f"{name}={value[:80]!r} is not accepted.", hint=nearest(value, known), code="unknown-value")
