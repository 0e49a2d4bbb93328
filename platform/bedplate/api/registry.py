"""/api/v1/registry: the care of what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from bedplate.api.access import Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer
from bedplate.api.dataset_bodies import DatasetVerification
from bedplate.api.model_bodies import Verification
from bedplate.api.problems import codes
from bedplate.needed import needed_by_jobs
from bedplate_registry.errors import NotFound
from bedplate_registry.gc import GRACE_SECONDS, collect
from bedplate_registry.names import Ref

__all__ = ["routes"]

routes = Routes("/api/v1/registry", "registry")
SHOWN = 1000
HOUR = 3600.0
PAGE_SECONDS = 20.0  # after which a page of what was verified ends: all that is kept may take hours to read


class CollectionRequest(RequestBody):
    """What is to be taken away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: Annotated[bool, Field(description="Say it, and take nothing away.")] = False
    grace_hours: Annotated[float, Field(ge=0, le=24 * 366, description="What was stored or used since then stays.")] = (
        GRACE_SECONDS / HOUR
    )


class GarbageItem(Answer):
    """One thing that nothing needs."""

    kind: Annotated[
        Literal["blob", "damaged", "partial", "staging", "leftover"],
        Field(description="A file that no version and no job names; one set aside; of a cut import; of a cut change."),
    ]
    name: str
    size_bytes: int


class CollectionAnswer(Answer):
    """What was taken away, or would be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dry_run": True,
                    "count": 1,
                    "size_bytes": 90868376,
                    "items": [{"kind": "blob", "name": "53aa5117…", "size_bytes": 90868376}],
                }
            ]
        }
    )

    dry_run: bool
    count: int
    size_bytes: int
    items: Annotated[list[GarbageItem], Field(description=f"The largest {SHOWN}.")]


@routes.route(
    "POST",
    "/gc",
    "operate",
    response_model=CollectionAnswer,
    responses=codes("unreadable-manifest", "gc-running"),
)
def collect_garbage(request: Request, workspace: WorkspaceOf, body: CollectionRequest) -> dict[str, Any]:
    """Take away what no model, dataset or job needs. Nothing is, while a manifest cannot be read."""
    found = collect(
        workspace.registry,
        needed=lambda: needed_by_jobs(workspace.jobs, workspace.home),
        grace_seconds=body.grace_hours * HOUR,
        dry_run=body.dry_run,
    )
    note(request, dry_run=found.dry_run, count=len(found.garbage), size_bytes=found.size_bytes)
    largest = sorted(found.garbage, key=lambda each: (-each.size_bytes, each.name))[:SHOWN]
    return {
        "dry_run": found.dry_run,
        "count": len(found.garbage),
        "size_bytes": found.size_bytes,
        "items": [asdict(each) for each in largest],
    }


@routes.route("GET", "/verify", "read", response_model=Page[Verification], responses=codes("bad-name"))
def verify_models(workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """Read every file of every version of every model, archived ones too, and compare it with its digest.

    A page holds what could be read in a while; a version whose manifest is damaged is in it as well.
    """
    models = workspace.registry.models
    return _verified("model", models.refs(), models.verify, limit, after)


@routes.route("GET", "/verify/datasets", "read", response_model=Page[DatasetVerification], responses=codes("bad-name"))
def verify_datasets(workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """The same for every version of every dataset."""
    datasets = workspace.registry.datasets
    return _verified("dataset", datasets.refs(), datasets.verify, limit, after)


def _verified(
    noun: str, refs: Iterable[Ref], verify: Callable[[Ref], list[str]], limit: int, after: str | None
) -> Response:
    deadline = time.monotonic() + PAGE_SECONDS
    begin = _place(Ref.parse(after)) if after else ("", 0)
    found: list[dict[str, Any]] = []
    for ref in sorted((ref for ref in refs if _place(ref) > begin), key=_place):
        if found and (len(found) == limit or time.monotonic() > deadline):
            return json_answer({"items": found, "next": found[-1][noun]})
        with suppress(NotFound):  # deleted meanwhile
            found.append({noun: str(ref), "problems": verify(ref)})
    return json_answer({"items": found, "next": None})


def _place(ref: Ref) -> tuple[str, int]:
    return str(ref.name), ref.version or 0
