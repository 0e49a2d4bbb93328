"""/livez, /readyz, /api/v1/server and /api/v1/compute: the server itself."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from bedplate.api.access import Routes, WorkspaceOf

__all__ = ["health", "routes"]

health = Routes("", "health")
routes = Routes("/api/v1", "server")
SHOWN_JOBS = 20  # of the line
QUEUE_FIELDS = ("id", "kind", "owner", "priority", "position", "waiting", "waiting_for")


@health.route("GET", "/livez", "open")
def livez() -> Any:
    return {"status": "ok"}


@health.route("GET", "/readyz", "open")
def readyz(workspace: WorkspaceOf) -> Any:
    """Ready once the database answers."""
    workspace.jobs.find(limit=1)
    return {"status": "ok"}


@routes.route("GET", "/server", "any-key")
def status(workspace: WorkspaceOf) -> Any:
    return workspace.status()


@routes.route("POST", "/server/stop", "admin", status_code=202)
def stop(request: Request, workspace: WorkspaceOf, everything: bool = False) -> Any:
    """Stop the server. Jobs and replicas go on and are found again, unless `everything` is to stop."""
    answer = workspace.status()
    if everything:
        workspace.stop_all()
    request.app.state.stop()
    return answer


@routes.route("GET", "/compute", "any-key")
def compute(workspace: WorkspaceOf) -> Any:
    """What this machine has, what of it is free, who holds what since when, and who is next in line."""
    queue = workspace.describe_jobs(workspace.jobs.queue(SHOWN_JOBS))
    return {
        **workspace.leases.describe(),
        "queue": [{name: job[name] for name in QUEUE_FIELDS} for job in queue],
        "jobs_queued": workspace.jobs.counts()["queued"],
        "jobs_running": [job.id for job in workspace.jobs.running()],
    }
