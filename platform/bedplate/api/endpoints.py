"""/api/v1/endpoints: deploy, watch, shift traffic, delete. Scoring itself is the gateway's (/endpoints/NAME)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.demands import Demand, Lease
from bedplate.api.etags import IfMatch, IfNoneMatch, revision_wanted, tagged
from bedplate.api.keys import Key, MadeKey
from bedplate.api.problems import codes
from bedplate.endpoints import REAL_TIME
from bedplate_registry.errors import Refused

__all__ = ["PLANNED", "DryRun", "Percent", "State", "routes"]

routes = Routes("/api/v1/endpoints", "endpoints")

Name = Annotated[str, Path(description="The endpoint.", examples=["support"])]
DeploymentName = Annotated[str, Path(description="The deployment.", examples=["main"])]
Slot = Annotated[str, Path(description="`primary` or `secondary`.", examples=["secondary"])]
State = Literal["ready", "starting", "failed", "empty"]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1, le=16)]
DEPLOYMENT: JsonDict = {
    "endpoint": "support",
    "name": "main",
    "model": "support-intent:1",
    "instances": 1,
    "device": "cpu",
    "traffic": 100,
    "demand": {"cores": 0, "memory_bytes": 1340000000, "gpus": 0, "gpu_memory_bytes": None},
    "waiting": None,
    "created": 1795449600.0,
    "error": None,
    "sample": {
        "request": {"inputs": "my card is lost", "parameters": {"top_k": 1}},
        "answer": [[{"label": "card_lost", "score": 0.98}]],
    },
    "ready": 1,
    "replicas": [
        {
            "id": "1a2b3c4d",
            "endpoint": "support",
            "deployment": "main",
            "state": "ready",
            "lease": {"cores": 0, "memory_bytes": 1340000000, "gpus": [], "gpu_memory_bytes": None},
            "leased": 1795449601.0,
            "created": 1795449601.0,
        }
    ],
}
EXAMPLE: JsonDict = {
    "name": "support",
    "task": "text-classification",
    "kind": "real-time",
    "owner": "ana",
    "revision": 1,
    "created": 1795449600.0,
    "url": "http://127.0.0.1:8686/endpoints/support",
    "state": "ready",
    "deployments": [DEPLOYMENT],
}


PLAN: JsonDict = {
    "name": "support",
    "kind": "real-time",
    "task": "text-classification",
    "deployment": "green",
    "model": "support-intent:2",
    "device": "cpu",
    "is_new": False,
    "traffic": {"main": 100, "green": 0},
    "instances": 1,
    "demand": {"cores": 0, "memory_bytes": 1340000000, "gpus": 0, "gpu_memory_bytes": None},
}


class SampleRequest(RequestBody):
    """A request that every model of this deployment must be able to answer, as it is sent to /endpoints/NAME."""

    inputs: Annotated[Any, Field(description="One input, or a list.")]
    parameters: Annotated[dict[str, Any] | None, Field(description="Of the task, as in scoring.")] = None


class NewDeployment(RequestBody):
    """A model version to be served, at an endpoint that is made where there is none of that name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "support", "model": "support-intent:1"}]})

    name: Annotated[str, Field(description="Of the endpoint.")]
    model: Annotated[str, Field(description="name, name:version or name@alias.")]
    deployment: Annotated[str | None, Field(description="Its name there; `main` unless said.")] = None
    instances: Count | None = None
    traffic: Annotated[
        Percent | None, Field(description="Of the endpoint; the first deployment gets 100, later ones 0 unless said.")
    ] = None
    device: Annotated[str | None, Field(description="`auto`, `cpu` or `cuda`.")] = None
    gpu_memory_gb: Annotated[float | int | None, Field(description="Of each replica, over what is estimated.")] = None
    accept_license: Annotated[
        bool | None, Field(description="The caller accepts its license, where the policy of the server asks for that.")
    ] = None
    sample: Annotated[
        SampleRequest | None, Field(description="Each replica answers it before it gets traffic; else one of the task.")
    ] = None


