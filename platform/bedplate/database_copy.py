"""The metadata database to a file and back. The file is SQLite, whichever database the server uses.

A copy is one moment of the database, taken while a server writes to it.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bedplate.database import metadata, revisions
from bedplate.database_engine import make_engine, opening
from bedplate.migrations import HEAD
from bedplate_registry.errors import Conflict, Refused

__all__ = ["check_empty", "dump", "load"]

CHUNK_ROWS = 1000


def dump(engine: sa.Engine, copy: Path) -> None:
    """Write what the database holds to `copy`, a new file of mode 0600. Raises Refused, Unavailable."""
    copy.touch(mode=0o600, exist_ok=False)
    if engine.dialect.name == "sqlite":
        with opening(engine, "copied"), closing(sqlite3.connect(copy)) as target:
            source = engine.raw_connection()
            try:
                source.driver_connection.backup(target)  # type: ignore[union-attr]
            finally:
                source.close()
        return
    target_engine = make_engine(copy, None)
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with opening(engine, "copied"), snapshot.connect() as source_side, target_engine.begin() as target_side:
        _check_revision(source_side)
        metadata.create_all(target_side)
        _copy_rows(source_side, target_side)
    target_engine.dispose()


def check_empty(engine: sa.Engine) -> None:
    """Raises Conflict, code `not-empty`, where the database holds something already."""
    with opening(engine):
        if engine.dialect.name == "sqlite":
            taken = Path(str(engine.url.database)).exists()
        else:
            taken = bool(set(sa.inspect(engine).get_table_names()) & set(metadata.tables))
    if taken:
        hint = "Give the home an empty database of its own, or leave BEDPLATE_DATABASE_URL out."
        raise Conflict("The database to restore to holds data already.", hint=hint, code="not-empty")


def load(copy: Path, engine: sa.Engine) -> None:
    """Put what a copy holds into an empty database, as a whole or not at all. Raises Refused, Unavailable."""
    if engine.dialect.name == "sqlite":
        shutil.copyfile(copy, str(engine.url.database))
        Path(str(engine.url.database)).chmod(0o600)
        return
    source_engine = make_engine(copy, None)
    with opening(engine, "restored"), source_engine.connect() as source_side, engine.begin() as target_side:
        _check_revision(source_side)
        metadata.create_all(target_side)
        _copy_rows(source_side, target_side)
        # The numbers were given, not drawn: the sequence has to go on behind them.
        newest = "SELECT setval(pg_get_serial_sequence('jobs', 'seq'), max(seq)) FROM jobs HAVING max(seq) IS NOT NULL"
        target_side.exec_driver_sql(newest)
    source_engine.dispose()


def _check_revision(connection: sa.Connection) -> None:
    revision = connection.scalar(sa.select(revisions))
    if revision != HEAD:
        raise Refused(
            f"The database is at revision {revision!r}, and this release copies {HEAD!r}.",
            hint="Start the server of this release on it once, or use the release that it belongs to.",
            code="other-revision",
        )


def _copy_rows(source: sa.Connection, target: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        insert = table.insert().values({column.name: _parameter(column) for column in table.columns})
        for rows in _chunks(source, table):
            target.execute(insert, rows)


def _parameter(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    """What is absent stays absent, and does not become the JSON value null."""
    kind = sa.JSON(none_as_null=True) if isinstance(column.type, sa.JSON) else column.type
    return sa.bindparam(column.name, type_=kind)


def _chunks(source: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    result = source.execution_options(yield_per=CHUNK_ROWS).execute(sa.select(table))
    for rows in result.mappings().partitions(CHUNK_ROWS):
        yield [dict(row) for row in rows]
