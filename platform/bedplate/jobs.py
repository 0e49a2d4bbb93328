"""Jobs: rows in the database, moved along one table of legal moves by one conditional update.

    queued ──► running ──► succeeded
      │  ▲        │ ├────► failed ────┐
      │  │        │ └────► cancelled ─┤
      │  └────────┘ (its worker died) │
      │  └────────────────────────────┘ (resume)
      └──► cancelled

The epoch counts the attempts. What an attempt writes is believed only while its epoch is the job's.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database
from bedplate.database import jobs as table
from bedplate_registry.errors import Conflict, NotFound

__all__ = ["FINAL", "LEGAL_MOVES", "Job", "JobStore"]

LEGAL_MOVES: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "queued"}),
    "failed": frozenset({"queued"}),
    "cancelled": frozenset({"queued"}),
    "succeeded": frozenset(),
}
FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since 1970, UTC."""

    id: str
    kind: str
    state: str
    spec: dict[str, Any]
    client_key: str | None
    epoch: int
    deaths: int
    cancel: bool
    created: float
    started: float | None
    finished: float | None
    waiting: str | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    owner: str | None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


class JobStore:
    """All reading and writing of job rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, kind: str, spec: dict[str, Any], *, client_key: str | None = None, owner: str = "") -> Job:
        """A new queued job, or the one this client key already made."""
        job_id = f"{kind}-{secrets.token_hex(4)}"
        values = {
            "id": job_id,
            "kind": kind,
            "state": "queued",
            "spec": spec,
            "client_key": client_key,
            "created": time.time(),
            "owner": owner,
        }
        with self._database.begin() as connection:
            if client_key is not None:
                same = connection.execute(sa.select(table).where(table.c.client_key == client_key)).mappings().first()
                if same is not None:
                    return Job(**same)
            connection.execute(table.insert().values(**values))
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        row = self._database.row(sa.select(table).where(table.c.id == job_id))
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.", hint="List them with: bedplate jobs list")
        return Job(**row)

    def find(self, *, kind: str | None = None, state: str | None = None, limit: int = 100) -> list[Job]:
        """Newest first."""
        query = sa.select(table).order_by(table.c.created.desc()).limit(limit)
        if kind:
            query = query.where(table.c.kind == kind)
        if state:
            query = query.where(table.c.state == state)
        return [Job(**row) for row in self._database.rows(query)]

    def queue(self) -> list[Job]:
        """Queued jobs, the next one first."""
        query = sa.select(table).where(table.c.state == "queued").order_by(table.c.created)
        return [Job(**row) for row in self._database.rows(query)]

    def running(self) -> list[Job]:
        return [Job(**row) for row in self._database.rows(sa.select(table).where(table.c.state == "running"))]

    def move(self, job: Job, state: str, **values: Any) -> bool:
        """Move the job if it is still in the state and epoch that `job` shows; says whether it was."""
        if state not in LEGAL_MOVES[job.state]:
            raise Conflict(f"Job {job.id} is {job.state}: it cannot become {state}.", code="illegal-move")
        update = (
            table.update()
            .where(table.c.id == job.id, table.c.state == job.state, table.c.epoch == job.epoch)
            .values(state=state, **values)
        )
        with self._database.begin() as connection:
            return connection.execute(update).rowcount == 1

    def note_waiting(self, job: Job, why: str | None) -> None:
        if job.waiting != why:
            with self._database.begin() as connection:
                connection.execute(table.update().where(table.c.id == job.id).values(waiting=why))

    def ask_cancel(self, job_id: str) -> Job:
        """Cancel at once what is queued; ask the scheduler to stop what is running. A final job is refused."""
        job = self.get(job_id)
        if job.is_final:
            raise Conflict(f"Job {job_id} is already {job.state}.", hint="There is nothing to cancel.")
        if job.state == "queued" and self.move(job, "cancelled", finished=time.time(), waiting=None):
            return self.get(job_id)
        with self._database.begin() as connection:
            connection.execute(table.update().where(table.c.id == job_id).values(cancel=True))
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
        job = self.get(job_id)
        if job.state not in ("failed", "cancelled"):
            raise Conflict(f"Job {job_id} is {job.state}.", hint="Only a failed or cancelled job can be resumed.")
        self.move(job, "queued", cancel=False, deaths=0, error=None, finished=None)
        return self.get(job_id)
