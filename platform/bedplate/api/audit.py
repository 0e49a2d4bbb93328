"""/api/v1/audit: who changed what, and whether that record is whole."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import Answer

__all__ = ["routes"]

routes = Routes("/api/v1/audit", "audit")
MOST = 1000
ENTRY: JsonDict = {
    "seq": 12,
    "time": 1795449600.0,
    "who": "ana",
    "action": "POST /api/v1/jobs",
    "detail": {"status": 202, "via": "key", "key": "key-1a2b3c4d", "from": "10.0.0.7", "job": "finetune-1a2b"},
    "previous": "0" * 64,
    "hash": "f" * 64,
}


class Entry(Answer):
    """One change that was asked for, and how that ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [ENTRY]})

    seq: Annotated[int, Field(description="From 1, without a gap.")]
    time: Annotated[float, Field(description="Seconds since 1970.")]
    who: str
    action: Annotated[str, Field(description="Method and route, or what the server did itself.")]
    detail: Annotated[dict[str, Any], Field(description="How it ended, who asked, and what for.")]
    previous: Annotated[str, Field(description="The hash of the entry before.")]
    hash: Annotated[str, Field(description="SHA-256 of `previous` and of the other fields.")]


class Entries(Answer):
    """A page of entries, the newest first."""

    items: list[Entry]
    next: Annotated[int | None, Field(description="Give it as `after` for the page that follows.")] = None


class Verdict(Answer):
    """What a walk along the chain found."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"intact": True, "entries": 12, "seq": 12, "hash": "f" * 64, "problem": None}]}
    )

    intact: bool
    entries: int
    seq: Annotated[int, Field(description="The last entry that is right.")]
    hash: Annotated[str, Field(description="Its hash; noted elsewhere, it shows later that nothing before it changed.")]
    problem: Annotated[str | None, Field(description="What is wrong behind it.")]


@routes.route("GET", "", "admin", response_model=Entries)
def list_entries(
    workspace: WorkspaceOf,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
    after: Annotated[int | None, Query(ge=0, lt=1 << 62, description="`next` of the page before.")] = None,
    who: str | None = None,
    action: Annotated[str | None, Query(max_length=200, description="Those whose action has this in it.")] = None,
) -> dict[str, object]:
    """List what was changed, the newest first."""
    found = workspace.audit.entries(limit=limit + 1, before=after, who=who, action=action)
    page: dict[str, object] = {"items": [entry.to_json() for entry in found[:limit]]}
    return {**page, "next": found[limit - 1].seq} if len(found) > limit else page


@routes.route("GET", "/verify", "admin", response_model=Verdict)
def verify(workspace: WorkspaceOf) -> dict[str, object]:
    """Walk along the chain: was an entry changed, removed or put in?"""
    return workspace.audit.verify().to_json()
