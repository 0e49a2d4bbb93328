"""Find the server of a home, start a private one where there is none, stop one.

What decides is who holds the home's lock and who answers on its socket, never a file that a dead process left behind.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import httpx

from bedplate.home import Home, HomeLock
from bedplate.processes import ProcessId
from bedplate_registry.errors import Unavailable
from bedplate_serving.log_lines import event_of
from bedplate_serving.unix_sockets import is_listening, no_tls, short_path

__all__ = [
    "HOME_OWNED",
    "ensure_server",
    "is_answering",
    "make_room",
    "socket_client",
    "stop_running",
    "wait_until_answering",
]

START_SECONDS = 30.0
STOP_SECONDS = 15.0
SILENT_SECONDS = 8.0  # who is silent for so long after the simplest of questions is frozen
HOME_OWNED = 3  # exit status of a control plane that found another one in its home


def socket_client(home: Home, timeout: float | None = 30.0) -> httpx.Client:
    """An HTTP client over the home's own socket."""
    transport = httpx.HTTPTransport(uds=short_path(home.socket), verify=no_tls())
    return httpx.Client(transport=transport, base_url="http://bedplate", timeout=timeout)


def is_answering(home: Home) -> bool:
    """Whether a server answers; a socket that a dead one left behind does not.

    Raises Unavailable, code `server-silent`, for one that takes the call and says nothing: while it lives, no other can
    take its place.
    """
    if not is_listening(home.socket):
        return False
    try:
        with socket_client(home, timeout=SILENT_SECONDS) as client:
            client.get("/livez")
    except httpx.TimeoutException as exc:
        raise Unavailable(
            f"The server of {str(home.path)!r} (process {_owner(home)}) has said nothing for {SILENT_SECONDS:.0f} s.",
            hint=_how_to_end(home),
            code="server-silent",
        ) from exc
    except httpx.HTTPError:
        return False  # it has just left
    return True


def ensure_server(home: Home) -> bool:
    """Start a private server unless one runs; says whether it did. Two callers at once start one: the lock decides.

    Raises Unavailable where none comes up, or where one is silent.
    """
    if is_answering(home):
        return False
    home.prepare()
    deadline = time.monotonic() + START_SECONDS
    while not _answers_before(deadline, home, lambda: not _is_taken(home)):  # another one may be starting, or leaving
        if time.monotonic() > deadline:
            raise _not_started(home)
        child = _start_private(home)
        if _comes_up(home, child, deadline):
            child.returncode = 0  # it outlives us on purpose: no warning when this object goes
            return True
        if child.returncode != HOME_OWNED:
            raise _not_started(home)
    return False


def wait_until_answering(home: Home, child: subprocess.Popen[bytes], seconds: float) -> None:
    """Raises Unavailable with the last log lines where `child`, a control plane, does not come up."""
    if not _comes_up(home, child, time.monotonic() + seconds):
        raise _not_started(home)


def stop_running(home: Home, *, everything: bool = False) -> bool:
    """Stop the server that runs for this home, if one does, and wait until it has left.

    `everything` stops jobs, replicas and the gateway too. They outlive a server: where none runs, one is started to
    find them. Raises Unavailable for one that does not stop.
    """
    if not is_answering(home):
        has_run = (home.run / "lock").exists()
        if not has_run or not (everything or _is_taken(home)):
            return False
        ensure_server(home)
    _stop(home, everything=everything)
    return True


def make_room(home: Home) -> None:
    """Have a private server leave for `bedplate serve`, which holds its own lock already. Its jobs go on.

    Raises Unavailable for one that does not leave.
    """
    deadline = time.monotonic() + START_SECONDS
    if _answers_before(deadline, home, lambda: not HomeLock(home).is_held):  # it may be starting, or leaving
        _stop(home, everything=False)


def _stop(home: Home, *, everything: bool) -> None:
    server = _ask_to_stop(home, everything=everything)
    deadline = time.monotonic() + STOP_SECONDS
    while server is not None and server.is_alive:
        if time.monotonic() > deadline:
            raise Unavailable(f"The server (process {server.pid}) does not stop.", hint=_how_to_end(home))
        time.sleep(0.05)


def _start_private(home: Home) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "bedplate.control_plane", "--home", str(home.path), "--private"]
    with (home.logs / "server.log").open("ab") as log:
        return subprocess.Popen(
            argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=home.path
        )


def _comes_up(home: Home, child: subprocess.Popen[bytes], deadline: float) -> bool:
    return _answers_before(deadline, home, lambda: child.poll() is not None)


def _answers_before(deadline: float, home: Home, is_over: Callable[[], bool]) -> bool:
    """Whether a server answers before the deadline, and before there is nothing to wait for any more."""
    while time.monotonic() < deadline:
        if is_answering(home):
            return True
        if is_over():
            return is_answering(home)
        time.sleep(0.03)
    return False


def _ask_to_stop(home: Home, *, everything: bool) -> ProcessId | None:
    """The process that was asked, unless it is gone already."""
    try:
        with socket_client(home) as client:
            answer = client.post("/api/v1/server/stop", params={"everything": everything}).raise_for_status()
    except httpx.HTTPError as exc:
        raise Unavailable(
            f"The server of {str(home.path)!r} (process {_owner(home)}) could not be asked to stop: {exc}.",
            hint=_how_to_end(home),
        ) from exc
    return ProcessId.of(answer.json()["pid"])


def _is_taken(home: Home) -> bool:
    """Whether a control plane lives here, or a `bedplate serve` that is about to start one again."""
    return HomeLock(home).is_held or HomeLock(home, "serve.lock").is_held


def _owner(home: Home) -> str:
    """The process id of the control plane that holds the home."""
    return (home.run / "lock").read_text().strip() or "unknown"


def _how_to_end(home: Home) -> str:
    return (
        f"Jobs and endpoints do not need it: end it with `kill -9 {_owner(home)}`, and the next one finds them again."
    )


def _not_started(home: Home) -> Unavailable:
    file = home.logs / "server.log"
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    taken = (
        f" Process {_owner(home)} holds the home and opens no socket. {_how_to_end(home)}" if _is_taken(home) else ""
    )
    return Unavailable(
        f"The server of {str(home.path)!r} did not start: {' | '.join(map(event_of, lines[-3:])) or 'no log'}",
        hint=f"Read more in logs/server.log there.{taken}",
        code="server-not-started",
    )
