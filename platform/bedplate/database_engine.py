"""The engine under the metadata database: SQLite at a path, or what BEDPLATE_DATABASE_URL names; what its errors mean.

A password never leaves the URL: no message and no log line holds it, and statements are reported without their values.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from bedplate_registry.errors import Refused, Unavailable

__all__ = ["WAL_IS_SAFE", "answering", "make_engine", "opening"]

log = logging.getLogger(__name__)

WAL_IS_SAFE = (3, 51, 3)  # before it, WAL mode can lose committed pages where several connections write
BUSY_SECONDS = 10  # how long SQLite waits for another writer, PostgreSQL for a connection, and we for a free one
ACCEPTED = (
    "Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or leave it out: then SQLite in BEDPLATE_HOME is used."
)
SQLITE_HINT = "Check that BEDPLATE_HOME can be written and its disk has room."
POSTGRESQL_HINT = "Check in BEDPLATE_DATABASE_URL host, port, database, user and password, and that the server runs."
# A server that vanished without a word is given up after a minute; on a Unix socket these mean nothing.
CONNECT_OPTIONS = {
    "connect_timeout": BUSY_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
POSTGRESQL = ("postgresql", "postgresql+psycopg")


def make_engine(path: Path, url: str | None) -> sa.Engine:
    """Connects to nothing yet. Raises Refused for a URL that is not accepted and for a driver that is not installed."""
    parsed = sa.URL.create("sqlite", database=str(path)) if url is None else _parse(url)
    return _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)


@contextmanager
def opening(engine: sa.Engine, what: str = "opened", hint: str = "") -> Iterator[None]:
    """Errors of opening the database, for the terminal: what the database itself said, and where to look."""
    try:
        yield
    except sa.exc.SQLAlchemyError as exc:
        raise Unavailable(
            f"The metadata database cannot be {what}: {_said(engine, exc)}.",
            hint=hint or (SQLITE_HINT if engine.dialect.name == "sqlite" else POSTGRESQL_HINT),
            code="database",
        ) from exc


@contextmanager
def answering(engine: sa.Engine) -> Iterator[None]:
    """Errors of a database at work, for a caller over the network: the details are in the log."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as exc:
        log.warning("the metadata database: %s", _said(engine, exc))
        raise Unavailable(
            "The metadata database did not answer.",
            hint="Try again; where it lasts, logs/server.log of BEDPLATE_HOME says what the database said.",
            code="database",
        ) from exc


def _said(engine: sa.Engine, exc: sa.exc.SQLAlchemyError) -> str:
    """The first line of what the driver said, which names host, user or table."""
    cause = exc.orig if isinstance(exc, sa.exc.DBAPIError) and exc.orig is not None else exc
    line = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    password = engine.url.password
    return (line.replace(str(password), "***") if password else line).rstrip(".")


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in f"{parsed.host}{parsed.database}":  # a bare @ or / cuts the password in the middle
        raise Refused(
            "BEDPLATE_DATABASE_URL is not a URL that can be read.",
            hint=f"{ACCEPTED} In user and password write @ as %40, : as %3A, / as %2F and % as %25.",
            code="database",
        ) from None
    if parsed.drivername in POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    what = "SQLite without a file" if parsed.drivername == "sqlite" else f"A database of the kind {parsed.drivername!r}"
    raise Refused(f"{what} is not accepted in BEDPLATE_DATABASE_URL.", hint=ACCEPTED, code="database")


def _postgresql(url: sa.URL) -> sa.Engine:
    options = CONNECT_OPTIONS | {"application_name": f"bedplate, process {os.getpid()} on {socket.gethostname()}"[:63]}
    try:
        return sa.create_engine(
            url,
            connect_args={name: value for name, value in options.items() if name not in url.query},
            pool_pre_ping=True,  # a connection that a restarted server has dropped is made anew
            pool_size=5,
            max_overflow=5,
            pool_timeout=BUSY_SECONDS,
            hide_parameters=True,
        )
    except ImportError as exc:
        raise Refused(
            "BEDPLATE_DATABASE_URL names PostgreSQL, and its driver, psycopg, is not installed.",
            hint="Install it with: pip install 'bedplate[postgres]'",
            code="database",
        ) from exc


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN (below) is the only one
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    wal = sqlite3.sqlite_version_info >= WAL_IS_SAFE
    connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    """A writer takes the write lock at the start: no transaction fails half way for want of it. A reader takes none."""
    reads = connection.get_execution_options().get("bedplate_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
