"""/api/v1/users: who may do what."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Request, Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.etags import IfMatch, IfNoneMatch, check_unchanged, tagged
from bedplate.users import LOCAL
from bedplate.users import User as Row

__all__ = ["routes"]

routes = Routes("/api/v1/users", "users")
Role = Literal["viewer", "user", "operator", "admin"]
Name = Annotated[str, Path(description="The user.", examples=["ana"])]
EXAMPLE: JsonDict = {"name": "ana", "role": "user"}


class NewUser(RequestBody):
    """A user to be made. There is no password: give keys, or a one-time link for a browser."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: Annotated[str, Field(description="Lower-case letters, digits and . _ @ -", examples=["ana"])]
    role: Annotated[Role, Field(description="What the user may do, whatever keys say.")] = "user"


class UserChange(RequestBody):
    """What is to change; it acts at once, for the keys and sessions of the user too."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "operator"}]})

    role: Role | None = None
    disabled: bool | None = None


class User(Answer):
    """One user."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "ana",
                    "role": "user",
                    "disabled": False,
                    "created": 1795449600.0,
                    "permissions": ["account", "batch", "import", "infer", "read", "train"],
                }
            ]
        }
    )

    name: str
    role: Role
    disabled: bool
    created: Annotated[float, Field(description="Seconds since 1970; 0 for the built-in user.")]
    permissions: Annotated[list[str], Field(description="What the role allows.")]


@routes.route("GET", "", "admin", response_model=Page[User])
def list_users(workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None) -> Response:
    """List the users, the built-in one first."""
    users, following = page_of(workspace.users.all(), _place, limit, after)
    return json_answer({"items": [user.to_json() for user in users], "next": following})


@routes.route("POST", "", "admin", status_code=201, response_model=User)
def create_user(request: Request, workspace: WorkspaceOf, body: NewUser) -> dict[str, object]:
    """Make a user."""
    note(request, user=body.name, role=body.role)
    return workspace.users.create(body.name, body.role).to_json()


@routes.route("GET", "/me", "read", response_model=User)
def show_me(workspace: WorkspaceOf, caller: CallerOf) -> dict[str, object]:
    """Show who is calling, and what this key or session may do."""
    return workspace.users.get(caller.user).to_json() | {"permissions": sorted(caller.permissions)}


@routes.route("GET", "/{name}", "admin", response_model=User)
def show_user(name: Name, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a user."""
    return tagged(workspace.users.get(name).to_json(), if_none_match)


@routes.route("PATCH", "/{name}", "admin", response_model=User)
def change_user(
    name: Name, request: Request, workspace: WorkspaceOf, body: UserChange, if_match: IfMatch = None
) -> Response:
    """Give a user another role, or shut the user out (`disabled`), with all keys and sessions at once."""
    note(request, **body.model_dump(exclude_none=True))
    check_unchanged(if_match, workspace.users.get(name).to_json())
    changed: Row = workspace.users.change(name, role=body.role, disabled=body.disabled)
    if changed.disabled:
        workspace.sessions.end_all(name)
        workspace.links.end_all(name)
    workspace.changed()
    return tagged(changed.to_json(), None)


def _place(user: Row) -> str:
    """Where a user stands in the list."""
    return f"{int(user.name != LOCAL.name)}{user.name}"
