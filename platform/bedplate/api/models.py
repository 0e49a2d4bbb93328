"""/api/v1/models: what is in the registry. A name of one part may be called `name` or `_/name`.

`name` may carry a version or an alias: `name:3`, `name@production`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.etags import IfMatch, IfNoneMatch, check_unchanged, tagged
from bedplate.api.problems import codes
from bedplate.model_uses import deployments_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from bedplate_registry.lineage import children, evaluations_of, parents
from bedplate_registry.models import ModelVersion
from bedplate_registry.names import Ref
from bedplate_registry.tasks import get_task

__all__ = ["Model", "Name", "Org", "Reason", "Why", "describe", "get_version", "routes"]

routes = Routes("/api/v1/models", "models")
Org = Annotated[str, Path(description="`_` for a name of one part.", examples=["_"])]
Name = Annotated[str, Path(description="Perhaps with a version or an alias.", examples=["support-intent:1"])]
OneVersion = Annotated[str, Path(description="With its version.", examples=["support-intent:1"])]
Why = Annotated[str | None, Field(max_length=2000, description="The reason, which is kept.")]
MOST_FILES = 100_000
EXAMPLE: JsonDict = {
    "name": "support-intent",
    "ref": "support-intent:1",
    "version": 1,
    "created": "2026-11-24T08:00:00+00:00",
    "digest": "0" * 64,
    "state": "active",
    "aliases": {"production": 1},
    "task": "text-classification",
    "architecture": "BertForSequenceClassification",
    "model_type": "bert",
    "parameters": 22713216,
    "dtype": "float32",
    "size_bytes": 90900000,
    "license": "apache-2.0",
    "labels": ["card", "login", "refund"],
    "context_length": 512,
    "languages": ["en"],
    "finetunable_tasks": ["text-classification"],
    "files": [{"path": "config.json", "size_bytes": 612, "sha256": "0" * 64}],
    "source": {"kind": "job", "id": "finetune-1a2b3c4d", "commit": None, "url": None},
    "lineage": {"base": "sentence-transformers/all-MiniLM-L6-v2:1"},
    "sample": {"inputs": "my card is lost", "answer": [{"label": "card", "score": 0.97}]},
}

LINEAGE: JsonDict = {
    "model": "support-intent:1",
    "source": EXAMPLE["source"],
    "lineage": EXAMPLE["lineage"],
    "parents": [
        {
            "ref": "sentence-transformers/all-MiniLM-L6-v2:1",
            "relation": "fine-tune",
            "state": "active",
            "task": None,
            "created": "2026-11-24T07:00:00+00:00",
        }
    ],
    "children": [],
    "evaluations": [
        {
            "id": "ev-20261124-080000-000000-1a2b3c",
            "created": "2026-11-24T08:00:00+00:00",
            "data": "tickets:1",
            "split": "test",
            "metrics": {"accuracy": 0.94},
        }
    ],
    "deployments": [{"endpoint": "support", "deployment": "main", "traffic": 100}],
    "aliases": ["production"],
    "license_acceptances": [],
}


class FileOfModel(Answer):
    """One file of a model."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"path": "config.json", "size_bytes": 612, "sha256": "0" * 64}]}
    )

    path: str
    size_bytes: int
    sha256: str


class Source(Answer):
    """Where a model came from."""

    kind: Annotated[str, Field(description="hub, folder or job.")]
    id: Annotated[str, Field(description="The id at the Hub, the digest of the folder, or the job.")]
    commit: str | None
    url: str | None


