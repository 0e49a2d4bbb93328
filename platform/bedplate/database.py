"""The metadata database: jobs, endpoints and their replicas, users, keys, sessions, the audit log (SQLAlchemy Core).

SQLite in the home by default, PostgreSQL by BEDPLATE_DATABASE_URL. Opening it brings it to the schema below: a new one
is made at once, an older one goes through `migrations/`, a newer one is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import sqlalchemy as sa

from bedplate.database_engine import WAL_IS_SAFE, answering, make_engine, opening
from bedplate.migrations import HEAD, REVISIONS
from bedplate_registry.errors import Conflict, Refused

__all__ = [
    "WAL_IS_SAFE",
    "Database",
    "audit",
    "deployments",
    "endpoints",
    "jobs",
    "keys",
    "replicas",
    "sessions",
    "users",
]

# One advisory lock of PostgreSQL, in the database it guards: the bytes of "bedplate" as a number.
OWNER_LOCK = int.from_bytes(b"bedplate", "big")
PATIENCE_SECONDS = 5.0  # a server that was killed a moment ago is still leaving

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),  # the order of submission, whatever clocks say
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, default=0),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("demand", sa.JSON, nullable=False),
    sa.Column("preemptible", sa.Boolean, nullable=False, default=False),
    sa.Column("client_key", sa.String),
    sa.Column("parent", sa.String, index=True),
    sa.Column("owner", sa.String, nullable=False, default=""),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Column("deaths", sa.Integer, nullable=False, default=0),
    sa.Column("fresh", sa.Boolean, nullable=False, default=False),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
    sa.Column("preempt", sa.Boolean, nullable=False, default=False),
    sa.Column("lease", sa.JSON),
    sa.Column("leased", sa.Float),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("archived", sa.Float),
    sa.Column("waiting", sa.String),
    sa.Column("waiting_for", sa.String),
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.JSON),
    sa.Column("fingerprint", sa.String),  # of the request that its client key came with
    sa.Column("request_id", sa.String),  # of the call that submitted it
    sa.UniqueConstraint("owner", "client_key", name="uq_jobs_owner_client_key"),
    sa.Index("ix_jobs_queue", "state", sa.desc("priority"), "seq"),
    sa.Index("ix_jobs_state", "state", "seq"),  # lists of one state or kind, newest first
    sa.Index("ix_jobs_kind", "kind", "seq"),
    sqlite_autoincrement=True,
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("kind", sa.String, nullable=False, server_default="real-time"),  # or batch
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),  # counts the changes of what is wished
    sa.Column("owner", sa.String, nullable=False, server_default="local"),
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("instances", sa.Integer, nullable=False),
    sa.Column("device", sa.String, nullable=False),
    sa.Column("traffic", sa.Integer, nullable=False),
    sa.Column("demand", sa.JSON, nullable=False),
    sa.Column("waiting", sa.String),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("error", sa.JSON),
    sa.Column("sample", sa.JSON(none_as_null=True)),  # {"request", "answer"}: what its replicas are tried with
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("endpoint", sa.String, nullable=False),
    sa.Column("deployment", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("lease", sa.JSON),
    sa.Column("leased", sa.Float),
    sa.Column("created", sa.Float, nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("created", sa.Float, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False, index=True),
    sa.Column("sha256", sa.String, nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("endpoints", sa.JSON(none_as_null=True)),  # it scores at these and does nothing else; null: no such limit
    sa.Column("slot", sa.String),  # primary or secondary: the endpoint's own key
    sa.Column("rate", sa.Float),
    sa.Column("concurrency", sa.Integer),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float),
    sa.Column("revoked", sa.Float),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),  # of what the browser's cookie holds
    sa.Column("owner", sa.String, nullable=False, index=True),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),  # from 1, without a gap
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("who", sa.String, nullable=False, index=True),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("previous", sa.String, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
)

home = sa.Table(  # one row: the home that a PostgreSQL database belongs to
    "home",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
)

revisions = sa.Table(  # Alembic's own table, as Alembic makes it
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

OLDEST = frozenset({"jobs", "endpoints", "deployments", "replicas", "keys"})  # the tables of 0001


class Database:
    """One engine; `begin()` gives a transaction that commits at the end of the block.

    On SQLite one transaction writes at a time. On PostgreSQL they run side by side (READ COMMITTED): what was read
    there may have changed by the time of the write, so a move states in its WHERE what it relies on.
    """

    def __init__(self, path: Path, url: str | None = None, *, home_id: str | None = None) -> None:
        """SQLite at `path`, or what `url` names. `home_id` is whose database a PostgreSQL one has to be.

        Raises Refused (code `database`: the URL; `newer-database`; `database-of-another-home`), Conflict
        (`database-owned`: it is to be migrated while another server works on it) and Unavailable (`database`).
        """
        self.engine = make_engine(path, url)
        self._is_shared = self.engine.dialect.name == "postgresql"  # reached by other homes and machines too
        # A read is one statement: it needs no transaction on PostgreSQL, and never the write lock on SQLite.
        self._reader = self.engine.execution_options(
            **({"isolation_level": "AUTOCOMMIT"} if self._is_shared else {"bedplate_reads": True})
        )
        # SQLite has writers try again after a while, and the unlucky ones for seconds; our own threads take turns.
        self._turn: AbstractContextManager[Any] = nullcontext() if self._is_shared else Lock()
        self._owning: sa.Connection | None = None
        try:
            with opening(self.engine):
                if self.engine.dialect.name == "sqlite" and self.engine.url.database != ":memory:":
                    _make_private(Path(str(self.engine.url.database)))
                self._open(home_id if self._is_shared else None)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with self._turn, answering(self.engine), self.engine.begin() as connection:
            yield connection

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with answering(self.engine), self._reader.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, query: sa.Select[Any]) -> dict[str, Any] | None:
        found = self.rows(query)
        return found[0] if found else None

    def hold(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Be the one server of this database until `close`. Raises Conflict, `database-owned`, where another one is.

        It matters on PostgreSQL only: SQLite lies in the home, which has a lock. The lock goes with its connection, so
        call this now and then: it takes the lock again where the database was restarted, and else asks it one thing.
        """
        if not self._is_shared or self._is_held():
            return
        with answering(self.engine):
            connection = self._reader.connect()
            try:
                connection.detach()  # never goes back to the pool: its end is the end of the lock
                _take_ownership(connection, sa.func.pg_try_advisory_lock, patience_seconds)
                for setting, value in (("idle", 30), ("interval", 10), ("count", 3)):  # a machine that vanished: 1 min
                    connection.exec_driver_sql(f"SET tcp_keepalives_{setting} = {value}")
            except BaseException:
                connection.close()
                raise
        self._owning = connection

    def close(self) -> None:
        self._let_go()
        self.engine.dispose()

    def _is_held(self) -> bool:
        if self._owning is None:
            return False
        try:
            self._owning.exec_driver_sql("SELECT 1")
        except sa.exc.DBAPIError:
            self._let_go()
            return False
        return True

    def _let_go(self) -> None:
        if self._owning is not None:
            self._owning.close()
            self._owning = None

    # --- opening ---

    def _open(self, home_id: str | None) -> None:
        with self._reader.connect() as connection:
            if _Found.on(connection, home_id).is_ready:
                return
        with self.engine.begin() as connection:
            if self._is_shared:
                _take_ownership(connection, sa.func.pg_try_advisory_xact_lock, PATIENCE_SECONDS)
            found = _Found.on(connection, home_id)  # again: another process may have been faster
            if found.revision is None:
                metadata.create_all(connection)
                connection.execute(revisions.insert().values(version_num=HEAD))
            elif found.revision != HEAD:
                _migrate(connection, found)
            if home_id is not None and found.owner is None:
                connection.execute(home.insert().values(id=home_id))


