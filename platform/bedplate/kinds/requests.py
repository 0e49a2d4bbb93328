"""The requests of jobs as REST describes them: which settings a kind has, which it needs, and what they mean.

The names in them are the settings that a kind takes. Their values are checked by the kind's `prepare`, which knows the
registry and the machine and says in one sentence what is wrong.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "COMMON",
    "Columns",
    "Data",
    "Device",
    "File",
    "JobRequest",
    "Needs",
    "SettingValues",
    "UploadedTable",
    "names_of",
]

COMMON = frozenset({"kind", "priority", "needs"})  # of every kind; they are not its own settings
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="The digest of bytes that were uploaded.")]


class UploadedTable(BaseModel):
    """A table that was sent with PUT /api/v1/uploads/SHA256."""

    model_config = ConfigDict(extra="forbid")

    upload: Sha256
    filename: Annotated[str, Field(description="Its ending tells the format: .csv, .tsv, .json, .jsonl, .parquet.")]


class File(BaseModel):
    """A file of a model, whose bytes were uploaded."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(description="Inside the model, as in config.json.")]
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


Data = Annotated[str | UploadedTable, Field(description="The name of a dataset, perhaps with a version; or an upload.")]
Columns = Annotated[
    dict[str, str] | None,
    Field(description="Which column is which, as in {sentence1: text}; for those named otherwise."),
]
Device = Annotated[str | None, Field(description="`auto`, `cpu` or `cuda`.")]
SettingValues = dict[str, Any] | None


class Needs(BaseModel):
    """What a job needs of the machine, where its kind's own estimate is not right."""

    model_config = ConfigDict(extra="forbid")

    cores: Annotated[int | None, Field(ge=1)] = None
    memory_gb: Annotated[float | None, Field(gt=0)] = None
    gpu_memory_gb: Annotated[float | None, Field(gt=0, description="A share of a card, in place of a whole one.")] = (
        None
    )
    preemptible: Annotated[bool | None, Field(description="It may be stopped for an endpoint, to go on later.")] = None


class JobRequest(BaseModel):
    """What every kind of job takes."""

    model_config = ConfigDict(extra="forbid")

    priority: Annotated[int | None, Field(ge=-100, le=100, description="The higher, the sooner.")] = None
    needs: Needs | None = None


def names_of(request: type[JobRequest]) -> tuple[set[str], set[str]]:
    """The names of a kind's own settings: those that it needs, and those that it can do without."""
    own = {name: field for name, field in request.model_fields.items() if name not in COMMON}
    required = {name for name, field in own.items() if field.is_required()}
    return required, set(own) - required
