"""BEDPLATE_HOME: where everything of one server lies on disk, and the lock that lets one server own it.

registry/              models, datasets, evaluations, blobs (bedplate_registry)
jobs/<job-id>/         one folder a job (job_folder.py)
run/                   lock, sockets, the loopback token, routes.json, replicas
logs/                  control plane, gateway and replicas
derived/<digest>/      what jobs made of the model version with this manifest, to answer faster; made again if lost
bedplate.db            metadata database, mode 0600
backups/               copies of it, made before a migration
id                     which home this is, for a database outside it; mode 0600

All folders but the registry are of mode 0700, whatever that of the home is.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bedplate_registry.durable import write_bytes
from bedplate_registry.errors import Conflict, Refused

__all__ = ["Home", "HomeLock"]


@dataclass(frozen=True)
class Home:
    """The paths of one BEDPLATE_HOME."""

    path: Path

    @property
    def registry(self) -> Path:
        return self.path / "registry"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def derived(self) -> Path:
        return self.path / "derived"

    def derived_of(self, digest: str) -> Path:
        """Of the model version whose manifest has that digest. Workers only read it."""
        return self.derived / digest

    @property
    def database(self) -> Path:
        return self.path / "bedplate.db"

    @property
    def id(self) -> str:
        """Which home this is, wherever it is moved to; made at the first call, by the server that holds the lock."""
        file = self.path / "id"
        if not file.exists():
            write_bytes(file, secrets.token_hex(8).encode(), mode=0o600)
        return file.read_text().strip()

    @property
    def socket(self) -> Path:
        """Where this machine's own user talks to the control plane; the peer's uid decides."""
        return self.run / "bedplate.sock"

    @property
    def gateway_socket(self) -> Path:
        """Where the gateway passes on what came in over TCP; a key decides."""
        return self.run / "control.sock"

    @property
    def scoring_socket(self) -> Path:
        """Where this machine's own user scores without a key, and the gateway's metrics are; the gateway listens."""
        return self.run / "scoring.sock"

    @property
    def routes(self) -> Path:
        """The routing snapshot that the gateway reads."""
        return self.run / "routes.json"

    @property
    def token_file(self) -> Path:
        return self.run / "token"

    @property
    def private_folders(self) -> list[Path]:
        """What no worker sees: all of it. The folders in it are named as well, since links may lead elsewhere."""
        return [self.path, self.run, self.jobs, self.logs, self.derived, self.path / "backups"]

    def prepare(self) -> None:
        """Create what is missing. `run` is for this user alone: whoever reaches a socket in it is this user.

        So are jobs, logs and the database, and a home that we make; one that is there keeps its mode.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.registry, self.jobs, self.logs, self.derived, self.run):
                folder.mkdir(parents=True, exist_ok=True)
            for folder in self.private_folders[1:]:
                if folder.exists():
                    folder.chmod(0o700)
            if self.database.exists():  # a new one is made so (database.py)
                self.database.chmod(0o600)
        except OSError as exc:
            raise Refused(
                f"BEDPLATE_HOME {str(self.path)!r} cannot be used: {exc.strerror}.",
                hint="Set BEDPLATE_HOME to a folder that you may write to.",
            ) from exc
        if not self.token_file.exists():
            write_bytes(self.token_file, secrets.token_urlsafe(32).encode())
            self.token_file.chmod(0o600)

    def token(self) -> str | None:
        """The loopback token, or None where no server has run yet."""
        return self.token_file.read_text().strip() if self.token_file.exists() else None


class HomeLock:
    """Held for as long as its process lives; the kernel lets go when it dies.

    `lock` is held by the one control plane of a home, `serve.lock` by the `bedplate serve` that keeps it running: while
    that one lives, no private server takes the place of a control plane that is being started again.
    """

    def __init__(self, home: Home, name: str = "lock") -> None:
        self._path = home.run / name
        self._file: TextIO | None = None

    def take(self, *, patience_seconds: float = 0.0) -> None:
        """Raises Conflict, which names the process that holds it. Patience sees through a look by `is_held`."""
        file = self._path.open("a+")
        try:
            _lock(file, time.monotonic() + patience_seconds)
        except OSError as exc:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise Conflict(
                f"Another server (process {holder}) owns {str(self._path.parent.parent)!r}.",
                hint="Use it, stop it, or choose another folder with --home.",
                code="home-owned",
            ) from exc
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    @property
    def is_held(self) -> bool:
        """Whether a living process holds it."""
        try:
            self.take()
        except Conflict:
            return True
        self.release()
        return False

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: TextIO, deadline: float) -> None:
    """Raises OSError where another process still holds the lock at the deadline."""
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
