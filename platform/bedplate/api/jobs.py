"""/api/v1/jobs: submit, list, follow, cancel, resume, retry, rerun, archive."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import Body, Header, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from bedplate.api.access import Caller, Routes, WorkspaceOf
from bedplate.api.job_streams import follow_events, follow_log, read_log
from bedplate.intake import find_kind
from bedplate.job_folder import LogReader
from bedplate.jobs import LEGAL_MOVES, Job
from bedplate.kinds import KINDS
from bedplate.kinds.base import check_keys
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused, nearest

__all__ = ["routes"]

routes = Routes("/api/v1/jobs", "jobs")

ARCHIVED = {"false": False, "true": True, "all": None}
MOST_JOBS = 1000  # of one page
EXAMPLE = {
    "kind": "finetune",
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "task": "text-classification",
    "train": "tickets",
    "columns": {"sentence1": "text", "label": "intent"},
    "output": "support-intent",
    "settings": {"learning_rate": 3e-5},
    "priority": 10,
    "needs": {"cores": 4, "memory_gb": 8},
}


@routes.route("POST", "", "any-key", status_code=202)
def submit(
    request: Request,
    workspace: WorkspaceOf,
    body: Annotated[dict[str, Any], Body(examples=[EXAMPLE])],
    dry_run: bool = False,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Any:
    """Submit a job: `kind` and what that kind needs, and of every kind `priority` and `needs`.

    With `dry_run` nothing is started: the answer is the spec and the demand that it would have.
    """
    kind = str(body.pop("kind", ""))
    caller = _require(request, workspace, kind)
    if dry_run:
        return JSONResponse(workspace.plan(kind, body).to_json(), 200)
    job = workspace.submit(kind, body, client_key=idempotency_key, owner=caller.name)
    return workspace.describe_job(job)


@routes.route("GET", "", "any-key")
def list_jobs(
    workspace: WorkspaceOf,
    kind: str | None = None,
    state: str | None = None,
    parent: str | None = None,
    archived: str = "false",
    limit: int = 100,
    after: str | None = None,
) -> Any:
    """Newest first. Where there are more, `next` is what to give as `after` for the page that follows."""
    if kind is not None:
        find_kind(kind)
    if state is not None:
        _check("state", state, LEGAL_MOVES)
    _check("archived", archived, ARCHIVED)
    limit = max(1, min(limit, MOST_JOBS))
    found = workspace.jobs.find(
        kind=kind,
        state=state,
        parent=parent,
        archived=ARCHIVED[archived],
        before=None if after is None else _cursor(after),
        limit=limit + 1,
    )
    page = {"items": workspace.describe_jobs(found[:limit])}
    return {**page, "next": str(found[limit - 1].seq)} if len(found) > limit else page


@routes.route("GET", "/{job_id}", "any-key")
def show(job_id: str, workspace: WorkspaceOf) -> Any:
    return workspace.describe_job(workspace.jobs.get(job_id))


@routes.route("POST", "/{job_id}/cancel", "any-key", status_code=202)
def cancel(job_id: str, request: Request, workspace: WorkspaceOf) -> Any:
    """A queued job is cancelled at once; a running one within five seconds, with all its processes."""
    _find(request, workspace, job_id)
    return workspace.describe_job(workspace.cancel_job(job_id))


@routes.route("POST", "/{job_id}/resume", "any-key", status_code=202)
def resume(job_id: str, request: Request, workspace: WorkspaceOf) -> Any:
    """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
    _find(request, workspace, job_id)
    return workspace.describe_job(workspace.resume_job(job_id))


@routes.route("POST", "/{job_id}/retry", "any-key", status_code=202)
def retry(job_id: str, request: Request, workspace: WorkspaceOf) -> Any:
    """Queue a failed or cancelled job again; it starts over."""
    _find(request, workspace, job_id)
    return workspace.describe_job(workspace.resume_job(job_id, start_over=True))


