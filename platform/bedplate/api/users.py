"""/api/v1/users: who may do what."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.users import User as Row

__all__ = ["routes"]

routes = Routes("/api/v1/users", "users")
Role = Literal["viewer", "user", "operator", "admin"]
EXAMPLE: JsonDict = {"name": "ana", "role": "user"}


class NewUser(BaseModel):
    """A user to be made. There is no password: give keys, or a one-time link for a browser."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: Annotated[str, Field(description="Lower-case letters, digits and . _ @ -", examples=["ana"])]
    role: Annotated[Role, Field(description="What the user may do, whatever keys say.")] = "user"


class UserChange(BaseModel):
    """What is to change; it acts at once, for the keys and sessions of the user too."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "operator"}]})

    role: Role | None = None
    disabled: bool | None = None


class User(BaseModel):
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


class Users(BaseModel):
    """All users, the built-in one first."""

    items: list[User]


@routes.route("GET", "", "admin", response_model=Users)
def list_users(workspace: WorkspaceOf) -> dict[str, object]:
    """List the users."""
    return {"items": [user.to_json() for user in workspace.users.all()]}


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
def show_user(name: str, workspace: WorkspaceOf) -> dict[str, object]:
    """Show a user."""
    return workspace.users.get(name).to_json()


@routes.route("PATCH", "/{name}", "admin", response_model=User)
def change_user(name: str, request: Request, workspace: WorkspaceOf, body: UserChange) -> dict[str, object]:
    """Give a user another role, or shut the user out (`disabled`), with all keys and sessions at once."""
    note(request, **body.model_dump(exclude_none=True))
    changed: Row = workspace.users.change(name, role=body.role, disabled=body.disabled)
    if changed.disabled:
        workspace.sessions.end_all(name)
    workspace.changed()
    return changed.to_json()
