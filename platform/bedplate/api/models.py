"""/api/v1/models: what is in the registry. A name of one part may be called `name` or `_/name`.

`name` may carry a version or an alias: `name:3`, `name@production`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.etags import IfMatch, IfNoneMatch, check_unchanged, tag_of, tagged
from bedplate.api.problems import codes
from bedplate.workspace import Workspace
from bedplate_registry.errors import Changed, NotFound, nearest
from bedplate_registry.models import ModelVersion
from bedplate_registry.tasks import get_task

__all__ = ["describe", "routes"]

routes = Routes("/api/v1/models", "models")
Org = Annotated[str, Path(description="`_` for a name of one part.", examples=["_"])]
Name = Annotated[str, Path(description="Perhaps with a version or an alias.", examples=["support-intent:1"])]
Alias = Annotated[str, Path(description="An alias.", examples=["production"])]
MOST_FILES = 100_000
EXAMPLE: JsonDict = {
    "name": "support-intent",
    "ref": "support-intent:1",
    "version": 1,
    "created": "2026-11-24T08:00:00+00:00",
    "digest": "0" * 64,
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
    """A version of a model. It never changes, but for what aliases mean."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    ref: str
    version: int
    created: str
    digest: Annotated[str, Field(description="SHA-256 of its manifest.")]
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


class Lineage(Answer):
    """Where a version comes from."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "support-intent:1", "source": EXAMPLE["source"], "lineage": EXAMPLE["lineage"]}]
        }
    )

    model: str
    source: Source
    lineage: Annotated[dict[str, Any], Field(description="Base, digests of data, settings, metrics, packages.")]


class Verification(Answer):
    """What reading every byte found."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "support-intent:1", "problems": []}]})

    model: str
    problems: Annotated[list[str], Field(description="One sentence for each file that is missing or damaged.")]


class AliasChange(RequestBody):
    """Why the alias is set."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "better on the holdout"}]})

    why: Annotated[str | None, Field(max_length=2000, description="The reason, which is kept.")] = None


class AliasOfModel(Answer):
    """What an alias means now."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"alias": "production", "version": 1, "model": "support-intent:1"}]}
    )

    alias: str
    version: int
    model: str


@routes.route("GET", "", "read", response_model=Page[Model])
def list_models(
    workspace: WorkspaceOf,
    task: str | None = None,
    license: str | None = None,
    finetunable_for: Annotated[str | None, Query(description="A task that it can be fine-tuned for.")] = None,
    query: Annotated[str | None, Query(description="A part of the name.")] = None,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """List the newest version of each model, by name."""
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
    found.sort(key=lambda version: str(version.name))
    page, following = page_of(found, lambda version: str(version.name), limit, after)
    return json_answer({"items": [describe(workspace, version) for version in page], "next": following})


@routes.route("GET", "/{name}", "read", response_model=Model)
def show_model_of_one_part(name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a version of a model whose name has one part."""
    return tagged(describe(workspace, workspace.registry.models.get(name)), if_none_match)


@routes.route("GET", "/{org}/{name}", "read", response_model=Model)
def show_model(org: Org, name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a version of a model."""
    return tagged(describe(workspace, _get(workspace, org, name)), if_none_match)


@routes.route(
    "GET",
    "/{org}/{name}/card",
    "read",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}, "example": "# Support intents"}}}},
)
def show_card(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Show the model card, as it was written (Markdown, not cleaned)."""
    text = workspace.registry.models.card(_get(workspace, org, name))
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
    files = sorted((vars(file) for file in _get(workspace, org, name).files), key=_path)
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
    found = workspace.registry.models.versions(_get(workspace, org, name).name)
    rest = [version for version in found if version.version > after]
    following = str(rest[limit - 1].version) if len(rest) > limit else None
    return json_answer({"items": [describe(workspace, version) for version in rest[:limit]], "next": following})


@routes.route("GET", "/{org}/{name}/lineage", "read", response_model=Lineage)
def show_lineage(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Show where a version comes from: base, data, settings, metrics, packages."""
    version = _get(workspace, org, name)
    return json_answer({"model": version.ref, "source": vars(version.source), "lineage": version.lineage})


@routes.route("GET", "/{org}/{name}/verify", "read", response_model=Verification)
def verify(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Read every file of a version and compare it with its digest."""
    version = _get(workspace, org, name)
    return json_answer({"model": version.ref, "problems": workspace.registry.models.verify(version.ref)})


@routes.route("GET", "/{org}/{name}/aliases", "read", response_model=Page[AliasOfModel])
def list_aliases(
    org: Org, name: Name, workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None
) -> Response:
    """List what the aliases of a model mean."""
    aliases = _aliases(workspace, _get(workspace, org, name))
    page, following = page_of([aliases[alias] for alias in sorted(aliases)], lambda one: one["alias"], limit, after)
    return json_answer({"items": page, "next": following})


@routes.route("GET", "/{org}/{name}/aliases/{alias}", "read", response_model=AliasOfModel)
def show_alias(
    org: Org, name: Name, alias: Alias, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None
) -> Response:
    """Show which version an alias means."""
    version = _get(workspace, org, name)
    aliases = _aliases(workspace, version)
    if alias not in aliases:
        hint = nearest(alias, aliases) if aliases else "It has none yet."
        raise NotFound(f"The model '{version.name}' has no alias {alias[:80]!r}.", hint=hint)
    return tagged(aliases[alias], if_none_match)


@routes.route(
    "PUT", "/{org}/{name}/aliases/{alias}", "operate", response_model=Model, responses=codes("bad-alias", "changed")
)
def set_alias(
    org: Org,
    name: Name,
    alias: Alias,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: AliasChange,
    if_match: IfMatch = None,
) -> Response:
    """Point an alias at the version that `name` carries. What it meant before stays on record."""
    models, version = workspace.registry.models, _get(workspace, org, name)
    if if_match is not None:
        current = _aliases(workspace, version).get(alias)
        if current is None:
            raise Changed(f"The model '{version.name}' has no alias {alias[:80]!r}.")
        check_unchanged(if_match, current)
    note(request, version=version.version)
    models.set_alias(version.ref, alias, by=caller.user, why=body.why or "")
    shown = _aliases(workspace, version)[alias]
    return json_answer(describe(workspace, models.get(version.ref)), headers={"ETag": tag_of(shown)})


def describe(workspace: Workspace, version: ModelVersion) -> dict[str, Any]:
    return {**version.to_json(), "aliases": workspace.registry.models.aliases(version.name)}


def _get(workspace: Workspace, org: str, name: str) -> ModelVersion:
    return workspace.registry.models.get(name if org == "_" else f"{org}/{name}")


def _aliases(workspace: Workspace, version: ModelVersion) -> dict[str, dict[str, Any]]:
    means = workspace.registry.models.aliases(version.name)
    return {
        alias: {"alias": alias, "version": number, "model": f"{version.name}:{number}"}
        for alias, number in means.items()
    }


def _path(file: dict[str, Any]) -> str:
    return str(file["path"])