@routes.route("POST", "/{job_id}/rerun", "any-key", status_code=202)
def rerun(
    job_id: str,
    request: Request,
    workspace: WorkspaceOf,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Any:
    """A new job like this one, whatever became of it: the same data, versions and settings."""
    _, caller = _find(request, workspace, job_id)
    return workspace.describe_job(workspace.rerun_job(job_id, client_key=idempotency_key, owner=caller.name))


@routes.route("POST", "/{job_id}/archive", "any-key")
def archive(
    job_id: str,
    request: Request,
    workspace: WorkspaceOf,
    body: Annotated[dict[str, Any] | None, Body(examples=[{"archived": True}])] = None,
) -> Any:
    """Hide a job that has ended from the list; with {"archived": false} show it again. Nothing of it is deleted."""
    _find(request, workspace, job_id)
    check_keys("archive", body or {}, required=set(), optional={"archived"})
    archived = (body or {}).get("archived", True)
    if not isinstance(archived, bool):
        raise Refused(f"archived={archived!r} is not accepted.", hint="Give true or false.")
    return workspace.describe_job(workspace.jobs.archive(job_id, archived=archived))


@routes.route("GET", "/{job_id}/metrics", "any-key")
def metrics(job_id: str, workspace: WorkspaceOf) -> Any:
    """Every step that was logged, each once, across attempts."""
    workspace.jobs.get(job_id)
    return {"items": workspace.job_folder(job_id).metrics()}


@routes.route("GET", "/{job_id}/log", "any-key")
def log(
    job_id: str,
    request: Request,
    workspace: WorkspaceOf,
    tail: int = 200,
    follow: bool = False,
    offset: int | None = None,
) -> StreamingResponse:
    """The last lines of what its worker printed; with `follow` also what it prints from now on, until it has ended.

    X-Bedplate-Offset tells at which byte of the log the answer begins: one that was cut off goes on where it was
    with that and what came of it as `offset`, in place of `tail`.
    """
    _find(request, workspace, job_id)
    if offset is not None and offset < 0:
        raise Refused(f"offset={offset} is not accepted.", hint="Give a number of bytes from 0.")
    reader = LogReader(workspace.job_folder(job_id), offset=offset, tail=tail)
    chunks = follow_log(workspace, job_id, reader) if follow else read_log(reader)
    headers = {"X-Bedplate-Offset": str(reader.offset)}
    return StreamingResponse(chunks, media_type="text/plain; charset=utf-8", headers=headers)


@routes.route("GET", "/{job_id}/outputs/{name}", "any-key")
def output(job_id: str, name: str, request: Request, workspace: WorkspaceOf) -> Any:
    """One file that the job wrote, with ranges."""
    _find(request, workspace, job_id)
    return FileResponse(workspace.job_output(job_id, name), filename=name, media_type="application/octet-stream")


@routes.route("GET", "/{job_id}/events", "any-key")
def events(job_id: str, workspace: WorkspaceOf, last_event_id: Annotated[int, Header()] = 0) -> StreamingResponse:
    """Server-sent events: `progress`, `metrics` and `message`, which resume after Last-Event-ID; and `state`, the whole
    job at first and whenever its state or the reason why it waits changes. The last one is final."""
    workspace.jobs.get(job_id)
    return StreamingResponse(follow_events(workspace, job_id, last_event_id), media_type="text/event-stream")


def _find(request: Request, workspace: Workspace, job_id: str) -> tuple[Job, Caller]:
    """A job, for a caller who may do with it what its kind allows. Raises NotFound, Forbidden."""
    job = workspace.jobs.get(job_id)
    return job, _require(request, workspace, job.kind)


def _require(request: Request, workspace: Workspace, kind: str) -> Caller:
    """The scope depends on the kind of job, which only the body or the row tells."""
    scope = KINDS[kind].scope if kind in KINDS else "admin"
    caller: Caller = request.state.caller
    caller.require(scope)
    return caller


def _check(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise Refused(f"{name}={value!r} is not accepted.", hint=nearest(value, known), code="unknown-value")


def _cursor(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):  # what a column of the database can hold
        raise Refused(f"after={text!r} is not accepted.", hint="Give what the page before told as `next`.")
    return int(text)
