"""What benchmarks/import.py reads from: a Hub whose large files lie in nginx, and Bedplate's own server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

__all__ = ["COMMIT", "MODEL_ID", "bedplate", "hub", "nginx", "server"]

MODEL_ID, COMMIT = "bench/large", "b" * 40
READY_SECONDS = 60.0
PROGRAM = (sys.executable, "-c", "from bedplate.cli import main; main()")
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """The URL at which nginx gives the files below `root`, by sendfile."""
    folder.mkdir()
    port = _free_port()
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port, root=root))
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    with _running(command, f"http://127.0.0.1:{port}") as url:
        yield url


@contextmanager
def hub(model: Path, storage: str | None) -> Iterator[str]:
    """The URL of a Hub that has one folder, in a process of its own. Large files are in `storage`, or here too."""
    port = _free_port()
    command = [sys.executable, __file__, str(model), str(port), storage or ""]
    with _running(command, f"http://127.0.0.1:{port}") as url:
        yield url


@contextmanager
def server(home: Path) -> Iterator[tuple[str, str]]:
    """The URL of Bedplate's server on a home, and a key for it."""
    port = _free_port()
    with _running([*PROGRAM, "serve", "--port", str(port), "--home", str(home)], f"http://127.0.0.1:{port}") as url:
        made = bedplate(home, "keys", "create", "benchmark", "--scope", "infer", "--format", "json")
        yield url, json.loads(made)["key"]
    bedplate(home, "stop", "--all")


def bedplate(home: Path, *arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run([*PROGRAM, *arguments, "--home", str(home)], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


@contextmanager
def _running(command: Sequence[str], url: str) -> Iterator[str]:
    """A process, once something answers at its address."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not come up at {url}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5.0)
    except httpx.TransportError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class _Redirecting:
    """A Hub that leads to a storage for large files, with the headers that it would have sent them with."""

    def __init__(self, app: Any, storage: str) -> None:
        self._app, self._storage = app, storage

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or "/resolve/" not in scope["path"] or not scope["path"].endswith(".safetensors"):
            return await self._app(scope, receive, send)
        place = f"{self._storage}/{scope['path'].rpartition('/')[2]}".encode()

        async def redirected(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [item for item in message["headers"] if item[0] != b"content-length"]
                headers = [*kept, (b"location", place), (b"content-length", b"0")]
                await send({**message, "status": 302, "headers": headers})
            elif not message.get("more_body"):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        return await self._app({**scope, "method": "HEAD", "extensions": {}}, receive, redirected)


def _serve(model: Path, port: int, storage: str) -> None:
    import uvicorn

    from bedplate_registry.hubserver import create_hub_app
    from bedplate_registry.hubsources import FolderSource

    source = FolderSource({MODEL_ID: (model, COMMIT, {"pipeline_tag": "text-classification"})})
    source.snapshot(MODEL_ID, "main")  # every file is hashed before anybody waits for it
    app: Any = create_hub_app(source)
    app = _Redirecting(app, storage) if storage else app
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    _serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
