"""/api/v1/session: a browser signs in, by a one-time link or a key, and out again."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import Request, Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import Caller, CallerOf, Routes, Unauthorized, WorkspaceOf, find_caller, note
from bedplate.api.bodies import Answer, RequestBody
from bedplate.sessions import COOKIE, LINK_SECONDS, SCHEME_HEADER, Session, is_own_page
from bedplate.users import ROLES
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict, Forbidden, NotFound, Refused

__all__ = ["routes"]

routes = Routes("/api/v1/session", "session")
Role = Literal["viewer", "user", "operator", "admin"]
Secret = Annotated[str | None, Field(min_length=1, max_length=1000)]
SIGNED_IN: JsonDict = {
    "user": "ana",
    "role": "user",
    "permissions": ["account", "batch", "import", "infer", "read", "train"],
    "csrf_token": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "expires": 1795492800.0,
}
LINK: JsonDict = {"url": "https://gpu01.lan:8686/login#dGhpcyBpcyBub3QgYSBjb2Rl", "expires": 1795450200.0}


class SignIn(RequestBody):
    """How the browser shows whose it is: by one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "dGhpcyBpcyBub3QgYSBjb2Rl"}]})

    code: Annotated[Secret, Field(description="What a one-time link holds behind its #. It works once.")] = None
    key: Annotated[Secret, Field(description="A key with the scope `admin`: a session may all that its user may.")] = (
        None
    )


class SignedIn(Answer):
    """Who is signed in, and what a page needs to go on."""

    model_config = ConfigDict(json_schema_extra={"examples": [SIGNED_IN]})

    user: str
    role: Role
    permissions: list[str]
    csrf_token: Annotated[str, Field(description="Every unsafe request of a page sends it as X-CSRF-Token.")]
    expires: Annotated[float, Field(description="Seconds since 1970.")]


class NewLink(RequestBody):
    """A link to be made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "ana"}]})

    user: Annotated[str | None, Field(description="Whose it is; another user's only for admins.")] = None


class Link(Answer):
    """A link that signs one browser in, once, within ten minutes."""

    model_config = ConfigDict(json_schema_extra={"examples": [LINK]})

    url: Annotated[str, Field(description="The code is behind the #, which no server and no log sees.")]
    expires: Annotated[float, Field(description="Seconds since 1970.")]


@routes.route("POST", "", "open", status_code=201, response_model=SignedIn)
def sign_in(request: Request, response: Response, workspace: WorkspaceOf, body: SignIn) -> dict[str, object]:
    """Begin a session, by the code of a one-time link or by a key. A session that the browser had ends."""
    _check_page(request)
    if (body.code is None) == (body.key is None):
        raise Refused("Give either a code or a key.", hint="The code is what a link holds behind its #.")
    caller = _by_code(workspace, body.code) if body.key is None else _by_key(workspace, body.key)
    request.state.caller = caller  # for the audit log
    caller.require("account")
    key = None if caller.key is None else workspace.keys.get(caller.key)
    workspace.sessions.end(request.cookies.get(COOKIE, ""))
    cookie = workspace.sessions.create(caller.user, key=key)
    session = workspace.sessions.find(cookie)
    if session is None:
        raise Unauthorized("This key has just ended.", hint="Use another one.")
    response.headers["Cache-Control"] = "no-store"
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=max(1, int(session.expires - time.time())),
        path="/",
        secure=request.headers.get(SCHEME_HEADER) == "https",
        httponly=True,
        samesite="lax",
    )
    return _shown(session, caller)


@routes.route("GET", "", "read", response_model=SignedIn)
def show_session(request: Request, response: Response, workspace: WorkspaceOf, caller: CallerOf) -> dict[str, object]:
    """Show whose session this is, and its CSRF token, which only a page of this server can read."""
    response.headers["Cache-Control"] = "no-store"
    return _shown(_session_of(request, workspace, caller), caller)


@routes.route("DELETE", "", "read", status_code=204)
def sign_out(request: Request, response: Response, workspace: WorkspaceOf, caller: CallerOf) -> None:
    """End this session."""
    _session_of(request, workspace, caller)
    workspace.sessions.end(request.cookies[COOKIE])
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


@routes.route("POST", "/links", "account", status_code=201, response_model=Link)
def create_link(request: Request, workspace: WorkspaceOf, caller: CallerOf, body: NewLink) -> dict[str, object]:
    """Make a link that signs a browser in: once, and within ten minutes."""
    owner = caller.user if body.user is None else body.user
    if owner != caller.user and not caller.may("admin"):
        raise Forbidden("Links for other users are made by admins.", hint="Leave `user` out.")
    if workspace.users.get(owner).disabled:
        raise Conflict(f"The user {owner!r} is disabled.", hint=f"First: bedplate users enable {owner}")
    note(request, user=owner)
    place = _place_of(request, workspace, caller)
    return {"url": f"{place}/login#{workspace.links.create(owner, caller.key)}", "expires": time.time() + LINK_SECONDS}


def _check_page(request: Request) -> None:
    """A page of another site must not sign a browser in, as somebody else: who did not notice would work for him."""
    is_page = "origin" in request.headers or "sec-fetch-site" in request.headers
    if is_page and not is_own_page(request.headers):
        raise Forbidden(
            "This request does not come from a page of this server.", hint="Sign in at /login.", code="csrf-failed"
        )


def _by_code(workspace: Workspace, code: str | None) -> Caller:
    owner, key = workspace.links.take(code or "") or ("", None)
    user = workspace.users.find(owner)
    if user is None or user.disabled:
        raise Unauthorized(
            "This link does not work any more: it does so once, within ten minutes.",
            hint="Make another one with: bedplate users link",
            code="bad-link",
        )
    return Caller(user.name, user.role, ROLES[user.role], "link", key)


def _by_key(workspace: Workspace, key: str) -> Caller:
    """Whoever would call with this key in the header."""
    return find_caller(workspace, {"headers": [(b"authorization", b"Bearer " + key.encode("utf-8", "replace"))]})


def _session_of(request: Request, workspace: Workspace, caller: Caller) -> Session:
    cookie = request.cookies.get(COOKIE) if caller.via == "session" else None
    session = None if cookie is None else workspace.sessions.find(cookie)
    if session is None:
        raise NotFound("This call comes without a session.", hint="Browsers have one: /login", code="no-session")
    return session


def _shown(session: Session, caller: Caller) -> dict[str, object]:
    return {
        "user": caller.user,
        "role": caller.role,
        "permissions": sorted(ROLES[caller.role]),
        "csrf_token": session.csrf_token,
        "expires": session.expires,
    }


def _place_of(request: Request, workspace: Workspace, caller: Caller) -> str:
    """Where a browser finds this server: where the caller found it, or over the home's socket where its port is.

    Raises Conflict where no port is open.
    """
    if caller.via != "socket":
        return f"{request.headers.get(SCHEME_HEADER, 'http')}://{request.headers['host']}"
    address = workspace.gateway.address
    if address is None:
        raise Conflict("No browser reaches this home.", hint="Open it with: bedplate serve", code="no-port")
    return address.url
