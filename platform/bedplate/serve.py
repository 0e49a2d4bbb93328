"""`bedplate serve`: keeps a control plane running for a home, and says where it is.

This process is small on purpose: it starts the control plane, starts it again when it dies, and at the end stops it
and the gateway. Jobs and replicas outlive all of them and are found again by the next one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import httpx

from bedplate.gateway_process import Address, GatewayProcess
from bedplate.home import Home, HomeLock
from bedplate.server_process import HOME_OWNED, make_room, socket_client, wait_until_answering
from bedplate_registry.errors import Refused, Unavailable
from bedplate_serving.open_files import raise_limit
from bedplate_serving.tls import load_pair
from bedplate_serving.unix_sockets import is_listening

__all__ = ["check_address", "serve"]

RESTART_SECONDS = 0.5
READY_SECONDS = 30.0
LEAVE_SECONDS = 15.0  # to answer the calls it is busy with, and to finish its round


def check_address(address: Address) -> None:
    """Refuse to open a port to other machines without protection, or with a certificate that cannot be used."""
    if (address.tls_cert is None) != (address.tls_key is None):
        raise Refused("A certificate and its key go together.", hint="Name both: --tls-cert and --tls-key.")
    if address.tls_cert is not None and address.tls_key is not None:
        load_pair(Path(address.tls_cert), Path(address.tls_key))
    elif not address.is_loopback and not address.behind_proxy:
        raise Refused(
            f"{address.host} can be reached from other machines, and this server would speak plain HTTP.",
            hint="Give it --tls-cert and --tls-key, or put a TLS proxy before it and add --behind-proxy, "
            "or use --host 127.0.0.1.",
            code="needs-tls",
        )


def serve(home_path: Path, address: Address) -> int:
    """Run until SIGTERM or SIGINT. A private server of this home is asked to make room; its jobs go on."""
    check_address(address)
    raise_limit()  # of the control plane, which answers what the gateway lets in
    home = Home(home_path)
    home.prepare()
    gateway = GatewayProcess(home)
    keeper = HomeLock(home, "serve.lock")
    keeper.take(patience_seconds=1.0)
    make_room(home)
    if gateway.address != address:
        _await_free(gateway, address)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopping.append(number))
    child = _start(home, address)
    if not _announce(home, address, child):
        gateway.stop()
        return 1
    while not stopping:
        if child.poll() is not None:
            if child.returncode == 0:
                break  # asked to stop over REST
            _say(sys.stderr, f"The control plane ended ({child.returncode}); starting it again.")
            time.sleep(RESTART_SECONDS)
            if child.returncode == HOME_OWNED:
                make_room(home)  # a private server was faster
            child = _start(home, address)
        time.sleep(0.1)
    _end(child)
    gateway.stop()
    keeper.release()
    return 0


def _await_free(gateway: GatewayProcess, address: Address) -> None:
    """The gateway of a private server leaves its port; anything else that holds ours is an error."""
    gateway.stop()
    deadline = time.monotonic() + 5
    while gateway.address is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    address.check_free()


def _start(home: Home, address: Address) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "bedplate.control_plane", "--home", str(home.path), "--parent", str(os.getpid())]
    argv += address.to_arguments()
    log = (home.logs / "server.log").open("ab")
    return subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _end(child: subprocess.Popen[bytes]) -> None:
    """One that is frozen does not leave when it is asked to."""
    child.terminate()
    try:
        child.wait(timeout=LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _announce(home: Home, address: Address, child: subprocess.Popen[bytes]) -> bool:
    try:
        wait_until_answering(home, child, READY_SECONDS)
        _await_gateway(home, address)
    except Unavailable as exc:
        _say(sys.stderr, f"{exc.message} {exc.hint}")
        child.terminate()
        return False
    how = f"token in {home.token_file}" if address.takes_token else "keys open it: bedplate keys create"
    place = f"Bedplate serves {home.path} at {address.url} ({how})"
    _say(sys.stdout, f"{place}\n{_how_to_sign_in(home)}")
    return True


def _say(stream: TextIO, text: str) -> None:
    """In one write. Whoever started this server may have stopped listening to it: it serves on."""
    with suppress(BrokenPipeError):
        os.write(stream.fileno(), f"{text}\n".encode())


def _how_to_sign_in(home: Home) -> str:
    """A browser of this machine's user. Only a terminal is shown the link itself: a log would keep it."""
    if sys.stdout.isatty():
        with suppress(httpx.HTTPError), socket_client(home) as client:
            made = client.post("/api/v1/session/links", json={}).raise_for_status().json()
            return f"Sign a browser in, once and within ten minutes: {made['url']}"
    return f"Sign a browser in with: bedplate users link --home {home.path}"


def _await_gateway(home: Home, address: Address) -> None:
    """Until it listens: its own socket is there once its port is open, and asks for no certificate."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if GatewayProcess(home).address == address and is_listening(home.scoring_socket):
            return
        time.sleep(0.05)
    raise Unavailable(f"The gateway did not open {address.url}.", hint="Its log is logs/gateway.log in BEDPLATE_HOME.")