class DeploymentPlan(Answer):
    """What would come of a deployment that is checked and not made."""

    model_config = ConfigDict(json_schema_extra={"examples": [PLAN]})

    name: Annotated[str, Field(description="Of the endpoint.")]
    kind: Literal["real-time", "batch"]
    task: str
    deployment: str
    model: str
    device: str
    is_new: Annotated[bool, Field(description="Whether the endpoint would be made for it.")]
    traffic: Annotated[dict[str, int], Field(description="The endpoint's shares then, in percent by deployment.")]
    instances: Annotated[int, Field(description="0 for a batch endpoint.")]
    demand: Annotated[Demand | None, Field(description="Of each replica; null for a batch endpoint.")]


DryRun = Annotated[bool, Query(description="Check it and say what would come of it, and change nothing.")]
PLANNED: dict[int | str, dict[str, Any]] = {200: {"model": DeploymentPlan, "description": "With `dry_run`."}}


class EndpointChange(RequestBody):
    """What is to change, all at once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"traffic": {"main": 100}, "instances": {"main": 2}}]})

    traffic: Annotated[
        dict[str, Percent] | None, Field(description="Percent by deployment, adding up to 100; none named gets 0.")
    ] = None
    instances: Annotated[dict[str, Count] | None, Field(description="Replicas by deployment.")] = None


class Replica(Answer):
    """One process that serves."""

    id: str
    endpoint: str
    deployment: str
    state: Literal["starting", "ready", "stopping", "failed"]
    lease: Lease | None
    leased: float | None
    created: float


class Sample(Answer):
    """What the deployment's replicas are tried with before they get traffic."""

    request: Annotated[dict[str, Any], Field(description="A body for /endpoints/NAME.")]
    answer: Annotated[Any, Field(description="Of its first replica; null until then. Long texts are left out.")]


class Deployment(Answer):
    """One model version behind an endpoint."""

    model_config = ConfigDict(json_schema_extra={"examples": [DEPLOYMENT]})

    endpoint: str
    name: str
    model: str
    instances: int
    device: str
    traffic: Annotated[int, Field(description="In percent.")]
    demand: Annotated[Demand, Field(description="Of each replica.")]
    waiting: Annotated[str | None, Field(description="For what a replica that is not there waits.")]
    created: float
    error: Annotated[dict[str, Any] | None, Field(description="Why replicas do not start.")]
    sample: Annotated[Sample | None, Field(description="Null until its task's own is answered.")]
    ready: int
    replicas: list[Replica]


class Endpoint(Answer):
    """A name that is scored at /endpoints/NAME."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    task: str
    kind: Literal["real-time"]
    owner: str
    revision: Annotated[int, Field(description="Counts the changes of what is wished.")]
    created: float
    url: str
    state: State
    deployments: list[Deployment]


class DeployedEndpoint(Endpoint):
    """The endpoint, and where it is new its first key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE, "state": "starting", "key": "bp_…"}]})

    key: Annotated[str | None, Field(description="The primary key's text, shown this once.")] = None


@routes.route(
    "POST",
    "",
    "operate",
    status_code=202,
    response_model=DeployedEndpoint,
    responses={
        **PLANNED,
        **codes(
            *("archived", "base-model", "license-denied", "license-not-accepted", "does-not-fit", "no-gpu"),
            *("other-kind", "other-task", "other-model", "bad-sample", "other-sample"),
        ),
    },
)
def deploy(
    request: Request, workspace: WorkspaceOf, caller: CallerOf, body: NewDeployment, dry_run: DryRun = False
) -> Response:
    """Deploy a model. It answers when `state` is `ready`; a new endpoint's `key` is shown this once."""
    note(request, endpoint=body.name, model=body.model, accept_license=bool(body.accept_license), dry_run=dry_run)
    options = body.model_dump(exclude={"name", "model", "sample"}, exclude_none=True)
    if body.sample is not None:
        options["sample"] = body.sample.model_dump()  # with every null inside, which may be part of an input
    made = workspace.deploy(body.name, body.model, owner=caller.user, dry_run=dry_run, **options)
    return json_answer(made, 200 if dry_run else 202)


