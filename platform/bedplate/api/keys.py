"""/api/v1/keys: keys of users. Those of an endpoint are the endpoint's (endpoints.py)."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import Path, Request, Response
from pydantic import ConfigDict, FailFast, Field
from pydantic.config import JsonDict

from bedplate.api.access import Caller, CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden, Refused

__all__ = ["routes"]

routes = Routes("/api/v1/keys", "keys")
KeyId = Annotated[str, Path(description="The id of a key.", examples=["key-1a2b3c4d"])]
Scope = Literal["infer", "batch", "train", "import", "admin"]
KEY_EXAMPLE: JsonDict = {
    "id": "key-1a2b3c4d",
    "name": "ci",
    "owner": "ana",
    "scopes": ["infer"],
    "endpoints": None,
    "slot": None,
    "rate": 20.0,
    "concurrency": 8,
    "created": 1795449600.0,
    "expires": 1803225600.0,
    "revoked": None,
}


class NewKey(RequestBody):
    """A key to be made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "ci", "scopes": ["infer"], "days": 90, "rate": 20, "concurrency": 8}]}
    )

    name: Annotated[str, Field(description="What it is for.")]
    scopes: Annotated[
        list[Scope], FailFast(), Field(max_length=10, description="`admin` means all that its owner's role allows.")
    ]
    user: Annotated[str | None, Field(description="Whose it is; another user's only for admins.")] = None
    endpoints: Annotated[list[str] | None, Field(description="It scores at these and does nothing else.")] = None
    days: Annotated[float | None, Field(description="Until it expires.")] = None
    rate: Annotated[float | None, Field(description="Requests a second, at most.")] = None
    concurrency: Annotated[int | None, Field(description="Requests open at once, at most.")] = None


class Key(Answer):
    """One key, without its text."""

    model_config = ConfigDict(json_schema_extra={"examples": [KEY_EXAMPLE]})

    id: str
    name: str
    owner: str
    scopes: list[Scope]
    endpoints: list[str] | None
    slot: Annotated[str | None, Field(description="`primary` or `secondary`: an endpoint's own key.")]
    rate: float | None
    concurrency: int | None
    created: float
    expires: float | None
    revoked: float | None


class MadeKey(Key):
    """A key that was just made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**KEY_EXAMPLE, "key": "bp_…"}]})

    key: Annotated[str, Field(description="Its text, shown this once.")]


@routes.route("GET", "", "account", response_model=Page[Key])
def list_keys(workspace: WorkspaceOf, caller: CallerOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """List keys, the oldest first. They are the caller's own; for admins all, those of endpoints too."""
    found = workspace.keys.all(None if caller.may("admin") else caller.user)
    keys, following = page_of(found, lambda key: f"{key.created:020.6f}-{key.id}", limit, after)
    return json_answer({"items": [key.to_json() for key in keys], "next": following})


@routes.route("POST", "", "account", status_code=201, response_model=MadeKey)
def create_key(request: Request, workspace: WorkspaceOf, caller: CallerOf, body: NewKey) -> dict[str, object]:
    """Make a key, whose text is shown this once. It never allows more than its owner's role."""
    owner = caller.user if body.user is None else body.user
    if owner != caller.user and not caller.may("admin"):
        raise Forbidden("Keys for other users are made by admins.", hint="Leave `user` out.")
    workspace.users.get(owner)
    for endpoint in body.endpoints or ():
        workspace.endpoints.get(endpoint)
    limits = _limits(workspace, caller, body)
    key, text = workspace.keys.create(body.name, body.scopes, owner=owner, endpoints=body.endpoints, **limits)
    workspace.changed()
    note(request, key_made=key.id, user=owner, scopes=list(key.scopes))
    return {**key.to_json(), "key": text}


@routes.route("DELETE", "/{key_id}", "account", response_model=Key)
def revoke_key(key_id: KeyId, workspace: WorkspaceOf, caller: CallerOf) -> dict[str, object]:
    """Revoke a key: within a second it is refused everywhere, at the gateway too."""
    revoked = workspace.keys.revoke(key_id, owner=None if caller.may("admin") else caller.user)
    workspace.changed()
    return revoked.to_json()


def _limits(workspace: Workspace, caller: Caller, body: NewKey) -> dict[str, Any]:
    """Those of a key to be made. A key that makes another gives on what it has and no more; and what the settings give
    to each key is all that any may have, unless an admin says otherwise. Raises Refused."""
    given: dict[str, float | None] = {"rate": body.rate, "concurrency": body.concurrency, "days": body.days}
    most: dict[str, float | None] = dict.fromkeys(given)
    if not caller.may("admin"):
        most |= {"rate": workspace.settings.key_rate or None, "concurrency": workspace.settings.key_concurrency or None}
    if caller.key is not None:
        own = workspace.keys.get(caller.key)
        ends = None if own.expires is None else (own.expires - time.time()) / 86400
        for name, limit in (("rate", own.rate), ("concurrency", own.concurrency), ("days", ends)):
            most[name] = limit if limit is not None else most[name]
            given[name] = given[name] if given[name] is not None else limit
    for name, limit in most.items():
        value = given[name]
        if limit is not None and value is not None and value > limit:
            hint = f"Give at most {limit:g}, or ask an admin." if caller.key is None else f"Give at most {limit:g}."
            raise Refused(f"{name}={value:g} is more than this caller may give.", hint=hint, code="beyond-own-limit")
    return given