class Model(Answer):
    """A version of a model. It never changes, but for what aliases mean and whether it is archived."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    ref: str
    version: int
    created: str
    digest: Annotated[str, Field(description="SHA-256 of its manifest.")]
    state: Annotated[Literal["active", "archived"], Field(description="An archived one is in no list of models.")]
    aliases: Annotated[dict[str, int], Field(description="Which versions of this name the aliases mean.")]
    task: Annotated[str | None, Field(description="null: a base, without a head.")]
    architecture: str | None
    model_type: str | None
    parameters: int
    dtype: str
    size_bytes: int
    license: str | None
    labels: list[str]
    context_length: int | None
    languages: list[str]
    finetunable_tasks: list[str]
    files: list[FileOfModel]
    source: Source
    lineage: dict[str, Any]
    sample: Annotated[dict[str, Any] | None, Field(description="Request and answer of the check that loaded it.")]


class Relative(Answer):
    """A version that this one was made from, or that was made from it."""

    ref: str
    relation: Annotated[Literal["fine-tune", "adapter"], Field(description="How the younger of the two came about.")]
    state: Annotated[Literal["active", "archived", "missing"], Field(description="missing: it was deleted.")]
    task: str | None
    created: str | None


class MeasuredOn(Answer):
    """What an evaluation of it found."""

    id: str
    created: str
    data: Annotated[str | None, Field(description="The dataset, or the name of the file.")]
    split: Annotated[str | None, Field(description="Which part of the data, where it was split.")]
    metrics: dict[str, Any]


class ServedBy(Answer):
    """A deployment of it."""

    endpoint: str
    deployment: str
    traffic: Annotated[int, Field(description="In percent.")]


class AcceptedBy(Answer):
    """That somebody accepted its license."""

    license: str
    by: str
    when: str
    where: Annotated[str, Field(description="For which import or endpoint.")]


class Lineage(Answer):
    """Where a version comes from, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [LINEAGE]})

    model: str
    source: Source
    lineage: Annotated[dict[str, Any], Field(description="Base, digests of data, settings, metrics, packages.")]
    parents: Annotated[list[Relative], Field(description="What it was made from, the nearest first.")]
    children: Annotated[list[Relative], Field(description="What was made from it directly.")]
    evaluations: Annotated[list[MeasuredOn], Field(description="The newest first.")]
    deployments: list[ServedBy]
    aliases: Annotated[list[str], Field(description="Those that mean it now.")]
    license_acceptances: Annotated[list[AcceptedBy], Field(description="Of this name, the oldest first.")]


class Verification(Answer):
    """What reading every byte found."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "support-intent:1", "problems": []}]})

    model: str
    problems: Annotated[list[str], Field(description="One sentence for each file that is missing or damaged.")]


class Reason(RequestBody):
    """Why it is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "replaced by a better one"}]})

    why: Why = None


