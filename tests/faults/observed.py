"""The real database, in memory, with an observer: SQLite's own triggers report every change of a row.

Here the owner can be killed before and after every transaction, and between its statements and their commit.
In memory means: all of SQLite but its files. That a commit lasts is the business of SQLite and of tests/e2e.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bedplate.database import Database
from faults.simulated import ERRORS

if TYPE_CHECKING:
    from faults.world import World

JOB_COLUMNS = (
    "id",
    "seq",
    "state",
    "epoch",
    "priority",
    "demand",
    "lease",
    "cancel",
    "preempt",
    "waiting",
    "waiting_for",
    "archived",
    "result",
)
REPLICA_COLUMNS = ("id", "lease")
Row = Mapping[str, Any]


class ObservedDatabase(Database):
    """One for each process of the campaign; `enter` empties it for the next world."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._changes: list[tuple[str, str, Row | None, Row | None]] = []
        self._last_update: tuple[str, Any] | None = None
        super().__init__(Path(":memory:"))
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.create_function("observed", -1, self._observed)
            for table, columns in (("jobs", JOB_COLUMNS), ("replicas", REPLICA_COLUMNS)):
                for event in ("INSERT", "UPDATE", "DELETE"):
                    old = "NULL" if event == "INSERT" else ", ".join(f"old.{name}" for name in columns)
                    new = "NULL" if event == "DELETE" else ", ".join(f"new.{name}" for name in columns)
                    body = f"SELECT observed('{table}', '{event}', {old}, {new});"
                    raw.execute(f"CREATE TEMP TRIGGER see_{table}_{event} AFTER {event} ON {table} BEGIN {body} END")
        sa.event.listen(self.engine, "before_cursor_execute", self._note_update)

    def enter(self, world: World) -> None:
        self._world = None
        with super().begin() as connection:
            for table in ("jobs", "endpoints", "deployments", "replicas", "sqlite_sequence"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        self._world = world

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        world = self._world
        assert world is not None
        world.step("write", *ERRORS)
        self._changes = []
        with super().begin() as connection:
            yield connection
            changes = self._changes
            world.before_commit(changes, self._last_update)
        world.committed(changes)
        world.step("written")

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        world = self._world
        assert world is not None
        world.step("read", *ERRORS)
        found = super().rows(query)
        world.step("read")
        return found

    def land(self, update: tuple[str, Any]) -> None:
        """Do an update whose owner died while it was on its way."""
        assert self._world is not None
        self._changes = []
        with super().begin() as connection:
            connection.exec_driver_sql(*update)
        self._world.committed(self._changes)

    def _observed(self, table: str, event: str, *values: Any) -> None:
        if self._world is None:
            return
        columns = JOB_COLUMNS if table == "jobs" else REPLICA_COLUMNS
        size = len(columns)
        old = None if event == "INSERT" else dict(zip(columns, values[:size], strict=True))
        new = None if event == "DELETE" else dict(zip(columns, values[-size:], strict=True))
        self._changes.append((table, event, old, new))

    def _note_update(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("UPDATE jobs"):
            self._last_update = (statement, parameters)
