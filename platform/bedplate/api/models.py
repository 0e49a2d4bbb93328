"""/api/v1/models: what is in the registry. A name of one part may be called `name` or `_/name`.

`name` may carry a version or an alias: `name:3`, `name@production`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import Response

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, Limit, Page, json_answer, page_of
from bedplate.api.etags import IfMatch, IfNoneMatch, check_unchanged, tagged
from bedplate.api.model_bodies import FileOfModel, License, Lineage, Model, Needs, Reason, SampleOfUse, Verification
from bedplate.api.problems import codes
from bedplate.model_card import card_of
from bedplate.model_needs import needs_of
from bedplate.model_samples import samples
from bedplate.model_uses import deployments_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from bedplate_registry.license_texts import license_texts
from bedplate_registry.lineage import children, evaluations_of, parents
from bedplate_registry.models import ModelVersion
from bedplate_registry.names import Name as ModelName
from bedplate_registry.names import Ref
from bedplate_registry.search import Query as Wanted
from bedplate_registry.store import ACTIVE, ARCHIVED

__all__ = ["Name", "Org", "describe", "get_version", "named", "routes"]

routes = Routes("/api/v1/models", "models")
Org = Annotated[str, Path(description="`_` for a name of one part.", examples=["_"])]
Name = Annotated[str, Path(description="Perhaps with a version or an alias.", examples=["support-intent:1"])]
OneVersion = Annotated[str, Path(description="With its version.", examples=["support-intent:1"])]
Count = Annotated[int | None, Query(ge=0, lt=1 << 62)]
MOST_FILES = 100_000


@routes.route("GET", "", "read", response_model=Page[Model], responses=codes("bad-cursor"))
def list_models(
    workspace: WorkspaceOf,
    query: Annotated[str | None, Query(max_length=300, description="Words of its name, its facts or its card.")] = None,
    task: str | None = None,
    finetunable_for: Annotated[str | None, Query(description="A task that it can be fine-tuned for.")] = None,
    license: Annotated[str | None, Query(description="In any case; `unknown` for those that name none.")] = None,
    language: str | None = None,
    source: Annotated[str | None, Query(description="hub, folder or job.")] = None,
    author: Annotated[str | None, Query(description="In any case.")] = None,
    dataset: Annotated[str | None, Query(description="One that its card names, in any case.")] = None,
    alias: Annotated[str | None, Query(description="The versions that it means.")] = None,
    archived: Annotated[bool, Query(description="The archived versions instead.")] = False,
    min_bytes: Count = None,
    max_bytes: Count = None,
    min_parameters: Count = None,
    max_parameters: Count = None,
    sort: Annotated[str | None, Query(description="name, created, size, parameters or relevance.")] = None,
    descending: bool = False,
    limit: Limit = MOST_ITEMS,
    after: Annotated[str | None, Query(max_length=600, description="`next` of the page before.")] = None,
) -> Response:
    """List the newest version of each model; or all versions that are archived, or that an alias means.

    With a query the best hits come first, else they are listed by name.
    """
    wanted = Wanted(
        text=query or "",
        task=task,
        finetunable_for=finetunable_for,
        license=license,
        language=language,
        source=source,
        author=author,
        dataset=dataset,
        alias=alias,
        state=ARCHIVED if archived else ACTIVE,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        min_parameters=min_parameters,
        max_parameters=max_parameters,
        sort=sort,
        descending=descending,
    )
    found = workspace.registry.search.find(wanted, limit=limit, after=after)
    return json_answer({"items": found.items, "next": found.next})


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
def show_card(
    org: Org,
    name: Name,
    workspace: WorkspaceOf,
    source: Annotated[bool, Query(description="The author's own card, as it was written and not cleaned.")] = False,
) -> Response:
    """Show the card: facts, how to use it, what was measured, and what its author says of it, cleaned (Markdown)."""
    version = get_version(workspace, org, name)
    text = workspace.registry.models.card(version) if source else card_of(workspace, version)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return Response(text, media_type="text/markdown", headers=headers)


@routes.route("GET", "/{org}/{name}/license", "read", response_model=License)
def show_license(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Show the license of a version, and the texts of it that came with its files."""
    version = get_version(workspace, org, name)
    texts = license_texts(workspace.registry.models, version)
    named = {"license": version.facts.license, "license_spdx": version.facts.license_spdx}
    return json_answer({"model": version.ref, **named, "files": [vars(text) for text in texts]})


@routes.route("GET", "/{org}/{name}/estimates", "read", response_model=Needs)
def show_estimates(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """Show what memory a version takes, and how to fine-tune it on the devices of this machine."""
    version = get_version(workspace, org, name)
    found, recommended = needs_of(workspace.registry, workspace.machine, version)
    shown = {"estimates": found.to_json(), "recommended": recommended.to_json()}
    return json_answer({"model": version.ref, **shown})


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


@routes.route("GET", "/{org}/{name}/samples", "read", response_model=Page[SampleOfUse])
def list_samples(org: Org, name: Name, workspace: WorkspaceOf) -> Response:
    """List how to use a version, as commands and code that run as they stand; an archived one has none."""
    found = samples(get_version(workspace, org, name), workspace.address.url)
    return json_answer({"items": [vars(sample) for sample in found], "next": None})


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
    """Delete a version for good, which nothing uses, also one that is damaged. Its number is never given again."""
    ref = _one_version(workspace, org, name)
    try:
        _to_change(workspace, org, name, request, if_match)
    except Refused:
        if if_match is not None:  # what the caller saw cannot be compared
            raise
        note(request, version=ref.version, damaged=True)
    workspace.delete_model(str(ref), by=caller.user, why=why or "")
    return Response(status_code=204)


def describe(workspace: Workspace, version: ModelVersion) -> dict[str, Any]:
    return {**version.to_json(), "aliases": workspace.registry.models.aliases(version.name)}


def get_version(workspace: Workspace, org: str, name: str) -> ModelVersion:
    """The version that a path names."""
    return workspace.registry.models.get(_ref(org, name))


def named(workspace: Workspace, org: str, name: str) -> ModelName:
    """The model of which a path names a version, which may be damaged. Raises NotFound."""
    return workspace.registry.models.locate(_ref(org, name)).name


def _ref(org: str, name: str) -> str:
    return name if org == "_" else f"{org}/{name}"


def _one_version(workspace: Workspace, org: str, name: str) -> Ref:
    """What a path means that is to be changed. Raises Refused where that is not said by its number, NotFound."""
    if Ref.parse(name).version is None:
        raise Refused(
            f"{name[:80]!r} does not say which version.", hint="Name it by its number, as in name:3.", code="no-version"
        )
    return workspace.registry.models.locate(_ref(org, name))


def _to_change(workspace: Workspace, org: str, name: str, request: Request, if_match: str | None) -> ModelVersion:
    """The one version that is to be changed. Raises Refused where it is not named by its number, Changed."""
    version = workspace.registry.models.get(_one_version(workspace, org, name))
    check_unchanged(if_match, describe(workspace, version))
    note(request, version=version.version)
    return version


def _path(file: dict[str, Any]) -> str:
    return str(file["path"])
