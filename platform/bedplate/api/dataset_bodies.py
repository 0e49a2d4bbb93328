"""What /api/v1/datasets sends and takes: a version, what its columns hold, what verification found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, FailFast, Field
from pydantic.config import JsonDict

from bedplate.api.bodies import Answer, RequestBody
from bedplate.api.uploads import EXAMPLE as UPLOADED
from bedplate.api.uploads import EXAMPLE_SHA256
from bedplate.kinds.requests import File
from bedplate_registry.image_folders import MOST_IMAGES

__all__ = ["MOST_FILES", "Dataset", "DatasetRow", "DatasetVerification", "NewDataset"]

MOST_FILES = MOST_IMAGES + 1  # with what says something of them
COLUMNS: list[Any] = [
    {
        "name": name,
        "type": "text",
        "looks_like": None,
        "missing": 0,
        "empty": 0,
        "distinct": 1,
        "is_more": False,
        "min_characters": length,
        "mean_characters": float(length),
        "max_characters": length,
    }
    for name, length in (("text", 15), ("intent", 4))
]
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
    "schema": COLUMNS,
    "images": 0,
    "images_bytes": 0,
}


class NewDataset(RequestBody):
    """An uploaded table, or the uploaded files of a folder of images, that is to become a dataset."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "tickets", "upload": EXAMPLE_SHA256, "filename": "tickets.csv"}]}
    )

    name: Annotated[str, Field(description="name or org/name.")]
    upload: Annotated[str | None, Field(description="The SHA-256 of a table that was uploaded.")] = None
    filename: Annotated[str | None, Field(description="Of the table: its ending tells the format.")] = None
    files: Annotated[
        list[File] | None,
        FailFast(),
        Field(max_length=MOST_FILES, description="In place of these two: images, and what metadata there is."),
    ] = None
    reuse: Annotated[
        bool, Field(description="Any version with the same content is the answer, not the newest alone.")
    ] = False


class Column(Answer):
    """What a column of a table holds."""

    name: str
    type: Annotated[
        str,
        Field(
            description="text, integer, number, boolean, list<…>, object, image, binary or other; mixed: of several; "
            "unknown: nothing but gaps."
        ),
    ]
    looks_like: Annotated[str | None, Field(description="What all its texts spell, such as integer or list<text>.")]
    missing: Annotated[int, Field(description="Rows in which it is not there, null or NaN.")]
    empty: Annotated[int, Field(description="Rows in which it is a blank text, [] or {}.")]
    distinct: Annotated[int, Field(description="Different values, of those that are neither missing nor empty.")]
    is_more: Annotated[bool, Field(description="There are more different values than that.")]
    min_characters: Annotated[int | None, Field(description="Of texts that are not empty.")]
    mean_characters: float | None
    max_characters: int | None


class Dataset(Answer):
    """A version of a dataset. It never changes, but for whether it is archived."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    ref: str
    version: int
    filename: str
    format: Literal["csv", "tsv", "json", "jsonl", "parquet"]
    sha256: Annotated[str, Field(description="Of its table, which holds the digests of images.")]
    size_bytes: Annotated[int, Field(description="Of its table.")]
    rows: int
    columns: list[str]
    created: str
    state: Annotated[Literal["active", "archived"], Field(description="An archived one is left out of lists.")]
    columns_found: Annotated[
        list[Column],
        Field(alias="schema", description="What each column holds; empty for what was added by Bedplate 0.1."),
    ]
    images: Annotated[int, Field(description="How many images belong to it.")]
    images_bytes: int


class DatasetVerification(Answer):
    """What is wrong with the files of a version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dataset": "tickets:1", "problems": []}]})

    dataset: str
    problems: Annotated[list[str], Field(description="None: every file agrees with its digest.")]


class DatasetRow(Answer):
    """One row, a value by column."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"text": "my card is lost", "intent": "card"}]}
    )
