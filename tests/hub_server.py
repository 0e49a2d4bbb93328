"""A Hub on loopback that serves folders of models."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from bedplate_registry.hubserver import FolderSource, create_hub_app
from harness import wait_for

__all__ = ["Gate", "serve_app", "serve_folders"]


class Gate:
    """Around a Hub's application: all may see what there is, and files are for those who have the token."""

    def __init__(self, app: Any, token: str) -> None:
        self._app, self._token = app, token
        self.seen: list[str | None] = []  # the Authorization of each request

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = dict(scope["headers"]).get(b"authorization", b"").decode() or None
        self.seen.append(given)
        if "/resolve/" not in scope["path"] or given == f"Bearer {self._token}":
            return await self._app(scope, receive, send)
        headers = [(b"x-error-code", b"GatedRepo"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        return await send({"type": "http.response.body", "body": b""})


@contextmanager
def serve_folders(folders: Mapping[str, Path]) -> Iterator[str]:
    """The URL of a Hub that has each of these ids, at one commit."""
    source = FolderSource({name: (folder, "a" * 40, {}) for name, folder in folders.items()})
    with serve_app(create_hub_app(source)) as url:
        yield url


@contextmanager
def serve_app(app: Any) -> Iterator[str]:
    """The URL of an application on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, seconds=60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
