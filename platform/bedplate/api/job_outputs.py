"""/api/v1/jobs/{id}/outputs/{name}/preview: rows that a batch job wrote, to look at before they are downloaded."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import Path, Query, Response

from bedplate.api.access import CallerOf, Routes, WorkspaceOf
from bedplate.api.bodies import Limit, Page, json_answer
from bedplate.api.dataset_bodies import DatasetRow
from bedplate.api.problems import codes
from bedplate.kinds import KINDS
from bedplate_registry.errors import TooLarge
from bedplate_registry.tables import format_of, read_rows

__all__ = ["routes"]

routes = Routes("/api/v1/jobs", "jobs")
MOST_ROWS = 1_000_000_000
MOST_JSON_BYTES = 64 << 20  # such a file is one list, which is read whole
JobId = Annotated[str, Path(description="The id of a job.", examples=["batch-1a2b3c4d"])]
OutputName = Annotated[str, Path(description="As the job's result lists it.", examples=["scored.parquet"])]


@routes.route(
    "GET",
    "/{job_id}/outputs/{name}/preview",
    "read",
    response_model=Page[DatasetRow],
    responses=codes("bad-format", "too-large"),
)
def preview_output(
    job_id: JobId,
    name: OutputName,
    workspace: WorkspaceOf,
    caller: CallerOf,
    limit: Limit = 10,
    after: Annotated[int, Query(ge=0, le=MOST_ROWS, description="`next` of the page before.")] = 0,
) -> Response:
    """Show rows that the job wrote, the first ones first."""
    caller.require(KINDS[workspace.jobs.get(job_id, sees=caller.sees).kind].scope)
    format = format_of(name)
    number = workspace.open_output(job_id, name)
    try:
        if format == "json" and os.fstat(number).st_size > MOST_JSON_BYTES:
            raise TooLarge(f"{name} is read as a whole, and too large for that.", hint="Download it.")
        rows = read_rows(FilePath(f"/proc/self/fd/{number}"), format, keep_bad=True)
        found = [*islice(rows, after, after + limit + 1)]
    finally:
        os.close(number)
    following = str(after + limit) if len(found) > limit else None
    return json_answer({"items": found[:limit], "next": following})
