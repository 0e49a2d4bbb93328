"""/api/v1/datasets: tables and folders of images in the registry, in numbered versions.

What changes a version names it by its number: `name:3`.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Limit, Page, json_answer, page_of
from bedplate.api.dataset_bodies import MOST_FILES, Dataset, DatasetRow, DatasetVerification, NewDataset
from bedplate.api.etags import IfMatch, IfNoneMatch, check_unchanged, tagged
from bedplate.api.model_bodies import FileOfModel, Reason
from bedplate.api.problems import codes
from bedplate.data_refs import DataRef
from bedplate.workspace import Workspace
from bedplate_registry.datasets import DatasetVersion
from bedplate_registry.errors import Refused
from bedplate_registry.model_versions import FileEntry
from bedplate_registry.names import Name, Ref, dataset_name
from bedplate_registry.store import ARCHIVED

__all__ = ["routes"]

routes = Routes("/api/v1/datasets", "datasets")
MOST_ROWS = 1_000_000_000
DatasetName = Annotated[str, Path(description="name or org/name, perhaps with a version.", examples=["tickets:1"])]
OneVersion = Annotated[str, Path(description="With its version.", examples=["tickets:1"])]


@routes.route("GET", "", "read", response_model=Page[Dataset])
def list_datasets(
    workspace: WorkspaceOf,
    all: Annotated[bool, Query(description="Every version of each, archived ones too.")] = False,
    archived: Annotated[bool, Query(description="The archived versions instead.")] = False,
    limit: Limit = MOST_ITEMS,
    after: After = None,
) -> Response:
    """List the newest version of each dataset, by name; or all versions, or those that are archived."""
    datasets = workspace.registry.datasets
    found = datasets.versions() if all or archived else datasets.list()
    found = sorted((each for each in found if all or not archived or each.state == ARCHIVED), key=_place)
    page, following = page_of(found, _place, limit, after)
    return json_answer({"items": [version.to_json() for version in page], "next": following})


@routes.route(
    "POST",
    "",
    "data",
    status_code=201,
    response_model=Dataset,
    responses=codes("bad-name", "bad-digest", "bad-image-folder", "case-twin"),
)
def add_dataset(request: Request, workspace: WorkspaceOf, body: NewDataset) -> Response:
    """Register an uploaded table, or a folder of images, as a new version. The same bytes again make none."""
    added = _add(workspace, dataset_name(body.name), body)
    note(request, dataset=added.ref)
    return json_answer(added.to_json(), 201)


def _add(workspace: Workspace, name: Name, body: NewDataset) -> DatasetVersion:
    datasets, since = workspace.registry.datasets, 0 if body.reuse else None
    if body.files is not None and body.upload is None and body.filename is None:
        files = [FileEntry(file.path, file.size_bytes, file.sha256) for file in body.files]
        return datasets.add_images(name, files, since=since)
    if body.files is not None or body.upload is None or body.filename is None:
        raise Refused(
            "A dataset is one table or a folder of images.",
            hint="Give upload and filename, or files, after PUT /api/v1/uploads/SHA256.",
        )
    ref = DataRef.resolve(workspace.registry, {"upload": body.upload, "filename": body.filename}, "upload")
    return datasets.add(name, ref.path(workspace.registry), ref.filename, since=since)


@routes.route("GET", "/{name:path}/preview", "read", response_model=Page[DatasetRow])
def preview_dataset(
    name: DatasetName,
    workspace: WorkspaceOf,
    limit: Limit = 10,
    after: Annotated[int, Query(ge=0, le=MOST_ROWS, description="`next` of the page before.")] = 0,
) -> Response:
    """Show rows of a dataset, the first ones first."""
    version = workspace.registry.datasets.get(name)
    found = [*islice(workspace.registry.datasets.rows(version), after, after + limit)]
    following = str(after + limit) if after + limit < version.rows else None
    return json_answer({"items": found, "next": following})


@routes.route("GET", "/{name:path}/files", "read", response_model=Page[FileOfModel])
def list_dataset_files(
    name: DatasetName,
    workspace: WorkspaceOf,
    limit: Annotated[int, Query(ge=1, le=MOST_FILES, description="At most so many items.")] = MOST_FILES,
    after: Annotated[str | None, Query(max_length=5000, description="`next` of the page before.")] = None,
) -> Response:
    """List the images of a version with their sizes and digests."""
    files = sorted((vars(file) for file in workspace.registry.datasets.get(name).files), key=_path)
    page, following = page_of(files, _path, limit, after)
    return json_answer({"items": page, "next": following})


@routes.route("GET", "/{name:path}/versions", "read", response_model=Page[Dataset])
def list_dataset_versions(
    name: DatasetName,
    workspace: WorkspaceOf,
    limit: Limit = MOST_ITEMS,
    after: Annotated[int, Query(ge=0, lt=10**9, description="`next` of the page before.")] = 0,
) -> Response:
    """List the versions of a dataset, archived ones too, ascending."""
    found = workspace.registry.datasets.versions(Ref.parse(name).name)
    rest = [version for version in found if version.version > after]
    following = str(rest[limit - 1].version) if len(rest) > limit else None
    return json_answer({"items": [version.to_json() for version in rest[:limit]], "next": following})


@routes.route("GET", "/{name:path}/verify", "read", response_model=DatasetVerification)
def verify_dataset(name: DatasetName, workspace: WorkspaceOf) -> Response:
    """Read the table and every image of a version, and compare them with their digests."""
    ref = workspace.registry.datasets.locate(name)
    return json_answer({"dataset": str(ref), "problems": workspace.registry.datasets.verify(ref)})


@routes.route("POST", "/{name:path}/archive", "operate", response_model=Dataset, responses=codes("no-version"))
def archive_dataset(
    name: OneVersion,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: Reason,
    if_match: IfMatch = None,
) -> Response:
    """Leave a version out of lists, and out of what its name alone means. By its number it is used as before."""
    version = _to_change(workspace, name, request, if_match)
    archived = workspace.registry.datasets.archive(version.ref, by=caller.user, why=body.why or "")
    return tagged(archived.to_json(), None)


@routes.route("POST", "/{name:path}/restore", "operate", response_model=Dataset, responses=codes("no-version"))
def restore_dataset(
    name: OneVersion,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: Reason,
    if_match: IfMatch = None,
) -> Response:
    """Take an archived version up again."""
    version = _to_change(workspace, name, request, if_match)
    restored = workspace.registry.datasets.restore(version.ref, by=caller.user, why=body.why or "")
    return tagged(restored.to_json(), None)


# What a path of any length names comes after all that such a path would swallow.


@routes.route("GET", "/{name:path}", "read", response_model=Dataset)
def show_dataset(name: DatasetName, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a version of a dataset."""
    return tagged(workspace.registry.datasets.get(name).to_json(), if_none_match)


