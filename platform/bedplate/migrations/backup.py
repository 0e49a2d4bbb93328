"""The copy of a database that is made before a migration.

SQLite       backups/bedplate-<revision>-<UTC time>.db beside the database, mode 0600
PostgreSQL   the schema bedplate_backup_<revision>_<UTC time>, made in the migration's own transaction
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from bedplate_registry import durable
from bedplate_registry.errors import Unavailable

__all__ = ["backed_up"]


@contextmanager
def backed_up(connection: sa.Connection, revision: str, tables: Iterable[str]) -> Iterator[str]:
    """Gives the place of the copy. Where the block fails nothing was changed, and the copy is taken away again.

    `connection` is in a transaction that keeps other writers out. Raises Unavailable where the copy cannot be made.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if connection.dialect.name != "sqlite":
        yield _copy_tables(connection, f"bedplate_backup_{revision}_{moment.lower()}", tables)
        return
    database = Path(str(connection.engine.url.database))
    copy = database.parent / "backups" / f"bedplate-{revision}-{moment}.db"
    _copy_file(database, copy)
    try:
        yield str(copy)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _copy_tables(connection: sa.Connection, schema: str, tables: Iterable[str]) -> str:
    connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    for table in sorted(tables):  # names of our own tables, not anyone's input
        # Without defaults: one that counts would hold the table's own sequence, and so the table, in place.
        connection.exec_driver_sql(f"CREATE TABLE {schema}.{table} (LIKE {table} INCLUDING ALL EXCLUDING DEFAULTS)")
        connection.exec_driver_sql(f"INSERT INTO {schema}.{table} SELECT * FROM {table}")  # noqa: S608
    return f"schema {schema}"


def _copy_file(database: Path, copy: Path) -> None:
    temp = durable.temp_beside(copy)
    try:
        durable.make_folder(copy.parent)
        os.close(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(temp)) as target:
            source.backup(target)
        durable.flush(temp)
        durable.rename(temp, copy)
    except (sqlite3.Error, OSError) as exc:
        raise Unavailable(
            f"The metadata database could not be copied before its migration: {exc}.",
            hint="Nothing was changed. Make room on the disk that holds BEDPLATE_HOME, then start again.",
            code="database",
        ) from exc
    finally:
        temp.unlink(missing_ok=True)
