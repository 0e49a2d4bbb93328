"""Homes with many jobs in them, on SQLite and on PostgreSQL, both of which sync every commit to the disk."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # its PostgreSQL server

from calls import Execute

from bedplate.compute import Demand
from bedplate.database import Database, jobs
from bedplate.home import Home
from bedplate.settings import Settings

if TYPE_CHECKING:
    from postgres_cluster import Cluster

SYNCED = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
SYNCED |= {"autovacuum": "on"}  # as PostgreSQL comes
ONE_CORE = Demand(cores=1)
BATCH = 10_000
SPEC = {  # about as large as that of a fine-tune
    "task": "text-classification",
    "model": "sentence-transformers/all-MiniLM-L6-v2:1",
    "model_digest": "sha256:" + "5f" * 32,
    "train": {"file": "/data/tickets.csv", "format": "csv", "digest": "sha256:" + "3c" * 32, "bytes": 812_345},
    "validation": "auto",
    "test": "auto",
    "columns": {"sentence1": "text", "label": "intent"},
    "settings": {"learning_rate": 3e-5, "epochs": 4, "batch_size": 32, "warmup": 0.1, "seed": 42, "weight_decay": 0.01},
    "forecast": {"steps": 1250, "tokens_per_batch": 4096, "precision": "fp32", "evaluations": 4},
    "output": "acme/support-intent",
    "device": "cpu",
    "processes": 1,
}
RESULT = {"model": "acme/support-intent:3", "evaluation": "7d1c", "metrics": {"accuracy": 0.923, "macro_f1": 0.918}}


@dataclass(frozen=True)
class Place:
    """A home with its database, and the jobs in it."""

    home: Home
    url: str | None  # None: SQLite in the home
    size: int

    @property
    def database_name(self) -> str:
        return "sqlite" if self.url is None else "postgresql"

    @property
    def settings(self) -> Settings:
        return Settings.from_environment({"BEDPLATE_HOME": str(self.home.path), **self.variables})

    @property
    def variables(self) -> dict[str, str]:
        return {} if self.url is None else {"BEDPLATE_DATABASE_URL": self.url}

    @contextmanager
    def database(self) -> Iterator[Database]:
        opened = Database(self.home.database, self.url)
        yield opened
        opened.close()

    @contextmanager
    def bare(self) -> Iterator[Execute]:
        """A connection by the bare driver, with the same promise to be durable."""
        if self.url is None:
            with closing(sqlite3.connect(self.home.database, isolation_level=None, check_same_thread=False)) as lite:
                lite.execute("PRAGMA busy_timeout=10000")
                lite.execute("PRAGMA synchronous=FULL")
                yield lambda statement, values: lite.execute(statement, values).fetchall()
            return
        import psycopg

        with closing(psycopg.connect(self.url, autocommit=True)) as connection:

            def execute(statement: str, values: Any) -> None:
                cursor = connection.execute(statement, values, prepare=True)
                if cursor.description is not None:
                    cursor.fetchall()

            yield execute


class Places:
    """Makes homes on one kind of database."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self._folder, self._cluster, self._numbers = folder, cluster, itertools.count()

    @property
    def database(self) -> str:
        return "sqlite" if self._cluster is None else "postgresql"

    @property
    def version(self) -> str | None:
        """Of PostgreSQL."""
        if self._cluster is None:
            return None
        import psycopg

        with psycopg.connect(self._cluster.url("postgres")) as connection:
            return str(connection.info.parameter_status("server_version"))

    @contextmanager
    def filled(self, size: int, *, queued: int) -> Iterator[Place]:
        """A home with so many jobs, of which the newest `queued` wait."""
        home = Home(self._folder / f"{self.database}{next(self._numbers)}")
        home.prepare()
        place = Place(home, None if self._cluster is None else self._cluster.create_database(), size)
        with place.database() as database, database.begin() as connection:
            for start in range(0, size, BATCH):
                numbers = range(start, min(start + BATCH, size))
                connection.execute(jobs.insert(), [_job(number, number >= size - queued) for number in numbers])
        if self._cluster is not None:
            assert place.url is not None
            # What autovacuum does within a minute of work.
            self._cluster.execute("VACUUM ANALYZE", place.url.split("/")[3].split("?")[0])
        yield place
        shutil.rmtree(home.path)
        if self._cluster is not None:
            assert place.url is not None
            self._cluster.drop_database(place.url)


ENDED = ("succeeded", "failed", "succeeded", "succeeded", "cancelled", "succeeded", "failed", *["succeeded"] * 3)


def _job(number: int, is_queued: bool) -> dict[str, Any]:
    """Of ten that have ended seven succeeded, two failed, one was cancelled; one is archived. Each 1000th is rare."""
    state = "queued" if is_queued else ENDED[number % 10]
    has_ended = state != "queued"
    created = 1_790_000_000.0 + number
    return {
        "id": job_id(number),
        "kind": "evaluate" if has_ended and number % 1000 == 0 else "light",
        "state": state,
        "spec": SPEC,
        "demand": ONE_CORE.to_json(),
        "owner": "local",
        "epoch": int(has_ended),
        "created": created,
        "started": created + 1 if has_ended else None,
        "finished": created + 100 if has_ended else None,
        "archived": created + 200 if has_ended and number % 10 == 9 else None,
        "result": RESULT if state == "succeeded" else None,
        "error": {"code": "worker-died", "message": "It died.", "hint": ""} if state == "failed" else None,
    }


def job_id(number: int) -> str:
    return f"light-{number:08x}"


@contextmanager
def postgres() -> Iterator[Cluster | str]:
    """A server of our own that syncs; or why there is none."""
    try:
        import postgres_cluster
    except ImportError as exc:
        yield f"{exc.name} is not installed"
        return
    binaries = postgres_cluster.find_binaries()
    if binaries is None:
        yield "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        return
    postgres_cluster.SETTINGS.update(SYNCED)
    cluster = postgres_cluster.Cluster(binaries)
    try:
        yield cluster
    finally:
        cluster.remove()
