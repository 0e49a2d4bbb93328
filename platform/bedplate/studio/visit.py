"""One browser's page: who looks at it, and this server as he may use it.

Pages call REST, inside the process, with the session's own cookie. So roles, the audit log, validation and errors are
those of every other caller, and a page that stays open after its session ended can do nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI, Request

from bedplate.aio.connection import JSON, SCORE_SECONDS, Connection
from bedplate.aio.seam import client_for
from bedplate.aio.workspace import RemoteWorkspace
from bedplate.sessions import COOKIE, CSRF_HEADER, SCHEME_HEADER
from bedplate.studio.drafts import Drafts
from bedplate.targets import Target
from bedplate.wire import any_json_of, error_of, json_bytes, plain_errors
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden
from bedplate_serving.unix_sockets import short_path

__all__ = ["Visit", "visit_of"]

CLIENT_HEADER = "x-bedplate-client"  # the browser's address, as the gateway saw it: for the audit log


@dataclass(frozen=True)
class Visit:
    """Who looks at a page: `ws` has the methods of the Python client, and may what he may."""

    user: str
    role: str
    permissions: frozenset[str]
    ws: RemoteWorkspace
    origin: str  # scheme://host:port, as his browser knows this server
    scoring_socket: str
    drafts: Drafts

    def may(self, permission: str) -> bool:
        """Whether his role allows it: what does not is shown as not to be had, with the reason."""
        return permission in self.permissions


async def visit_of(request: Request, workspace: Workspace, rest: FastAPI) -> Visit:
    """Of the session that the page was asked for in. Raises Forbidden where it has ended."""
    socket = short_path(workspace.home.scoring_socket)
    ws = RemoteWorkspace(_Inside(request, rest, socket))
    session = await ws.connection.get("/api/v1/session")
    permissions = frozenset(session["permissions"])
    drafts = Drafts(workspace.home.run / "studio", session["user"])
    return Visit(session["user"], session["role"], permissions, ws, _origin(request), socket, drafts)


class _Inside(Connection):
    """Requests to this very server, without a socket between."""

    def __init__(self, request: Request, rest: FastAPI, scoring_socket: str) -> None:
        client = httpx.AsyncClient(
            base_url=_origin(request),
            transport=httpx.ASGITransport(app=rest, raise_app_exceptions=False),
            headers=_headers(request.headers),
            cookies={COOKIE: request.cookies.get(COOKIE, "")},
            timeout=60.0,
        )
        super().__init__(Target(_origin(request)), client)
        self._csrf: str | None = None
        self._socket = scoring_socket

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As any page does: what changes something carries the session's token."""
        if method not in ("GET", "HEAD") and self._csrf is None:
            self._csrf = (await self.get("/api/v1/session"))["csrf_token"]
            self._client.headers[CSRF_HEADER] = self._csrf
        return await super()._send(method, path, **options)

    async def score(self, url: str, body: Mapping[str, Any], *, key: str | None = None) -> Any:
        """What an endpoint answers. The gateway's own socket asks for no key: who may score is asked here."""
        session = await self.get("/api/v1/session")
        if "infer" not in session["permissions"]:
            raise Forbidden(f"The role {session['role']!r} may not score.", hint="Ask an admin for the role 'user'.")
        async with client_for("http://gateway", socket=self._socket) as client:
            content, where = json_bytes(body), urlsplit(url).path
            with plain_errors(url, is_here=True):
                answer = await client.post(where, content=content, headers=JSON, timeout=SCORE_SECONDS)
        if not answer.is_success:
            raise error_of(answer)
        is_image = answer.headers.get("content-type", "").startswith("image/")
        return answer.content if is_image else any_json_of(answer)


def _origin(request: Request) -> str:
    scheme = request.headers.get(SCHEME_HEADER) or request.url.scheme
    return f"{scheme}://{request.headers['host']}"


def _headers(of_page: Mapping[str, str]) -> dict[str, str]:
    passed = {name: of_page[name] for name in (SCHEME_HEADER, CLIENT_HEADER) if name in of_page}
    scheme = of_page.get(SCHEME_HEADER, "http")
    return {**passed, "Host": of_page["host"], "Origin": f"{scheme}://{of_page['host']}"}