@routes.route("GET", "", "read", response_model=Page[Endpoint])
def list_endpoints(workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """List the real-time endpoints, by name."""
    rows, following = page_of(workspace.endpoints.all(REAL_TIME), lambda row: row.name, limit, after)
    return json_answer({"items": [workspace.describe_endpoint(row.name) for row in rows], "next": following})


@routes.route("GET", "/{name}", "read", response_model=Endpoint)
def show_endpoint(name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show an endpoint: its deployments, their traffic and their replicas."""
    workspace.endpoints.get(name, REAL_TIME)
    shown = workspace.describe_endpoint(name)
    return tagged(shown, if_none_match, revision=shown["revision"])


@routes.route("PATCH", "/{name}", "operate", response_model=Endpoint, responses=codes("does-not-fit"))
def change_endpoint(
    name: Name, request: Request, workspace: WorkspaceOf, body: EndpointChange, if_match: IfMatch = None
) -> Response:
    """Share the traffic among the deployments, or change how many replicas they have."""
    if body.traffic is None and body.instances is None:
        raise Refused("Nothing is to change.", hint="Give traffic, instances or both.", code="missing-setting")
    note(request, **body.model_dump(exclude_none=True))
    workspace.endpoints.get(name, REAL_TIME)
    shown = workspace.update_endpoint(
        name, traffic=body.traffic, instances=body.instances or {}, revision=revision_wanted(if_match)
    )
    return tagged(shown, None, revision=shown["revision"])


@routes.route("DELETE", "/{name}", "operate", status_code=204)
def delete_endpoint(name: Name, workspace: WorkspaceOf, if_match: IfMatch = None) -> Response:
    """Delete an endpoint, its deployments and its keys. The models stay."""
    workspace.endpoints.get(name, REAL_TIME)
    workspace.delete_endpoint(name, revision=revision_wanted(if_match))
    return Response(status_code=204)


@routes.route("DELETE", "/{name}/deployments/{deployment}", "operate", status_code=204, responses=codes("has-traffic"))
def delete_deployment(
    name: Name, deployment: DeploymentName, workspace: WorkspaceOf, if_match: IfMatch = None
) -> Response:
    """Delete a deployment, which holds no traffic unless it is the last one."""
    workspace.endpoints.get(name, REAL_TIME)
    workspace.endpoints.delete_deployment(name, deployment, revision=revision_wanted(if_match))
    workspace.changed()
    return Response(status_code=204)


@routes.route("GET", "/{name}/keys", "operate", response_model=Page[Key])
def list_endpoint_keys(name: Name, workspace: WorkspaceOf) -> Response:
    """List the endpoint's own keys by slot, without their texts."""
    workspace.endpoints.get(name, REAL_TIME)
    return json_answer({"items": [key.to_json() for key in workspace.keys.of_endpoint(name)], "next": None})


@routes.route(
    "POST",
    "/{name}/keys/{slot}/rotate",
    "operate",
    status_code=201,
    response_model=MadeKey,
    responses=codes("unknown-slot"),
)
def rotate_endpoint_key(name: Name, slot: Slot, request: Request, workspace: WorkspaceOf) -> Response:
    """Put a new key in a slot, `primary` or `secondary`. Its text is shown this once; the one before it ends at once.

    Callers move to the other slot's key first, so that none is refused meanwhile.
    """
    workspace.endpoints.get(name, REAL_TIME)
    key, text = workspace.keys.rotate(name, slot)
    note(request, key_made=key.id)
    workspace.changed()
    return json_answer({**key.to_json(), "key": text}, 201)


@routes.route("GET", "/{name}/logs", "read", response_class=PlainTextResponse)
def show_endpoint_logs(
    name: Name,
    workspace: WorkspaceOf,
    tail: Annotated[int, Query(ge=1, le=10_000, description="So many lines of each deployment.")] = 200,
) -> Response:
    """Show the last lines of its replicas, deployment by deployment."""
    text = []
    for row in workspace.endpoints.deployments(workspace.endpoints.get(name, REAL_TIME).name):
        path = workspace.reconciler.log_file(name, row.name)
        lines = path.read_text(errors="replace").splitlines()[-tail:] if path.exists() else []
        text += [f"== {row.name} ({row.model})", *lines]
    return PlainTextResponse("\n".join(text) + "\n", headers={"X-Content-Type-Options": "nosniff"})
