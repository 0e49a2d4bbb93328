"""/login and /account: the pages around a session. Their files lie in `static/`; nothing is fetched from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from bedplate.api.access import Routes, WorkspaceOf, find_caller
from bedplate_registry.errors import Forbidden, NotFound

__all__ = ["routes"]

routes = Routes("", "pages")
STATIC = Path(__file__).parents[1] / "static"
NAME = re.compile(r"[a-z0-9_-]+\.[a-z]+")
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# No code that is written into a page runs, no other site is asked or can frame it, and no form goes anywhere by itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@routes.route("GET", "/", "open", include_in_schema=False)
def front(request: Request) -> Response:
    """Studio; the reference where a server has none."""
    return RedirectResponse(request.app.state.front, 303, {"Cache-Control": "no-store"})


@routes.route("GET", "/login", "open", include_in_schema=False)
def login() -> Response:
    """Sign in: by the code of a link, which never leaves the browser in an address, or by a key."""
    return _page("login.html")


@routes.route("GET", "/account", "open", include_in_schema=False)
def account(request: Request, workspace: WorkspaceOf) -> Response:
    """Who is signed in, his keys, sign out. The page itself holds nothing: a script asks for it all."""
    try:
        find_caller(workspace, request.scope).require("account")
    except Forbidden:
        return RedirectResponse("/login", 303, {"Cache-Control": "no-store"})
    return _page("account.html")


@routes.route("GET", "/static/{name}", "open", include_in_schema=False)
def static(name: str) -> Response:
    """A style sheet, a script or a picture of the pages."""
    file = STATIC / name
    if not NAME.fullmatch(name) or file.suffix not in TYPES or not file.is_file():
        raise NotFound("There is no such file.")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(file.read_bytes(), headers=headers, media_type=TYPES[file.suffix])


def _page(name: str) -> Response:
    return Response((STATIC / name).read_bytes(), headers=HEADERS, media_type="text/html")
