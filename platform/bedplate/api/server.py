"""/livez, /readyz, /api/v1/server, /api/v1/compute and /api/v1/keys: the server itself."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Request

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.kinds.base import check_keys
from bedplate_registry.errors import Refused

__all__ = ["health", "routes"]

health = Routes("", "health")
routes = Routes("/api/v1", "server")
MAX_DAYS = 36_500
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


@routes.route("GET", "/keys", "admin")
def list_keys(workspace: WorkspaceOf) -> Any:
    return {"items": [key.to_json() for key in workspace.keys.all()]}


@routes.route("POST", "/keys", "admin", status_code=201)
def create_key(
    workspace: WorkspaceOf,
    body: Annotated[dict[str, Any], Body(examples=[{"name": "ci", "scopes": ["infer"], "days": 90}])],
) -> Any:
    """A new key, shown this once."""
    check_keys("key", body, required={"name", "scopes"}, optional={"days"})
    scopes = body["scopes"]
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise Refused(f"scopes={scopes!r} is not a list of names.", hint='For example: ["infer"].')
    key, text = workspace.keys.create(str(body["name"]), scopes, days=_days(body.get("days")))
    return {**key.to_json(), "key": text}


@routes.route("DELETE", "/keys/{key_id}", "admin")
def revoke_key(key_id: str, workspace: WorkspaceOf) -> Any:
    """The gateway refuses it within a second."""
    return workspace.keys.revoke(key_id).to_json()


def _days(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_DAYS:
        raise Refused(f"days={value!r} is not accepted.", hint=f"Give more than 0 and at most {MAX_DAYS}.")
    return float(value)