@routes.route("DELETE", "/{name:path}", "operate", status_code=204, responses=codes("in-use", "no-version"))
def delete_dataset(
    name: OneVersion,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    why: Annotated[str | None, Query(max_length=2000, description="The reason, which is kept.")] = None,
    if_match: IfMatch = None,
) -> Response:
    """Delete a version for good, which no open job and no gate names, also one that is damaged. Its number is never
    given again."""
    ref = _one_version(name)
    try:
        _to_change(workspace, name, request, if_match)
    except Refused:
        if if_match is not None:  # what the caller saw cannot be compared
            raise
        note(request, version=ref.version, damaged=True)
    workspace.delete_dataset(str(ref), by=caller.user, why=why or "")
    return Response(status_code=204)


def _one_version(name: str) -> Ref:
    """Raises Refused where a version is not named by its number."""
    ref = Ref.parse(name)
    if ref.version is None:
        raise Refused(
            f"{name[:80]!r} does not say which version.", hint="Name it by its number, as in name:3.", code="no-version"
        )
    return ref


def _to_change(workspace: Workspace, name: str, request: Request, if_match: str | None) -> DatasetVersion:
    """The one version that is to be changed. Raises Refused, Changed."""
    version = workspace.registry.datasets.get(_one_version(name))
    check_unchanged(if_match, version.to_json())
    note(request, version=version.version)
    return version


def _place(version: DatasetVersion) -> str:
    """Where it comes in a list: by name, then by number."""
    return f"{version.name} {version.version:09}"


def _path(file: dict[str, Any]) -> str:
    return str(file["path"])
