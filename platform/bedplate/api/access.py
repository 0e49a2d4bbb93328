"""Who is calling, and whether they may. Every route declares its policy when it registers.

Over the home's own Unix socket the caller is this machine's user: the kernel lets nobody else in (mode 0700, and
the peer's uid is checked). Over TCP the gateway passes requests on to another socket, where a key, a browser's session
or the loopback token decides. What a caller may do is looked up at every call, so that a change acts at once.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.requests import cookie_parser
from starlette.routing import BaseRoute

from bedplate.api.json_route import JsonRoute
from bedplate.sessions import COOKIE, CSRF_HEADER, is_own_page
from bedplate.users import LOCAL, ROLES, SCOPES, User, permissions_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden
from bedplate_serving.door import SAFE_METHODS

__all__ = [
    "POLICIES",
    "Caller",
    "CallerOf",
    "Routes",
    "Unauthorized",
    "WorkspaceOf",
    "check_policies",
    "find_caller",
    "leaves",
    "note",
    "policy_of",
    "workspace_of",
]

OPEN, DATA = "open", "data"  # nobody need say who he is; whoever may send data
POLICIES = (OPEN, DATA, *sorted(ROLES["admin"]))
MAY_SEND_DATA = frozenset({"batch", "train", "import", "operate", "admin"})


class Unauthorized(Forbidden):
    """No key, or one that is not valid."""

    code = "unauthorized"


@dataclass(frozen=True)
class Caller:
    """Who is calling. `via` is how that is known: socket, token, key or session."""

    user: str
    role: str
    permissions: frozenset[str]
    via: str
    key: str | None = None
    is_limited: bool = False  # a key that scores at its endpoints and opens nothing here

    @property
    def name(self) -> str:
        """By which the records keep him."""
        return self.user

    def may(self, policy: str) -> bool:
        if policy == OPEN:
            return True
        if self.is_limited:
            return False
        return bool(self.permissions & MAY_SEND_DATA) if policy == DATA else policy in self.permissions

    def require(self, policy: str) -> None:
        """Raises Forbidden, which names what is missing."""
        if self.may(policy):
            return
        if self.is_limited:
            raise Forbidden("This key scores at its endpoints and opens nothing else.", hint="Use another key.")
        if policy not in ROLES[self.role] and policy != DATA:
            needed = next(role for role, permissions in ROLES.items() if policy in permissions)
            raise Forbidden(
                f"The role {self.role!r} of {self.user!r} may not do that: it needs {policy!r}.",
                hint=f"Ask an admin for the role {needed!r}.",
            )
        wanted = policy if policy in SCOPES else "admin"
        raise Forbidden(f"This key may not do that: it needs the scope {wanted!r}.", hint="Use another key.")

    def sees(self, owner: str) -> bool:
        """Whether what `owner` works on, jobs with their logs and outputs, is his to see: his own, or everybody's."""
        return owner == self.user or self.sees_all

    def check_priority(self, priority: object) -> None:
        """All wait in one line, and only who answers for all of it puts a job at its head. Raises Forbidden."""
        if isinstance(priority, int) and priority > 0 and not self.sees_all:
            hint = "Leave it out, give 0 or less, or ask an operator."
            raise Forbidden(f"priority={priority} is for operators.", hint=hint, code="priority")

    @property
    def sees_all(self) -> bool:
        """Operators and admins see what anybody works on."""
        return "operate" in ROLES[self.role]


LOCAL_PERMISSIONS = ROLES[LOCAL.role]


def workspace_of(request: Request) -> Workspace:
    workspace: Workspace = request.app.state.workspace
    workspace.last_used = max(workspace.last_used, request.state.received)
    return workspace


def find_caller(workspace: Workspace, scope: Mapping[str, Any]) -> Caller:
    """Raises Unauthorized where nothing says who calls, Forbidden for a browser that does not prove it means it."""
    listener = Path(str((scope.get("server") or ("", None))[0])).name
    if listener == workspace.home.socket.name:
        return Caller(LOCAL.name, LOCAL.role, LOCAL_PERMISSIONS, "socket")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return _by_key(workspace, text.strip())
    if kind:
        raise Unauthorized("This is no key.", hint="Send the header Authorization: Bearer KEY.")
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    if cookie:
        return _by_session(workspace, cookie, scope["method"], headers)
    raise Unauthorized("A key is needed.", hint="Send the header Authorization: Bearer KEY.")


