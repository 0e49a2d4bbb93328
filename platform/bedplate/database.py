"""The metadata database: jobs, endpoints, deployments, replicas and keys, in SQLAlchemy Core.

SQLite by default. Before 3.51.3 its WAL mode can lose committed pages with several connections, so such a version
runs on the rollback journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = ["Database", "deployments", "endpoints", "jobs", "keys", "replicas"]

WAL_IS_SAFE = (3, 51, 3)

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("client_key", sa.String, unique=True),
    sa.Column("epoch", sa.Integer, nullable=False, default=0),
    sa.Column("deaths", sa.Integer, nullable=False, default=0),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("waiting", sa.String),
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.JSON),
    sa.Column("owner", sa.String),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
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
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("error", sa.JSON),
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("endpoint", sa.String, nullable=False),
    sa.Column("deployment", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("endpoint", sa.String),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float),
    sa.Column("revoked", sa.Float),
)


class Database:
    """One engine; `begin()` gives a transaction that commits at the end of the block."""

    def __init__(self, path: Path, url: str | None = None) -> None:
        self.engine = sa.create_engine(url or f"sqlite:///{path}")
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_immediate)
        metadata.create_all(self.engine)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with self.engine.begin() as connection:
            yield connection

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self.engine.begin() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, query: sa.Select[Any]) -> dict[str, Any] | None:
        found = self.rows(query)
        return found[0] if found else None

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN (below) is the only one
    wal = sqlite3.sqlite_version_info >= WAL_IS_SAFE
    connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA busy_timeout=10000")


def _begin_immediate(connection: sa.Connection) -> None:
    """Take the write lock at the start, so that no transaction fails half way for want of it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
