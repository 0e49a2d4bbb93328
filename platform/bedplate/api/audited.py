"""Every unsafe request to the control plane: its entry in the audit log, before its answer."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from bedplate.api.access import Caller
from bedplate.api.problems import problem_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_serving.asgi import App, Message, Receive, Scope, Send
from bedplate_serving.door import SAFE_METHODS

__all__ = ["Audited"]

KEY_TEXT = re.compile(r"bp_[A-Za-z0-9_-]+")
ONLY_READ = "/hub/"  # where clients of the Hub ask about paths by POST, thousands of them, and nothing can be changed
MOST_CHARACTERS = 200  # of one value in an entry: it says what was named, and keeps no bodies
MOST_PARTS = 20


class Audited:
    """Keeps an entry of every unsafe request of a known caller, before its answer goes out.

    An answer that could not be recorded becomes a 503, and until one can be again nothing more is changed.
    """

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or scope["path"].startswith(ONLY_READ):
            await self._app(scope, receive, send)
            return
        try:
            if self._workspace.audit.is_broken:
                await asyncio.to_thread(self._workspace.audit.check)
            await self._run(scope, receive, _Recording(self._workspace, scope, send))
        except _NotRecorded as failure:
            await problem_of(failure.error, scope)(scope, receive, send)
        except BedplateError as exc:  # nothing was done yet
            await problem_of(exc, scope)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, recording: _Recording) -> None:
        """What fails after its change is an entry too: whoever answers for it is around us."""
        try:
            await self._app(scope, receive, recording)
        except _NotRecorded:
            raise
        except Exception:
            await recording.record(500)
            raise


class _NotRecorded(Exception):
    """The answer that was on its way is held back: what it tells of is not in the audit log."""

    def __init__(self, error: BedplateError) -> None:
        super().__init__(error.message)
        self.error = error


class _Recording:
    """The way back of one audited request."""

    def __init__(self, workspace: Workspace, scope: Scope, send: Send) -> None:
        self._workspace, self._scope, self._send = workspace, scope, send
        self._is_recorded = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self.record(message["status"])
        await self._send(message)

    async def record(self, status: int) -> None:
        """Once, for a caller who is known. Raises _NotRecorded."""
        caller = self._scope["state"].get("caller")
        if caller is None or self._is_recorded:
            return
        self._is_recorded = True
        try:
            await asyncio.to_thread(self._record, caller, status)
        except BedplateError as exc:
            raise _NotRecorded(exc) from exc

    def _record(self, caller: Caller, status: int) -> None:
        scope = self._scope
        what = {**scope.get("path_params", {}), **scope["state"].get("noted", {})}
        detail = {
            "status": status,
            "via": caller.via,
            "key": caller.key,
            "from": _client_of(scope),
            "request_id": scope["state"]["request_id"],
            **{name: _short(value) for name, value in list(what.items())[:MOST_PARTS]},
        }
        route = getattr(scope.get("route"), "path", "a path of no route")
        self._workspace.audit.record(caller.name, f"{scope['method']} {route}", detail)


def _short(value: Any) -> Any:
    """A value as it may stand in the log for good: cut, and without the text of a key that somebody put there."""
    if isinstance(value, str):
        hidden = KEY_TEXT.sub("bp_…", value)
        return hidden if len(hidden) <= MOST_CHARACTERS else f"{hidden[:MOST_CHARACTERS]}…"
    if isinstance(value, dict):
        return {_short(str(name)): _short(part) for name, part in list(value.items())[:MOST_PARTS]}
    if isinstance(value, list | tuple):
        return [_short(part) for part in value[:MOST_PARTS]]
    return value


def _client_of(scope: Scope) -> str:
    """The address that the gateway saw; nobody else reaches the socket that it calls."""
    address: bytes = dict(scope["headers"]).get(b"x-bedplate-client", b"this machine")
    return address.decode("latin-1")
