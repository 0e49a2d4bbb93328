"""Every unsafe request to the control plane: its entry in the audit log, before its answer."""

from __future__ import annotations

import asyncio

from bedplate.api.access import SAFE_METHODS, Caller
from bedplate.api.problems import problem_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_serving.asgi import App, Message, Receive, Scope, Send

__all__ = ["Audited"]


class Audited:
    """Keeps an entry of every unsafe request of a known caller, before its answer goes out.

    An answer that could not be recorded becomes a 503, and until one can be again nothing more is changed.
    """

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        try:
            if self._workspace.audit.is_broken:
                await asyncio.to_thread(self._workspace.audit.check)
            await self._app(scope, receive, _Recording(self._workspace, scope, send))
        except _NotRecorded as failure:
            await problem_of(failure.error, scope)(scope, receive, send)
        except BedplateError as exc:  # nothing was done yet
            await problem_of(exc, scope)(scope, receive, send)


class _NotRecorded(Exception):
    """The answer that was on its way is held back: what it tells of is not in the audit log."""

    def __init__(self, error: BedplateError) -> None:
        super().__init__(error.message)
        self.error = error


class _Recording:
    """The way back of one audited request."""

    def __init__(self, workspace: Workspace, scope: Scope, send: Send) -> None:
        self._workspace, self._scope, self._send = workspace, scope, send
        self._code: str | None = None

    async def __call__(self, message: Message) -> None:
        caller = self._scope["state"].get("caller")
        if message["type"] == "http.response.start" and caller is not None:
            try:
                await asyncio.to_thread(self._record, caller, message["status"])
            except BedplateError as exc:
                raise _NotRecorded(exc) from exc
        await self._send(message)

    def _record(self, caller: Caller, status: int) -> None:
        scope = self._scope
        detail = {
            "status": status,
            "via": caller.via,
            "key": caller.key,
            "from": _client_of(scope),
            "request_id": scope["state"]["request_id"],
            **scope.get("path_params", {}),
            **scope["state"].get("noted", {}),
        }
        route = getattr(scope.get("route"), "path", "a path of no route")
        self._workspace.audit.record(caller.name, f"{scope['method']} {route}", detail)


def _client_of(scope: Scope) -> str:
    """The address that the gateway saw; nobody else reaches the socket that it calls."""
    address: bytes = dict(scope["headers"]).get(b"x-bedplate-client", b"this machine")
    return address.decode("latin-1")