@routes.route("GET", "", "read", response_model=Page[Model])
def list_models(
    workspace: WorkspaceOf,
    task: str | None = None,
    license: str | None = None,
    finetunable_for: Annotated[str | None, Query(description="A task that it can be fine-tuned for.")] = None,
    query: Annotated[str | None, Query(description="A part of the name.")] = None,
    archived: Annotated[bool, Query(description="The archived versions instead.")] = False,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """List the newest version of each model, by name; or all versions that are archived."""
    models = workspace.registry.models
    wanted = get_task(task).name if task else None
    able = get_task(finetunable_for).name if finetunable_for else None
    found = [
        version
        for version in (models.archived() if archived else models.list())
        if (wanted is None or version.facts.task == wanted)
        and (license is None or (version.facts.license or "").lower() == license.lower())
        and (able is None or able in version.facts.finetunable_tasks)
        and (query is None or query.lower() in str(version.name).lower())
    ]
    found.sort(key=_place)
    page, following = page_of(found, _place, limit, after)
    return json_answer({"items": [describe(workspace, version) for version in page], "next": following})


@routes.route("GET", "/{name}", "read", response_model=Model)
def show_model_of_one_part(name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a version of a model whose name has one part."""
    return tagged(describe(workspace, workspace.registry.models.get(name)), if_none_match)


@routes.route("GET", "/{org}/{name}", "read", response_model=Model)
def show_model(org: Org, name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a version of a model."""
    return tagged(describe(workspace, get_version(workspace, org, name)), if_none_match)


@routes.route(
    "GET",
    "/{org}/{name}/card",
    "read",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}, "example": "# Support intents"}}}},
)
def show_card(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Show the model card, as it was written (Markdown, not cleaned)."""
    text = workspace.registry.models.card(get_version(workspace, org, name))
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return Response(text, media_type="text/markdown", headers=headers)


@routes.route("GET", "/{org}/{name}/files", "read", response_model=Page[FileOfModel])
def list_files(
    org: Org,
    name: Name,
    workspace: WorkspaceOf,
    limit: Annotated[int, Query(ge=1, le=MOST_FILES, description="At most so many items.")] = MOST_FILES,
    after: Annotated[str | None, Query(max_length=5000, description="`next` of the page before.")] = None,
) -> Response:
    """List the files of a version with their digests."""
    files = sorted((vars(file) for file in get_version(workspace, org, name).files), key=_path)
    page, following = page_of(files, _path, limit, after)
    return json_answer({"items": page, "next": following})


@routes.route("GET", "/{org}/{name}/versions", "read", response_model=Page[Model])
def list_versions(
    org: Org,
    name: Name,
    workspace: WorkspaceOf,
    limit: Limit = MOST_ITEMS,
    after: Annotated[int, Query(ge=0, lt=10**9, description="`next` of the page before.")] = 0,
) -> Response:
    """List the versions of a model, ascending."""
    found = workspace.registry.models.versions(get_version(workspace, org, name).name)
    rest = [version for version in found if version.version > after]
    following = str(rest[limit - 1].version) if len(rest) > limit else None
    return json_answer({"items": [describe(workspace, version) for version in rest[:limit]], "next": following})


@routes.route("GET", "/{org}/{name}/lineage", "read", response_model=Lineage)
def show_lineage(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Show where a version comes from (base, data, settings), and what was made from it, measured on it, serves it."""
    registry, version = workspace.registry, get_version(workspace, org, name)
    deployments = deployments_of(version.ref, workspace.endpoints)
    shown = {
        "model": version.ref,
        "source": vars(version.source),
        "lineage": version.lineage,
        "parents": [relative.to_json() for relative in parents(registry.models, version)],
        "children": [relative.to_json() for relative in children(registry.models, version)],
        "evaluations": evaluations_of(registry.evaluations, version.ref),
        "deployments": [
            {"endpoint": row.endpoint, "deployment": row.name, "traffic": row.traffic} for row in deployments
        ],
        "aliases": [*version.aliases],
        "license_acceptances": [vars(each) for each in registry.models.licenses.all(version.name)],
    }
    return json_answer(shown)


@routes.route("GET", "/{org}/{name}/verify", "read", response_model=Verification)
def verify(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Read every file of a version and compare it with its digest."""
    version = get_version(workspace, org, name)
    return json_answer({"model": version.ref, "problems": workspace.registry.models.verify(version.ref)})


@routes.route("POST", "/{org}/{name}/archive", "operate", response_model=Model, responses=codes("in-use"))
def archive(
    org: Org,
    name: OneVersion,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: Reason,
    if_match: IfMatch = None,
) -> Response:
    """Leave a version out of lists, and out of what is deployed or fine-tuned from now on. It stays readable."""
    version = _to_change(workspace, org, name, request, if_match)
    archived = workspace.registry.models.archive(version.ref, by=caller.user, why=body.why or "")
    return tagged(describe(workspace, archived), None)


@routes.route("POST", "/{org}/{name}/restore", "operate", response_model=Model)
def restore(
    org: Org,
    name: OneVersion,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: Reason,
    if_match: IfMatch = None,
) -> Response:
    """Take an archived version up again."""
    version = _to_change(workspace, org, name, request, if_match)
    restored = workspace.registry.models.restore(version.ref, by=caller.user, why=body.why or "")
    return tagged(describe(workspace, restored), None)


@routes.route(
    "DELETE", "/{org}/{name}", "operate", status_code=204, responses=codes("in-use", "no-version", "bad-request")
)
def delete(
    org: Org,
    name: OneVersion,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    why: Annotated[str | None, Query(max_length=2000, description="The reason, which is kept.")] = None,
    if_match: IfMatch = None,
) -> Response:
    """Delete a version for good, which nothing uses. Its number is never given again."""
    version = _to_change(workspace, org, name, request, if_match)
    workspace.delete_model(version.ref, by=caller.user, why=why or "")
    return Response(status_code=204)


def describe(workspace: Workspace, version: ModelVersion) -> dict[str, Any]:
    return {**version.to_json(), "aliases": workspace.registry.models.aliases(version.name)}


def get_version(workspace: Workspace, org: str, name: str) -> ModelVersion:
    """The version that a path names."""
    return workspace.registry.models.get(name if org == "_" else f"{org}/{name}")


def _to_change(workspace: Workspace, org: str, name: str, request: Request, if_match: str | None) -> ModelVersion:
    """The one version that is to be changed. Raises Refused where it is not named by its number, Changed."""
    if Ref.parse(name).version is None:
        raise Refused(
            f"{name[:80]!r} does not say which version.", hint="Name it by its number, as in name:3.", code="no-version"
        )
    version = get_version(workspace, org, name)
    check_unchanged(if_match, describe(workspace, version))
    note(request, version=version.version)
    return version


def _place(version: ModelVersion) -> str:
    """By name and number, as text that pages go by: a space comes before whatever a name may hold."""
    return f"{version.name} {version.version:09}"


def _path(file: dict[str, Any]) -> str:
    return str(file["path"])
