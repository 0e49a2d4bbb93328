"""Jobs: rows in the database, moved along one table of legal moves by one conditional update.

    queued ──► running ──► succeeded
      │  ▲        │ ├────► failed ────┐
      │  │        │ └────► cancelled ─┤
      │  └────────┘ (its worker died, │
      │  ▲          or made room)     │
      │  └────────────────────────────┘ (resume, retry)
      └──► cancelled

The epoch counts the attempts. What an attempt writes is believed only while its epoch is the job's. Jobs are ordered by
`seq`, the order of submission: clocks are for showing only, so a stepped one changes nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bedplate.compute import Demand, Lease
from bedplate.database import Database
from bedplate.database import jobs as table
from bedplate_registry.errors import Conflict, NotFound, Refused

__all__ = ["FINAL", "LEGAL_MOVES", "PRIORITIES", "Job", "JobStore"]

LEGAL_MOVES: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "queued"}),
    "failed": frozenset({"queued"}),
    "cancelled": frozenset({"queued"}),
    "succeeded": frozenset(),
}
FINAL = frozenset({"succeeded", "failed", "cancelled"})
PRIORITIES = range(-100, 101)
TRIES = 5  # at an id: among 100,000 jobs two of 32 random bits are the same with a chance of two in three


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since 1970, UTC."""

    seq: int  # the order of submission
    id: str
    kind: str
    state: str
    priority: int  # the higher, the sooner
    spec: dict[str, Any]
    demand: Demand
    preemptible: bool  # may be stopped, to go on later, where an endpoint needs its place
    client_key: str | None
    parent: str | None  # the job that submitted it: a sweep
    owner: str
    epoch: int
    deaths: int
    fresh: bool  # its next attempt starts over
    cancel: bool
    preempt: bool  # asked to make room
    lease: Lease | None  # while running
    leased: float | None
    created: float
    started: float | None
    finished: float | None
    archived: float | None
    waiting: str | None
    waiting_for: str | None  # cores, memory, gpus, jobs or attempt
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    fingerprint: str | None = None  # of the request that its client key came with
    request_id: str | None = None  # of the call that submitted it

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Job:
        values = dict(row)
        values["demand"] = Demand.from_json(values["demand"])
        values["lease"] = Lease.from_json(values["lease"]) if values["lease"] else None
        return cls(**values)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


