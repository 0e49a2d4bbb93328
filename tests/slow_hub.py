"""A Hub that answers no one before it is released: an import waits there for as long as a test wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from bedplate_registry.hubserver import FolderSource, create_hub_app
from harness import wait_for

__all__ = ["slow_hub"]


@contextmanager
def slow_hub(models: Path, released: threading.Event) -> Iterator[str]:
    """Its URL; it has acme/tiny, the classifier of the fixture `models`. What still waits at the end is let go."""
    hub = create_hub_app(FolderSource({"acme/tiny": (models / "classifier", "b" * 40, {})}))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and not released.is_set():
            await asyncio.sleep(0.02)
        await hub(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, seconds=60)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    released.set()
    server.should_exit = True
    thread.join(5)
