"""Who is calling, and whether they may. Every route declares its policy when it registers.

Over the home's own Unix socket the caller is this machine's user: the kernel lets nobody else in (mode 0700, and
the peer's uid is checked). Over TCP the gateway passes requests on to another socket, where a key or the loopback
token decides.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from bedplate.keys import SCOPES
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden

__all__ = ["Caller", "Routes", "Unauthorized", "find_caller", "workspace_of"]

OPEN, ANY_KEY, DATA = "open", "any-key", "data"
POLICIES = (OPEN, ANY_KEY, DATA, *SCOPES)
MAY_SEND_DATA = frozenset({"batch", "train", "import", "admin"})
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class Unauthorized(Forbidden):
    """No key, or one that is not valid."""

    code = "unauthorized"


@dataclass(frozen=True)
class Caller:
    """Who is calling, by the name that the records keep."""

    name: str
    scopes: frozenset[str]
    endpoint: str | None = None

    def may(self, policy: str) -> bool:
        """An endpoint's own key scores at the gateway and opens nothing here."""
        if policy == OPEN:
            return True
        if self.endpoint is not None:
            return False
        wanted = MAY_SEND_DATA if policy == DATA else {policy, "admin"}
        return policy == ANY_KEY or bool(self.scopes & wanted)


def workspace_of(request: Request) -> Workspace:
    workspace: Workspace = request.app.state.workspace
    workspace.last_used = max(workspace.last_used, request.state.received)
    return workspace


def find_caller(workspace: Workspace, scope: dict[str, Any], authorization: str | None, host: str) -> Caller:
    """Raises Unauthorized for no key or an unknown one, Forbidden for a Host that is not ours."""
    listener = Path(str((scope.get("server") or ("", None))[0])).name
    if listener == workspace.home.socket.name:
        return Caller("local user", frozenset(SCOPES))
    if workspace.address.is_loopback and host.rsplit(":", 1)[0] not in LOOPBACK_HOSTS:
        raise Forbidden(
            f"Host {host!r} is not this server.", hint="Call it as 127.0.0.1 or localhost.", code="bad-host"
        )
    kind, _, text = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not text:
        raise Unauthorized("A key is needed.", hint="Send the header Authorization: Bearer KEY.")
    token = workspace.home.token()
    if token is not None and hmac.compare_digest(text.strip().encode(), token.encode()):
        return Caller("loopback token", frozenset(SCOPES))
    key = workspace.keys.find(text.strip())
    if key is None:
        raise Unauthorized("This key is not valid.", hint="Make one with: bedplate keys create NAME --scope SCOPE")
    return Caller(f"key {key.id}", frozenset(key.scopes), key.endpoint)


def _needs(policy: str) -> Callable[[Request], Caller | None]:
    def check(request: Request) -> Caller | None:
        if policy == OPEN:
            return None
        headers = request.headers
        scope: Any = request.scope
        caller = find_caller(workspace_of(request), scope, headers.get("authorization"), headers.get("host", ""))
        if not caller.may(policy):
            raise Forbidden(f"This key may not do that: it needs the scope {policy!r}.", hint="Use another key.")
        request.state.caller = caller.name
        return caller

    return check


async def _workspace(request: Request) -> Workspace:
    """On the event loop, since it waits for nothing: FastAPI would run a plain function in a thread, at 0.5 ms."""
    return workspace_of(request)


WorkspaceOf = Annotated[Workspace, Depends(_workspace)]


class Routes:
    """A router on which every route names its policy: `open`, `any-key`, `data` (who may send data), or a scope."""

    def __init__(self, prefix: str, tag: str) -> None:
        self.router = APIRouter(prefix=prefix, tags=[tag])

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
                openapi_extra={"x-policy": policy},
                **options,
            )
            return function

        return register