class JobStore:
    """All reading and writing of job rows. Any thread may call it."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    # --- submit ---

    def submit(
        self,
        kind: str,
        spec: dict[str, Any],
        *,
        demand: Demand | None = None,
        priority: int = 0,
        preemptible: bool = False,
        client_key: str | None = None,
        parent: str | None = None,
        owner: str = "",
        fingerprint: str | None = None,
        request_id: str | None = None,
    ) -> Job:
        """A new queued job, or the one that this owner's client key already made.

        Raises Refused where the key made another job than this one: by their fingerprints, or where it has none by
        what is to be done.
        """
        values = {
            "kind": kind,
            "state": "queued",
            "priority": priority,
            "spec": spec,
            "demand": (demand or Demand()).to_json(),
            "preemptible": preemptible,
            "client_key": client_key,
            "parent": parent,
            "owner": owner,
            "created": self._clock(),
            "fingerprint": fingerprint,
            "request_id": request_id,
        }
        for tries_left in reversed(range(TRIES)):
            try:
                job = self._find_or_make(values)
                break
            except sa.exc.IntegrityError:  # another call with this key was faster, or an old job has this id
                if not tries_left:
                    raise
        if None in (fingerprint, job.fingerprint):
            if (job.kind, job.spec) != (kind, spec):
                raise _other_job(job)
        elif job.fingerprint != fingerprint:
            raise _other_job(job)
        return job

    def made_by(self, owner: str, client_key: str, fingerprint: str) -> Job | None:
        """The job that this request made when it came before. Raises Refused where its key made another one."""
        with self._database.begin() as connection:
            job = _made_by(connection, owner, client_key)
        if job is not None and job.fingerprint not in (None, fingerprint):
            raise _other_job(job)
        return None if job is None or job.fingerprint is None else job

    def _find_or_make(self, values: Mapping[str, Any]) -> Job:
        """The job of this owner's client key, or a new one. Raises IntegrityError where another call was faster."""
        with self._database.begin() as connection:
            if values["client_key"] and (same := _made_by(connection, values["owner"], values["client_key"])):
                return same
            new_id = f"{values['kind']}-{secrets.token_hex(4)}"
            insert = table.insert().values(id=new_id, **values).returning(table)
            return Job.from_row(connection.execute(insert).mappings().one())

    # --- read ---

    def get(self, job_id: str, *, sees: Callable[[str], bool] = lambda owner: True) -> Job:
        """Raises NotFound, and the same where the caller does not see what this job's owner works on."""
        row = self._database.row(sa.select(table).where(table.c.id == job_id))
        if row is None or not sees(row["owner"]):
            raise NotFound(f"There is no job {job_id!r}.", hint="List them with: bedplate jobs list")
        return Job.from_row(row)

    def find(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        parent: str | None = None,
        owner: str | None = None,
        archived: bool | None = False,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Newest first, below the `seq` of `before`. `archived`: False none of them, True only them, None all."""
        query = sa.select(table).order_by(table.c.seq.desc()).limit(limit)
        wanted = {table.c.kind: kind, table.c.state: state, table.c.parent: parent, table.c.owner: owner}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == value)
        if archived is not None:
            query = query.where(table.c.archived.is_not(None) if archived else table.c.archived.is_(None))
        if before is not None:
            query = query.where(table.c.seq < before)
        return [Job.from_row(row) for row in self._database.rows(query)]

    def queue(self, limit: int | None = None) -> list[Job]:
        """Queued jobs, the next one first."""
        query = sa.select(table).where(table.c.state == "queued").order_by(table.c.priority.desc(), table.c.seq)
        return [Job.from_row(row) for row in self._database.rows(query.limit(limit))]

    def running(self) -> list[Job]:
        """Running jobs, the longest submitted first."""
        query = sa.select(table).where(table.c.state == "running").order_by(table.c.seq)
        return [Job.from_row(row) for row in self._database.rows(query)]

    def unfinished(self) -> list[Job]:
        """Queued and running jobs, the longest submitted first: at one moment, so that none is missed on its way."""
        query = sa.select(table).where(table.c.state.in_(("queued", "running"))).order_by(table.c.seq)
        return [Job.from_row(row) for row in self._database.rows(query)]

    def positions(self, jobs: Sequence[Job]) -> dict[str, tuple[int, int]]:
        """The place in line, from 1, and the length of the line, of those of `jobs` that are queued.

        Two queries that read the line off its index once, however many jobs are asked for.
        """
        ids = {job.seq: job.id for job in jobs if job.state == "queued"}
        if not ids:
            return {}
        by_priority = sa.select(table.c.priority, sa.func.count().label("jobs")).where(table.c.state == "queued")
        lengths = {row["priority"]: row["jobs"] for row in self._database.rows(by_priority.group_by(table.c.priority))}
        length = sum(lengths.values())
        ahead = {mine: sum(jobs for other, jobs in lengths.items() if other > mine) for mine in lengths}
        found = {}
        for row in self._database.rows(_gaps(list(ids))):
            ahead[row["priority"]] = before = ahead.get(row["priority"], 0) + row["gap"]
            found[ids[row["seq"]]] = (before + 1, max(length, before + 1))
        return found

    def counts(self) -> dict[str, int]:
        """How many jobs are queued, and how many run."""
        query = sa.select(table.c.state, sa.func.count().label("jobs")).group_by(table.c.state)
        found = self._database.rows(query.where(table.c.state.in_(("queued", "running"))))
        return {"queued": 0, "running": 0} | {row["state"]: row["jobs"] for row in found}

    # --- move ---

    def move(self, job: Job, state: str, **values: Any) -> bool:
        """Move the job if it is still in the state and epoch that `job` shows; says whether it was.

        Whoever leaves `running` gives back what it leased in the same moment.
        """
        if state not in LEGAL_MOVES[job.state]:
            raise Conflict(f"Job {job.id} is {job.state}: it cannot become {state}.", code="illegal-move")
        if job.state == "running":
            values = {"lease": None, "leased": None, "preempt": False, **values}
        if state == "succeeded":
            values = {"error": None, **values}  # it may have been asked to end, with a reason, too late
        if state in FINAL:
            values = {"finished": self._clock(), "waiting": None, "waiting_for": None, **values}
        update = (
            table.update()
            .where(table.c.id == job.id, table.c.state == job.state, table.c.epoch == job.epoch)
            .values(state=state, **values)
        )
        with self._database.begin() as connection:
            return connection.execute(update).rowcount == 1

    def claim(self, job: Job, lease: Lease) -> Job | None:
        """Start the next attempt of a queued job: its new row, or None where it is queued no more."""
        now = self._clock()
        values: dict[str, Any] = {"epoch": job.epoch + 1, "lease": lease.to_json(), "leased": now, "fresh": False}
        values |= {"started": job.started or now, "waiting": None, "waiting_for": None}
        return self.get(job.id) if self.move(job, "running", **values) else None

    def note_waiting(self, reasons: Iterable[tuple[Job, str, str]]) -> None:
        """Say why queued jobs wait: (job, resource, why), in one transaction; what is known is not written again."""
        news = [
            {"job_id": job.id, "resource": resource, "why": why}
            for job, resource, why in reasons
            if (job.waiting_for, job.waiting) != (resource, why)
        ]
        if news:
            still = (table.c.id == sa.bindparam("job_id"), table.c.state == "queued")
            told: dict[str, Any] = {"waiting": sa.bindparam("why"), "waiting_for": sa.bindparam("resource")}
            with self._database.begin() as connection:
                connection.execute(table.update().where(*still).values(**told), news)

    # --- what users ask for ---

    def ask_cancel(self, job_id: str, *, why: Mapping[str, Any] | None = None) -> Job:
        """Cancel at once what is queued; ask the scheduler to stop what is running. A final job is refused.

        `why` is kept as its error, where it is not its owner who cancels it.
        """
        told = {"error": dict(why)} if why is not None else {}
        job = self.get(job_id)
        if job.is_final:
            raise Conflict(f"Job {job_id} is already {job.state}.", hint="There is nothing to cancel.")
        if job.state == "queued" and self.move(job, "cancelled", **told):
            return self.get(job_id)
        self._flag(job_id, cancel=True, **told)
        return self.get(job_id)

    def ask_preempt(self, job_id: str) -> None:
        """Have a running job make room: it is queued again and goes on from its last complete checkpoint."""
        self._flag(job_id, preempt=True)

    def resume(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; it goes on from its last complete checkpoint."""
        return self._again(job_id, "resumed", fresh=False)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; it starts over."""
        return self._again(job_id, "retried", fresh=True)

    def archive(self, job_id: str, *, archived: bool = True) -> Job:
        """Hide a job that has ended from the list, or show it again. Nothing of it is deleted."""
        job = self.get(job_id)
        if not job.is_final:
            raise Conflict(f"Job {job_id} is {job.state}.", hint=f"Cancel it first: bedplate jobs cancel {job_id}")
        with self._database.begin() as connection:
            when = (job.archived or self._clock()) if archived else None
            still = (table.c.id == job_id, table.c.state.in_(FINAL))  # unless it was resumed a moment ago
            connection.execute(table.update().where(*still).values(archived=when))
        return self.get(job_id)

    def _again(self, job_id: str, what: str, *, fresh: bool) -> Job:
        job = self.get(job_id)
        if job.state not in ("failed", "cancelled"):
            raise Conflict(
                f"Job {job_id} is {job.state}.",
                hint=f"Only a failed or cancelled job can be {what}; a new one like it: bedplate jobs rerun {job_id}",
            )
        cleared = {"cancel": False, "error": None, "finished": None, "archived": None}
        if not self.move(job, "queued", deaths=0, fresh=fresh or job.fresh, **cleared):
            raise Conflict(f"Job {job_id} was queued again by another call.", hint="There is nothing more to do.")
        return self.get(job_id)

    def _flag(self, job_id: str, **flags: Any) -> None:
        with self._database.begin() as connection:
            connection.execute(
                table.update().where(table.c.id == job_id, table.c.state.in_(("queued", "running"))).values(**flags)
            )


def _gaps(seqs: Sequence[int]) -> sa.Select[Any]:
    """For each of these queued jobs, in line: how many there are from the one before it in the list up to it.

    Only jobs of its own priority count.
    """
    before = sa.func.lag(table.c.seq, 1, 0).over(partition_by=table.c.priority, order_by=table.c.seq).label("before")
    is_mine = (table.c.state == "queued", table.c.seq.in_(seqs))
    mine = sa.select(table.c.seq, table.c.priority, before).where(*is_mine).cte("mine")
    between = (table.c.seq >= mine.c.before, table.c.seq < mine.c.seq)
    gap = sa.select(sa.func.count()).where(table.c.state == "queued", table.c.priority == mine.c.priority, *between)
    query = sa.select(mine.c.seq, mine.c.priority, gap.scalar_subquery().label("gap"))
    return query.order_by(mine.c.priority.desc(), mine.c.seq)


def _other_job(job: Job) -> Refused:
    return Refused(
        f"The key {job.client_key!r} was used for another job, {job.id}.",
        hint="Give each job an Idempotency-Key of its own.",
        code="idempotency-mismatch",
    )


def _made_by(connection: sa.Connection, owner: str, client_key: str) -> Job | None:
    query = sa.select(table).where(table.c.owner == owner, table.c.client_key == client_key)
    row = connection.execute(query).mappings().first()
    return None if row is None else Job.from_row(row)
