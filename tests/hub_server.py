"""A Hub on loopback that serves folders of models."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from bedplate_registry.hubserver import FolderSource, create_hub_app
from harness import wait_for

__all__ = ["serve_folders"]


@contextmanager
def serve_folders(folders: Mapping[str, Path]) -> Iterator[str]:
    """The URL of a Hub that has each of these ids, at one commit."""
    source = FolderSource({name: (folder, "a" * 40, {}) for name, folder in folders.items()})
    server = uvicorn.Server(uvicorn.Config(create_hub_app(source), port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, seconds=60)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(5)
