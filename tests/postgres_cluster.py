"""A PostgreSQL server of our own for tests: in a short folder of its own, on a Unix socket, without TCP or fsync."""

from __future__ import annotations

import functools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from bedplate.processes import die_with_parent
from harness import wait_for

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}
# The user `guarded` has to show a password; all others are let in: the folder is for this user alone.
RULES = "local all guarded scram-sha-256\nlocal all all trust\n"


def find_binaries() -> Path | None:
    """The folder with initdb and postgres: Debian keeps it out of the PATH."""
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    if shutil.which("pg_config"):
        asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(asked.stdout.strip()))
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


class Cluster:
    """One server. PostgreSQL refuses to run as root, so there it runs as `nobody`."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="bp-pg-", dir="/tmp"))
        self._user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        self._data = self.folder / "data"
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8")
        (self._data / "pg_hba.conf").write_text(RULES)
        self.start()

    def start(self) -> None:
        options = [argument for name, value in SETTINGS.items() for argument in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-k", self.folder, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self._user,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        wait_for(self._answers, seconds=60)

    def stop(self) -> None:
        """All sessions are cut off at once."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(timeout=20)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.split('/')[3].split('?')[0]} WITH (FORCE)")

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            assert self._server.poll() is None, (self.folder / "log").read_text(errors="replace")
            return False
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._binaries / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, user=self._user)