def _by_key(workspace: Workspace, text: str) -> Caller:
    token = workspace.home.token() if workspace.address.takes_token else None
    if token is not None and hmac.compare_digest(text.encode(), token.encode()):
        return Caller(LOCAL.name, LOCAL.role, LOCAL_PERMISSIONS, "token")
    key = workspace.keys.find(text)
    user = None if key is None else workspace.users.find(key.owner)
    if key is None or not _is_active(user):
        raise Unauthorized("This key is not valid.", hint="Make one with: bedplate keys create NAME --scope SCOPE")
    assert user is not None
    permissions = permissions_of(user.role, key.scopes)
    return Caller(user.name, user.role, permissions, "key", key.id, is_limited=key.endpoints is not None)


def _by_session(workspace: Workspace, cookie: str, method: str, headers: Mapping[str, str]) -> Caller:
    session = workspace.sessions.find(cookie)
    user = None if session is None else workspace.users.find(session.owner)
    if session is None or not _is_active(user):
        raise Unauthorized("This session has ended.", hint="Sign in again.")
    assert user is not None
    token = headers.get(CSRF_HEADER, "").encode()
    is_meant = is_own_page(headers) and hmac.compare_digest(token, session.csrf_token.encode())
    if method not in SAFE_METHODS and not is_meant:
        raise Forbidden(
            "This request does not come from a page of this server.",
            hint=f"A page sends its csrf_token (GET /api/v1/session) as {CSRF_HEADER}; a program sends a key instead.",
            code="csrf-failed",
        )
    return Caller(user.name, user.role, ROLES[user.role], "session", session.key)


def _is_active(user: User | None) -> bool:
    return user is not None and not user.disabled


def _needs(policy: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        if policy == OPEN:
            return
        caller = find_caller(workspace_of(request), request.scope)
        request.state.caller = caller
        caller.require(policy)

    return check


async def _workspace(request: Request) -> Workspace:
    """On the event loop, since it waits for nothing: FastAPI would run a plain function in a thread, at 0.5 ms."""
    return workspace_of(request)


async def _caller(request: Request) -> Caller:
    """Who calls, as the route's policy found out: it runs before, being the first dependency."""
    caller: Caller = request.state.caller
    return caller


WorkspaceOf = Annotated[Workspace, Depends(_workspace)]
CallerOf = Annotated[Caller, Depends(_caller)]


def note(request: Request, **what: Any) -> None:
    """Tell the audit entry of this request what it made or changed. Path parameters are in it anyway."""
    request.state.noted = {**getattr(request.state, "noted", {}), **what}


class Routes:
    """A router on which every route names its policy: `open`, `data`, or a permission of users.py."""

    def __init__(self, prefix: str, tag: str) -> None:
        self.router = APIRouter(prefix=prefix, tags=[tag], route_class=JsonRoute)

    def route(
        self, method: str, path: str, policy: str, **options: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        if policy not in POLICIES:
            raise ValueError(f"{policy!r} is not a policy")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.router.add_api_route(
                path,
                function,
                methods=[method],
                dependencies=[Depends(_needs(policy))],
                openapi_extra={"x-policy": policy, **options.pop("openapi_extra", {})},
                **options,
            )
            return function

        return register


def leaves(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Every route, mount and websocket, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from leaves(included.routes)


def policy_of(route: BaseRoute) -> str | None:
    """What a route, a mount or a websocket declares; None where it declares nothing."""
    extra = getattr(route, "openapi_extra", None) or {}
    declared = extra.get("x-policy") or getattr(getattr(route, "app", None), "policy", None)
    return declared if declared in POLICIES else None


def check_policies(app: FastAPI) -> None:
    """Raises ValueError where anything that can be reached declares no policy: such a server does not start."""
    for route in leaves(app.routes):
        if policy_of(route) is None:
            raise ValueError(f"{getattr(route, 'path', route)!r} declares no policy")
