"""/api/v1/models: what is in the registry. One-part names may be called `name` or `_/name`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Request
from fastapi.responses import PlainTextResponse

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused, nearest
from bedplate_registry.models import ModelVersion
from bedplate_registry.tasks import get_task

__all__ = ["describe", "routes"]

routes = Routes("/api/v1/models", "models")
PARTS = ("card", "files", "versions", "verify", "lineage")


@routes.route("GET", "", "any-key")
def list_models(
    workspace: WorkspaceOf,
    task: str | None = None,
    license: str | None = None,
    finetunable_for: str | None = None,
    query: str | None = None,
) -> Any:
    """The newest version of each model."""
    wanted = get_task(task).name if task else None
    able = get_task(finetunable_for).name if finetunable_for else None
    found = [
        version
        for version in workspace.registry.models.list()
        if (wanted is None or version.facts.task == wanted)
        and (license is None or (version.facts.license or "").lower() == license.lower())
        and (able is None or able in version.facts.finetunable_tasks)
        and (query is None or query.lower() in str(version.name).lower())
    ]
    return {"items": [describe(workspace, version) for version in found]}


@routes.route("GET", "/{name}", "any-key")
def show_short(name: str, workspace: WorkspaceOf) -> Any:
    return describe(workspace, workspace.registry.models.get(name))


@routes.route("GET", "/{org}/{name}", "any-key")
def show(org: str, name: str, workspace: WorkspaceOf) -> Any:
    """`name` may carry a version or alias: `name:3`, `name@production`."""
    return describe(workspace, workspace.registry.models.get(_ref(org, name)))


@routes.route("GET", "/{org}/{name}/{part}", "any-key")
def part(org: str, name: str, part: str, workspace: WorkspaceOf) -> Any:
    """`card` (Markdown), `files`, `versions`, `lineage`, or `verify` (every blob read and compared with its digest)."""
    if part not in PARTS:
        raise Refused(f"A model has no {part!r}.", hint=nearest(part, PARTS))
    models = workspace.registry.models
    version = models.get(_ref(org, name))
    if part == "card":
        return PlainTextResponse(models.card(version), media_type="text/markdown")
    if part == "files":
        return {"items": [vars(file) for file in version.files]}
    if part == "lineage":
        return {"model": version.ref, "source": vars(version.source), "lineage": version.lineage}
    if part == "versions":
        return {"items": [describe(workspace, each) for each in models.versions(version.name)]}
    return {"model": version.ref, "problems": models.verify(version.ref)}


@routes.route("PUT", "/{org}/{name}/aliases/{alias}", "admin")
def alias(
    org: str,
    name: str,
    alias: str,
    request: Request,
    workspace: WorkspaceOf,
    body: Annotated[dict[str, Any], Body()],
) -> Any:
    """Point an alias at the version that `name` carries: {"why": TEXT}."""
    models = workspace.registry.models
    models.set_alias(_ref(org, name), alias, by=request.state.caller.name, why=str(body.get("why") or ""))
    return describe(workspace, models.get(_ref(org, name)))


def describe(workspace: Workspace, version: ModelVersion) -> dict[str, Any]:
    return {**version.to_json(), "aliases": workspace.registry.models.aliases(version.name)}


def _ref(org: str, name: str) -> str:
    return name if org == "_" else f"{org}/{name}"
