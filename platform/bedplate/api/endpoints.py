"""/api/v1/endpoints: deploy, watch, shift traffic, delete. Scoring itself is the gateway's (/endpoints/NAME)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response
from fastapi.responses import PlainTextResponse

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.kinds.base import check_keys, mapping_of
from bedplate_registry.errors import Refused

__all__ = ["routes"]

routes = Routes("/api/v1/endpoints", "endpoints")
OPTIONAL = {"deployment", "instances", "traffic", "device", "gpu_memory_gb"}


@routes.route("POST", "", "admin", status_code=202)
def deploy(
    workspace: WorkspaceOf,
    body: Annotated[dict[str, Any], Body(examples=[{"name": "support", "model": "support-intent:1"}])],
) -> Any:
    """Wish for a deployment; it is there when `state` is `ready`. A new endpoint's `key` is shown this once."""
    check_keys("deploy", body, required={"name", "model"}, optional=OPTIONAL)
    options = {
        "deployment": str(body.get("deployment") or "main"),
        "instances": _whole(body, "instances", 1),
        "traffic": _whole(body, "traffic", None),
        "device": body.get("device"),
        "gpu_memory_gb": body.get("gpu_memory_gb"),
    }
    return workspace.deploy(str(body["name"]), str(body["model"]), **options)


@routes.route("GET", "", "any-key")
def list_endpoints(workspace: WorkspaceOf) -> Any:
    return {"items": [workspace.describe_endpoint(row.name) for row in workspace.endpoints.all()]}


@routes.route("GET", "/{name}", "any-key")
def show(name: str, workspace: WorkspaceOf) -> Any:
    return workspace.describe_endpoint(name)


@routes.route("PATCH", "/{name}", "admin")
def update(name: str, workspace: WorkspaceOf, body: Annotated[dict[str, Any], Body()]) -> Any:
    """{"traffic": {DEPLOYMENT: PERCENT, …}}, adding up to 100."""
    check_keys("update", body, required={"traffic"}, optional=set())
    shares = mapping_of(body, "traffic")
    workspace.endpoints.set_traffic(name, {part: _whole(shares, part, 0) or 0 for part in shares})
    return workspace.describe_endpoint(name)


@routes.route("DELETE", "/{name}", "admin", status_code=204)
def delete(name: str, workspace: WorkspaceOf) -> Response:
    workspace.delete_endpoint(name)
    return Response(status_code=204)


@routes.route("POST", "/{name}/keys", "admin", status_code=201)
def new_key(name: str, workspace: WorkspaceOf) -> Any:
    """Another key that may score this endpoint, shown this once."""
    workspace.endpoints.get(name)
    key, text = workspace.keys.create(f"endpoint {name}", ["infer"], endpoints=[name])
    return {**key.to_json(), "key": text}


@routes.route("GET", "/{name}/logs", "any-key")
def logs(name: str, workspace: WorkspaceOf, tail: int = 200) -> Any:
    """The last lines of its replicas, deployment by deployment."""
    text = []
    for row in workspace.endpoints.deployments(workspace.endpoints.get(name).name):
        path = workspace.reconciler.log_file(name, row.name)
        lines = path.read_text(errors="replace").splitlines()[-max(1, tail) :] if path.exists() else []
        text += [f"== {row.name} ({row.model})", *lines]
    return PlainTextResponse("\n".join(text) + "\n")


def _whole(body: dict[str, Any], name: str, default: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(f"{name}={value!r} is not a whole number.", hint=f"Give {name} as a number.")
    return value
