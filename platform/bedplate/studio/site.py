"""Studio as an ASGI application: NiceGUI with our pages. Imported when the first page is asked for, not before."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from typing import Any

from fastapi import FastAPI
from nicegui import Client, core, ui

from bedplate.api.pages import STATIC
from bedplate.sessions import COOKIE
from bedplate.studio import pages
from bedplate.studio.frame import no_page, open_house
from bedplate.studio.theme import add_theme
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError

__all__ = ["cookie_of", "make_site"]

RECONNECT_SECONDS = 30.0  # a page that lost the server for so long is as it was; after that it is loaded anew


def make_site(workspace: Workspace, rest: FastAPI) -> FastAPI:
    """All modules of `pages` bring their pages. NiceGUI has one site in a process, and so have we."""
    open_house(workspace, rest)
    for module in pkgutil.walk_packages(pages.__path__, f"{pages.__name__}."):
        importlib.import_module(module.name)
    add_theme()
    logging.getLogger("nicegui").addFilter(_is_news)
    for name in ("event", "javascript_response", "ack", "log"):
        _bind(name)
    site = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    ui.run_with(
        site,
        root=no_page(),
        title="Bedplate",
        favicon=STATIC / "icon.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=RECONNECT_SECONDS,
        binding_refresh_interval=None,  # fields tell of their changes: nothing has to be looked at
        show_welcome_message=False,
        gzip_middleware_factory=None,
    )
    return site


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the log needs it. The library logs whatever a button or a field raises; an error of ours, such as a wrong
    name, was told to whoever made it (frame.py), and is none of the server's.
    """
    return not isinstance(record.msg, BedplateError)


def _bind(name: str) -> None:
    """Let a socket speak for the page that it shook hands for, and for no other whose id it may have learned."""
    handle = core.sio.handlers["/"][name]

    def checked(socket: str, message: dict[str, Any]) -> None:
        if message["client_id"] in core.sio.rooms(socket):
            handle(socket, message)

    core.sio.on(name, checked)


def cookie_of(page: str) -> str | None:
    """The session's cookie that a page was opened with; None for a page that is not open (any more)."""
    client = Client.instances.get(page)
    return None if client is None else client.request.cookies.get(COOKIE)
