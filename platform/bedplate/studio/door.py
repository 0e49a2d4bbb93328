"""The way into Studio: who may come in, and by which rules a browser shows it.

Studio is made a moment after the start, so that a server is ready before NiceGUI is imported; a private one never
imports it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.requests import cookie_parser

from bedplate.api.access import Caller, find_caller
from bedplate.api.problems import problem_of
from bedplate.api.uploads import check_size
from bedplate.compute import GIB
from bedplate.sessions import COOKIE, is_own_page
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Forbidden, Refused
from bedplate_serving.asgi import App, Message, Receive, Scope, Send
from bedplate_serving.door import SAFE_METHODS

__all__ = ["Studio"]

PAGE_ID = re.compile(r"/client/([0-9a-f-]{36})/|[?&]client_id=([0-9a-f-]{36})")
REST_SECONDS = 1.0  # after the start: whoever waits for a server asks it something first
SOCKET = "/_nicegui_ws/"  # a WebSocket, or requests in its place
ASSETS = "/_nicegui/"  # code and styles of the UI library: the same for everybody, and nothing of ours
# NiceGUI writes scripts into its pages and compiles templates in the browser. What strangers wrote is therefore never
# given to it as HTML, and no page may load or send anything anywhere but here.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Studio:
    """The ASGI application below /studio. Pages are for signed-in browsers; the others are sent to /login."""

    place = "/studio"
    policy = "open"  # it asks itself: a browser without a session is not refused, but shown where to sign in

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.rest: FastAPI | None = None  # whose part this is
        self._site: App | None = None
        self._cookie_of: Callable[[str], str | None] = lambda page: None
        self._making = asyncio.Lock()
        self._open = AsyncExitStack()

    async def prepare(self) -> None:
        """Make the site now, so that the first page does not wait for it."""
        async with self._making:
            if self._site is None:
                self._site = await self._make()

    @asynccontextmanager
    async def while_served(self, app: FastAPI) -> AsyncIterator[None]:
        """The lifespan of the application that this is a part of. The site is made when the server has a moment."""
        soon = asyncio.create_task(self._prepare_soon())
        try:
            yield
        finally:
            soon.cancel()
            await self._open.aclose()

    async def _prepare_soon(self) -> None:
        await asyncio.sleep(REST_SECONDS)
        await self.prepare()

    async def _make(self) -> App:
        folder = self._workspace.home.run / "uploads"
        await asyncio.to_thread(_empty, folder)
        os.environ["NICEGUI_STORAGE_PATH"] = str(folder)  # it would write where we stand
        tempfile.tempdir = str(folder)  # what a form's parser lays down goes to our disk, not into a /tmp in memory
        module = await asyncio.to_thread(importlib.import_module, "bedplate.studio.site")
        site: FastAPI = module.make_site(self._workspace, self.rest)
        self._cookie_of = module.cookie_of
        await self._open.enter_async_context(site.router.lifespan_context(site))
        return site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.prepare()
        assert self._site is not None
        try:
            if not self._is_asset(scope):
                scope.setdefault("state", {})["caller"] = await asyncio.to_thread(self._caller, scope)
                self._check_page(scope)
            if scope["type"] == "http" and scope["method"] == "POST":
                await asyncio.to_thread(self._check_body, scope)
        except BedplateError as exc:
            await _turn_away(scope, receive, send, exc)
            return
        await self._site(scope, receive, _Guarded(send))

    def _is_asset(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return (
            scope["type"] == "http"
            and scope["method"] in ("GET", "HEAD")
            and path.startswith(ASSETS)
            and "/client/" not in path
        )

    def _check_page(self, scope: Scope) -> None:
        """What belongs to a page that is open, its socket and its uploads, is for the session that it was opened in."""
        asked = PAGE_ID.search(f"{scope['path']}?{scope['query_string'].decode('latin-1')}")
        if asked is None and SOCKET not in scope["path"]:
            return
        opened = None if asked is None else self._cookie_of(asked[1] or asked[2])
        if asked is None or (opened is not None and opened != _cookie(scope)):
            raise Forbidden("This page was opened in another session.", hint="Load it again.", code="csrf-failed")

    def _check_body(self, scope: Scope) -> None:
        """Before a file of a form is read, which the form's parser lays down twice beside where it is kept."""
        stated = dict(scope["headers"]).get(b"content-length", b"")
        if not stated.isdigit() or len(stated) > 18:
            raise Refused("This upload does not say how long it is.", hint="Send Content-Length.", code="no-length")
        size, blobs = int(stated), self._workspace.registry.blobs
        check_size(blobs, size, self._workspace.settings.max_upload_gb * GIB)
        check_size(blobs, 3 * size, 3 * size)

    def _caller(self, scope: Scope) -> Caller:
        """Whose browser it is. Raises Forbidden for none, and for a page of another site."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_socket = scope["type"] == "websocket" or SOCKET in scope["path"]
        if (is_socket or scope["method"] not in SAFE_METHODS) and not is_own_page(headers):
            raise Forbidden(
                "This request does not come from a page of this server.", hint="Open /studio.", code="csrf-failed"
            )
        caller = find_caller(self._workspace, {**scope, "method": "GET"})
        caller.require("read")
        return caller


def _cookie(scope: Scope) -> str | None:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    return cookie_parser(headers.get(b"cookie", "")).get(COOKIE)


def _empty(folder: Path) -> None:
    """What a killed server left of uploads goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)


class _Guarded:
    """The way back: every answer carries the rules that a browser shows it by."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await self._send(message)


async def _turn_away(scope: Scope, receive: Receive, send: Send, error: BedplateError) -> None:
    """A page leads to where one signs in; everything else is told why not."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    answer: Any = problem_of(error, scope)
    if scope["method"] == "GET" and "text/html" in Request(scope).headers.get("accept", ""):
        answer = RedirectResponse("/login", 303, {"Cache-Control": "no-store"})
    await answer(scope, receive, send)
