"""Find the server of a home, start a private one where there is none, stop one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx

from bedplate.home import Home, HomeLock
from bedplate.processes import ProcessId
from bedplate_registry.errors import Unavailable
from bedplate_serving.unix_sockets import is_listening, short_path

__all__ = ["ensure_server", "is_ready", "socket_client", "stop_running", "wait_until_ready"]

START_SECONDS = 30.0
STOP_SECONDS = 15.0


def socket_client(home: Home, timeout: float | None = 30.0) -> httpx.Client:
    """An HTTP client over the home's own socket."""
    transport = httpx.HTTPTransport(uds=short_path(home.socket))
    return httpx.Client(transport=transport, base_url="http://bedplate", timeout=timeout)


def is_ready(home: Home) -> bool:
    """Whether a server answers; a socket that a dead one left behind does not."""
    if not is_listening(home.socket):
        return False
    try:
        with socket_client(home, timeout=5.0) as client:
            return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def ensure_server(home: Home) -> bool:
    """Start a private server unless one runs; says whether it did. Two callers at once start one: the lock decides."""
    if is_ready(home):
        return False
    home.prepare()
    if HomeLock(home, "serve.lock").is_held:
        wait_until_ready(home, None, START_SECONDS)  # `bedplate serve` is starting its control plane again
        return False
    argv = [sys.executable, "-m", "bedplate.control_plane", "--home", str(home.path), "--private"]
    with (home.logs / "server.log").open("ab") as log:
        child = subprocess.Popen(
            argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=home.path
        )
    wait_until_ready(home, child, START_SECONDS)
    child.returncode = 0  # it outlives us on purpose: no warning when this object goes
    return True


def wait_until_ready(home: Home, child: subprocess.Popen[bytes] | None, seconds: float) -> None:
    """Raises Unavailable with the last log lines where the server does not come up."""
    deadline = time.monotonic() + seconds
    grace: float | None = None
    while time.monotonic() < deadline:
        if is_ready(home):
            return
        if child is not None and child.poll() is not None:
            # Another process may have won the lock and be about to answer.
            grace = grace or time.monotonic() + 5
            if time.monotonic() > grace:
                break
        time.sleep(0.03)
    raise Unavailable(
        f"The server of {str(home.path)!r} did not start: {_last_lines(home.logs / 'server.log')}",
        hint="Read more in logs/server.log there.",
        code="server-not-started",
    )


def stop_running(home: Home, *, everything: bool = False) -> bool:
    """Stop the server that runs for this home, if one does, and wait until it has left.

    `everything` stops jobs, replicas and the gateway too. They outlive a server: where none runs, one is started to
    find them.
    """
    if not is_ready(home):
        if not (everything and home.database.exists()):
            return False
        ensure_server(home)
    with socket_client(home) as client:
        client.post("/api/v1/server/stop", params={"everything": everything}).raise_for_status()
        pid = int((home.run / "lock").read_text() or 0)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if ProcessId.of(pid) is None:
            return True
        time.sleep(0.05)
    raise Unavailable(f"The server (process {pid}) does not stop.", hint=f"End it with: kill {pid}")


def _last_lines(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return " | ".join(lines[-3:]) or "no log"
