"""/api/v1/batch-endpoints: a name for the model that batch jobs score with. Nothing runs until a job comes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, Path, Request, Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, DescribedBy, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.endpoints import PLANNED, DryRun, Percent, State
from bedplate.api.etags import IfMatch, IfNoneMatch, revision_wanted, tagged
from bedplate.api.jobs import IdempotencyKey, Job
from bedplate.api.problems import codes
from bedplate.endpoints import BATCH
from bedplate.kinds.batch import EXAMPLE as BATCH_EXAMPLE
from bedplate.kinds.batch import BatchSettings
from bedplate_registry.errors import Conflict, Refused

__all__ = ["routes"]

routes = Routes("/api/v1/batch-endpoints", "batch endpoints")

Name = Annotated[str, Path(description="The batch endpoint.", examples=["nightly"])]
EXAMPLE: JsonDict = {
    "name": "nightly",
    "task": "text-classification",
    "kind": "batch",
    "owner": "ana",
    "revision": 1,
    "created": 1795449600.0,
    "url": "http://127.0.0.1:8686/api/v1/batch-endpoints/nightly/jobs",
    "state": "ready",
    "deployments": [
        {
            "endpoint": "nightly",
            "name": "main",
            "model": "support-intent:1",
            "device": "cpu",
            "traffic": 100,
            "created": 1795449600.0,
        }
    ],
}
BatchBody = Annotated[
    dict[str, Any], DescribedBy(lambda: {"batch": BatchSettings}), Body(examples=[{**BATCH_EXAMPLE, "priority": 10}])
]


class NewBatchDeployment(RequestBody):
    """A model version that jobs are to score with, at an endpoint that is made where there is none of that name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly", "model": "support-intent:1"}]})

    name: Annotated[str, Field(description="Of the endpoint.")]
    model: Annotated[str, Field(description="name, name:version or name@alias.")]
    deployment: Annotated[str | None, Field(description="Its name there; `main` unless said.")] = None
    traffic: Annotated[
        Percent | None, Field(description="The deployment that holds most of it scores; the first one gets 100.")
    ] = None
    device: Annotated[str | None, Field(description="`auto`, `cpu` or `cuda`, where a job names none.")] = None
    accept_license: Annotated[
        bool | None, Field(description="The caller accepts its license, where the policy of the server asks for that.")
    ] = None


class TrafficChange(RequestBody):
    """Which deployment is to score."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"traffic": {"main": 100}}]})

    traffic: Annotated[dict[str, Percent], Field(description="Percent by deployment, adding up to 100.")]


class BatchDeployment(Answer):
    """One model version behind a batch endpoint."""

    endpoint: str
    name: str
    model: str
    device: str
    traffic: Annotated[int, Field(description="In percent.")]
    created: float


class BatchEndpoint(Answer):
    """A name whose jobs score with the model that holds most of its traffic when they are submitted."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    task: str
    kind: Literal["batch"]
    owner: str
    revision: Annotated[int, Field(description="Counts the changes.")]
    created: float
    url: str
    state: State
    deployments: list[BatchDeployment]


@routes.route(
    "POST",
    "",
    "operate",
    status_code=201,
    response_model=BatchEndpoint,
    responses={
        **PLANNED,
        **codes(
            *("archived", "base-model", "license-denied", "license-not-accepted", "no-gpu"),
            *("other-kind", "other-task", "other-model"),
        ),
    },
)
def deploy_batch(
    request: Request, workspace: WorkspaceOf, caller: CallerOf, body: NewBatchDeployment, dry_run: DryRun = False
) -> Response:
    """Deploy a model for batch jobs. Nothing is started, and no port is opened."""
    note(request, endpoint=body.name, model=body.model, accept_license=bool(body.accept_license), dry_run=dry_run)
    options = body.model_dump(exclude={"name", "model"}, exclude_none=True)
    made = workspace.deploy_batch(body.name, body.model, owner=caller.user, dry_run=dry_run, **options)
    return json_answer(made, 200 if dry_run else 201)


@routes.route("GET", "", "read", response_model=Page[BatchEndpoint])
def list_batch_endpoints(workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """List the batch endpoints, by name."""
    rows, following = page_of(workspace.endpoints.all(BATCH), lambda row: row.name, limit, after)
    return json_answer({"items": [workspace.describe_endpoint(row.name) for row in rows], "next": following})


@routes.route("GET", "/{name}", "read", response_model=BatchEndpoint)
def show_batch_endpoint(name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a batch endpoint and its deployments."""
    workspace.endpoints.get(name, BATCH)
    shown = workspace.describe_endpoint(name)
    return tagged(shown, if_none_match, revision=shown["revision"])


@routes.route("PATCH", "/{name}", "operate", response_model=BatchEndpoint)
def change_batch_endpoint(
    name: Name, request: Request, workspace: WorkspaceOf, body: TrafficChange, if_match: IfMatch = None
) -> Response:
    """Choose which deployment scores."""
    note(request, traffic=body.traffic)
    workspace.endpoints.get(name, BATCH)
    workspace.endpoints.update(name, traffic=body.traffic, revision=revision_wanted(if_match))
    shown = workspace.describe_endpoint(name)
    return tagged(shown, None, revision=shown["revision"])


@routes.route("DELETE", "/{name}", "operate", status_code=204)
def delete_batch_endpoint(name: Name, workspace: WorkspaceOf, if_match: IfMatch = None) -> Response:
    """Delete a batch endpoint. Its jobs, their outputs and the models stay."""
    workspace.endpoints.get(name, BATCH)
    workspace.delete_endpoint(name, revision=revision_wanted(if_match))
    return Response(status_code=204)


@routes.route("POST", "/{name}/jobs", "batch", status_code=202, response_model=Job, responses=codes("no-deployment"))
def submit_batch(
    name: Name,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: BatchBody,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Score a file with the model that holds most of the endpoint's traffic now, in a worker of its own."""
    if "model" in body or "kind" in body:
        raise Refused("The endpoint says which model scores.", hint="Leave model and kind out.", code="unknown-setting")
    caller.check_priority(body.get("priority"))
    workspace.endpoints.get(name, BATCH)
    held = workspace.endpoints.deployments(name)
    if not held:
        raise Conflict(f"Endpoint {name!r} has no deployment.", hint="Deploy a model to it.", code="no-deployment")
    chosen = max(held, key=lambda deployment: deployment.traffic)
    job = workspace.submit(
        "batch",
        {"device": chosen.device, **body, "model": name},
        client_key=idempotency_key,
        owner=caller.user,
        request_id=request.state.request_id,
    )
    note(request, job=job.id)
    return json_answer(workspace.describe_job(job), 202)