def _make_private(file: Path) -> None:
    """A new database is for its user alone, as are its journals, which SQLite gives the same mode."""
    with suppress(OSError):  # SQLite says what is wrong with the place
        file.touch(mode=0o600)


@dataclass(frozen=True)
class _Found:
    """What a database is before it is opened."""

    tables: frozenset[str]  # ours
    revision: str | None  # None: it is new
    owner: str | None
    is_ready: bool

    @classmethod
    def on(cls, connection: sa.Connection, home_id: str | None) -> _Found:
        """Raises Refused for a database that this release, or this home, must not touch."""
        tables = frozenset(sa.inspect(connection).get_table_names()) & metadata.tables.keys()
        stamped = connection.scalar(sa.select(revisions)) if revisions.name in tables else None
        revision = stamped or (_unstamped(tables) if OLDEST & tables else None)
        if revision is not None and revision not in REVISIONS:
            raise Refused(
                f"The metadata database is at revision {revision!r}; this release knows {HEAD!r} and older ones.",
                hint="A newer release made it: use that one, or restore the backup that it made before its migration.",
                code="newer-database",
            )
        owner = connection.scalar(sa.select(home)) if home.name in tables else None
        if None not in (owner, home_id) and owner != home_id:
            raise Refused(
                f"The database of BEDPLATE_DATABASE_URL belongs to another home ({owner}; this one is {home_id}).",
                hint="Use that BEDPLATE_HOME, or give this home an empty database of its own. Where the other home is "
                f"gone for good, write {owner} into the file `id` of this one.",
                code="database-of-another-home",
            )
        return cls(tables, revision, owner, revision == HEAD and (home_id is None or owner is not None))


def _unstamped(tables: frozenset[str]) -> str:
    """Release 0.1.0 made all its tables at once and named no revision."""
    if not tables >= OLDEST:
        raise Refused(
            f"The database holds tables of another program: {', '.join(sorted(tables))}.",
            hint="Give Bedplate a database of its own.",
            code="database",
        )
    return REVISIONS[0]


def _migrate(connection: sa.Connection, found: _Found) -> None:
    from bedplate.migrations.upgrade import upgrade  # here, because few starts need it and it takes 0.2 s

    assert found.revision is not None
    what = f"brought from revision {found.revision} to {HEAD}, and is as it was"
    with opening(connection.engine, what, hint="Go on with the earlier release, and report what it says here."):
        upgrade(connection, found.revision, found.tables, is_stamped=revisions.name in found.tables)


def _take_ownership(connection: sa.Connection, function: Any, patience_seconds: float) -> None:
    """Take the advisory lock by `function`; Conflict where another server keeps it beyond our patience."""
    deadline = time.monotonic() + patience_seconds
    key = sa.literal(OWNER_LOCK, sa.BigInteger)
    while not connection.scalar(sa.select(function(key))):
        if time.monotonic() >= deadline:
            raise Conflict(
                f"Another server works on this database{_owner_name(connection)}.",
                hint="Stop it, or give this home a database of its own by BEDPLATE_DATABASE_URL.",
                code="database-owned",
            )
        time.sleep(0.05)


def _owner_name(connection: sa.Connection) -> str:
    """Who holds the lock, as it calls itself; empty where PostgreSQL does not tell."""
    query = sa.text(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
        "AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (l.classid::bigint << 32) + l.objid::bigint = :key"
    )
    name = connection.scalar(query, {"key": OWNER_LOCK})
    return f" ({name})" if name else ""
