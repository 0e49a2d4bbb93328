"""/api/v1/datasets: tables in the registry, in numbered versions."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request, Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.etags import IfNoneMatch, tagged
from bedplate.api.problems import codes
from bedplate.api.uploads import EXAMPLE as UPLOADED
from bedplate.api.uploads import EXAMPLE_SHA256
from bedplate.data_refs import DataRef
from bedplate_registry.names import Name
from bedplate_registry.tables import read_rows

__all__ = ["routes"]

routes = Routes("/api/v1/datasets", "datasets")
MOST_ROWS = 1_000_000_000
DatasetName = Annotated[str, Path(description="name or org/name, perhaps with a version.", examples=["tickets:1"])]
EXAMPLE: JsonDict = {
    "name": "tickets",
    "ref": "tickets:1",
    "version": 1,
    "filename": "tickets.csv",
    "format": "csv",
    "sha256": EXAMPLE_SHA256,
    "size_bytes": len(UPLOADED),
    "rows": 1,
    "columns": ["text", "intent"],
    "created": "2026-11-24T08:00:00+00:00",
    "state": "active",
}


class NewDataset(RequestBody):
    """An uploaded file that is to become a dataset."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "tickets", "upload": EXAMPLE_SHA256, "filename": "tickets.csv"}]}
    )

    name: Annotated[str, Field(description="name or org/name.")]
    upload: Annotated[str, Field(description="The SHA-256 of what was uploaded.")]
    filename: Annotated[str, Field(description="Its ending tells the format.")]


class Dataset(Answer):
    """A version of a table. It never changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    ref: str
    version: int
    filename: str
    format: Literal["csv", "tsv", "json", "jsonl", "parquet"]
    sha256: str
    size_bytes: int
    rows: int
    columns: list[str]
    created: str
    state: Annotated[Literal["active", "archived"], Field(description="An archived one is left out of lists.")]


class DatasetRow(Answer):
    """One row, a value by column."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"text": "my card is lost", "intent": "card"}]}
    )


@routes.route("GET", "", "read", response_model=Page[Dataset])
def list_datasets(workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """List the newest version of each dataset, by name."""
    found = sorted(workspace.registry.datasets.list(), key=lambda version: str(version.name))
    page, following = page_of(found, lambda version: str(version.name), limit, after)
    return json_answer({"items": [version.to_json() for version in page], "next": following})


@routes.route(
    "POST", "", "data", status_code=201, response_model=Dataset, responses=codes("bad-name", "bad-digest", "case-twin")
)
def add_dataset(request: Request, workspace: WorkspaceOf, body: NewDataset) -> Response:
    """Register an uploaded file as a new version of a dataset. The same bytes again make none."""
    ref = DataRef.resolve(workspace.registry, {"upload": body.upload, "filename": body.filename}, "upload")
    name = Name.parse(body.name)
    added = workspace.registry.datasets.add(name, ref.path(workspace.registry), ref.filename)
    note(request, dataset=added.ref)
    return json_answer(added.to_json(), 201)


@routes.route("GET", "/{name:path}/preview", "read", response_model=Page[DatasetRow])
def preview_dataset(
    name: DatasetName,
    workspace: WorkspaceOf,
    limit: Limit = 10,
    after: Annotated[int, Query(ge=0, le=MOST_ROWS, description="`next` of the page before.")] = 0,
) -> Response:
    """Show rows of a dataset, the first ones first."""
    version = workspace.registry.datasets.get(name)
    rows = read_rows(workspace.registry.datasets.path(version), version.format)
    found: list[dict[str, Any]] = [*islice(rows, after, after + limit)]
    following = str(after + limit) if after + limit < version.rows else None
    return json_answer({"items": found, "next": following})


@routes.route("GET", "/{name:path}", "read", response_model=Dataset)
def show_dataset(name: DatasetName, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a version of a dataset."""  # after the preview, which such a path would swallow
    return tagged(workspace.registry.datasets.get(name).to_json(), if_none_match)
