"""Helpers of the end-to-end tests: homes, real servers, the real program, processes by name, messages of our own."""

from __future__ import annotations

import csv
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bedplate.home import Home
from bedplate.server_process import stop_running
from bedplate_registry.errors import BedplateError
from canary import check_no_secrets


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def bedplate_home(registry: Path | None = None) -> Iterator[Path]:
    """A BEDPLATE_HOME, with a copy of a registry; whatever still runs for it at the end is stopped."""
    home = Path(tempfile.mkdtemp(prefix="bp"))
    if registry is not None:
        shutil.copytree(registry, home / "registry", symlinks=True)
    try:
        yield home
    finally:
        with suppress(BedplateError):  # a frozen server, for one
            stop_running(Home(home), everything=bool(processes_of(home, "")))
        kill_all_of(home)
        try:
            check_no_secrets(home)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def kill_all_of(home: Path) -> None:
    """SIGKILL every process whose command line names this home."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(home) in (entry / "cmdline").read_text().replace("\0", " "):
                os.kill(int(entry.name), 9)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def processes_of(home: Path, part: str) -> list[int]:
    """Pids of the living processes of a home whose command line has `part`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdecimal():
                continue
            line = (entry / "cmdline").read_text().replace("\0", " ")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(home) in line and part in line and state not in "ZX":
            found.append(int(entry.name))
    return found


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "BEDPLATE_HOME": str(home), **more}


def run_cli(
    *arguments: str, home: Path, check: bool = True, seconds: float = 280, **env: str
) -> subprocess.CompletedProcess[str]:
    """The real program in a real process."""
    done = subprocess.run(
        [sys.executable, "-c", "from bedplate.cli import main; main()", *arguments],
        env=environment(home, **env),
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr + done.stdout
    return done


def wait_for(what: Callable[[], object], *, seconds: float = 60.0, every_seconds: float = 0.05) -> None:
    """Until `what()` is true; fails when it does not become so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return
        time.sleep(every_seconds)
    raise AssertionError(f"it did not happen within {seconds} s")


@contextmanager
def serving(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`bedplate serve` in a process of its own, ready when this begins."""
    process = start_serve(home, port)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_serve(home: Path, port: int, **env: str) -> subprocess.Popen[bytes]:
    code = "from bedplate.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", str(port)],
        env=environment(home, BEDPLATE_PORT=str(port), **env),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert "Bedplate serves" in line, line
    process.stdout.close()
    return process


TOPICS = {
    "card": ("my card is lost", "the card does not work", "when does my new card come", "the card was stolen"),
    "login": ("i cannot log in", "the password is wrong", "my login does not work", "reset the password"),
    "refund": ("i want my money back", "where is my refund", "please refund the order", "the refund is too small"),
}


def write_messages(path: Path, rows: int, seed: int = 0) -> Path:
    """A CSV of easy messages of our own: columns id, text, intent; texts are not repeated."""
    rng = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "intent"])
        for number in range(rows):
            intent = rng.choice(list(TOPICS))
            writer.writerow([number, f"{rng.choice(TOPICS[intent])} {rng.randrange(10**6)}", intent])
    return path
