"""Defects sown on purpose: the campaign is worth something only if it finds each of them.

Each is a part of the real thing with one rule taken out, by a subclass here. `within` is the number of schedules, from
seed 0 on, within which each must be found: measured, with a margin.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from bedplate.compute import Holder, Lease
from bedplate.database import jobs as table
from bedplate.jobs import FINAL, Job, JobStore
from bedplate.leases import Leases, Room
from bedplate.scheduler import Scheduler
from bedplate.spawn import Silence
from faults.observed import ObservedDatabase
from faults.simulated import SimulatedAttempts
from faults.world import Clock, Parts, Violation, World

__all__ = ["DEFECTS", "Defect", "find"]


@dataclass(frozen=True)
class Defect:
    parts: Parts
    within: int  # schedules


def find(defect: Defect, database: ObservedDatabase) -> tuple[int, Violation] | None:
    """The first seed that shows the defect, and how."""
    for seed in range(defect.within):
        try:
            World(seed, database, defect.parts).run()
        except Violation as violation:
            return seed, violation
    return None


# --- the lease ---


class NeverSilent(Silence):
    def seconds(self, key: Hashable, sign: object) -> float:
        return 0.0


class LeaseNotChecked(Scheduler):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._silence = NeverSilent()


class LeaseByWallClock(Scheduler):
    """The time of the last sign of life is compared with the time of day."""

    def __init__(self, *args: Any, clock: Clock, **options: Any) -> None:
        super().__init__(*args, clock=clock, **options)
        self._silence = Silence(clock.wall, longest_gap_seconds=float("inf"))


# --- attempts ---


class NextWithoutTheLastOnesEnd(Scheduler):
    """Who is silent is taken for dead."""

    def _lost(self, job: Job, how: str) -> None:
        self._died(job, how)


class StartedBeforeClaimed(Scheduler):
    """A crash between the two leaves an attempt that no row knows of, and a job that is started again."""

    def _start(self, job: Job, lease: Lease) -> bool:
        self._attempts.start(replace(job, epoch=job.epoch + 1), lease)
        return self._store.claim(job, lease) is not None


class AnyonesResult(SimulatedAttempts):
    """The result is read without regard to the epoch."""

    def result(self, job: Job) -> dict[str, Any] | None:
        left = [attempt.result for attempt in self.of(job.id) if attempt.result is not None and not attempt.is_torn]
        return left[0] if left else super().result(job)


class EveryDeathIsForgiven(Scheduler):
    """A job that dies every time never ends."""

    def _died(self, job: Job, how: str) -> None:
        super()._died(replace(job, deaths=0), how)


class OwnSleepCounts(Scheduler):
    """Our own sleep counts as the silence of others."""

    def __init__(self, *args: Any, clock: Clock, **options: Any) -> None:
        super().__init__(*args, clock=clock, **options)
        self._silence = SinceLastLook(clock, longest_gap_seconds=float("inf"))


class SinceLastLook(Silence):
    def seconds(self, key: Hashable, sign: object) -> float:
        now = self._clock()
        _, last_look, _ = self._last.get(key, (sign, now, 0.0))
        self._last[key] = (sign, now, 0.0)
        return now - last_look


# --- moves ---


class _Loose(JobStore):
    """Moves with some of the conditions of their WHERE left out."""

    left_out: tuple[str, ...] = ()

    def move(self, job: Job, state: str, **values: Any) -> bool:
        if job.state == "running":
            values = {"lease": None, "leased": None, "preempt": False, **values}
        if state in FINAL:
            values = {"finished": self._clock(), "waiting": None, "waiting_for": None, **values}
        conditions = {"id": job.id, "state": job.state, "epoch": job.epoch}
        kept = [table.c[name] == value for name, value in conditions.items() if name not in self.left_out]
        with self._database.begin() as connection:
            return connection.execute(table.update().where(*kept).values(state=state, **values)).rowcount == 1


class EpochIgnoredInMoves(_Loose):
    left_out = ("epoch",)


class ClaimNotConditional(_Loose):
    left_out = ("state",)


class LeaseKept(JobStore):
    """A job that is queued again keeps what it leased."""

    def move(self, job: Job, state: str, **values: Any) -> bool:
        kept = {"lease": job.lease.to_json()} if job.lease and state == "queued" else {}
        return super().move(job, state, **{**kept, **values})


class ArchivedWhateverItIs(JobStore):
    def archive(self, job_id: str, *, archived: bool = True) -> Job:
        job = self.get(job_id)
        with self._database.begin() as connection:
            connection.execute(
                table.update().where(table.c.id == job.id).values(archived=self._clock() if archived else None)
            )
        return self.get(job_id)


class KeyForgotten(JobStore):
    """A request that is sent twice makes two jobs."""

    def submit(self, kind: str, spec: dict[str, Any], **options: Any) -> Job:
        return super().submit(kind, spec, **{**options, "client_key": None})


# --- cancel ---


class CancelIgnored(Scheduler):
    def _watch(self, job: Job) -> None:
        super()._watch(replace(job, cancel=False))


class CancelledWhereverItIs(JobStore):
    """Cancel sets the state of a running job at once, and leaves its attempt to itself."""

    def ask_cancel(self, job_id: str) -> Job:
        job = self.get(job_id)
        if not job.is_final:
            self.move(job, "cancelled")
        return self.get(job_id)


# --- line and room ---


class WithoutReplicas(Leases):
    def holders(self) -> list[Holder]:
        return [holder for holder in super().holders() if holder.kind == "job"]


class _Forgetful(Room):
    """Does not note what it gave out."""

    def lease(self, holder: str, demand: Any) -> Any:
        before = list(self._holders)
        answer = super().lease(holder, demand)
        self._holders = before
        return answer


class RoomGivenTwice(Leases):
    def for_jobs(self) -> Room:
        room = super().for_jobs()
        return _Forgetful(room.inventory, room._holders)


class YoungestFirst(JobStore):
    def queue(self, limit: int | None = None) -> list[Job]:
        return super().queue(limit)[::-1]


class SilentLine(JobStore):
    """Nobody is told what he waits for."""

    def note_waiting(self, reasons: Iterable[tuple[Job, str, str]]) -> None:
        pass


DEFECTS = {
    "the lease is not checked": Defect(Parts(scheduler=LeaseNotChecked), 100),
    "the lease is compared with the wall clock": Defect(Parts(scheduler=LeaseByWallClock), 100),
    "our own sleep counts as silence": Defect(Parts(scheduler=OwnSleepCounts), 100),
    "the next attempt starts without the last one's end": Defect(Parts(scheduler=NextWithoutTheLastOnesEnd), 100),
    "an attempt starts before its row moves": Defect(Parts(scheduler=StartedBeforeClaimed), 100),
    "the epoch is ignored when results are read": Defect(Parts(attempts=AnyonesResult), 100),
    "deaths are not counted": Defect(Parts(scheduler=EveryDeathIsForgiven), 100),
    "the epoch is ignored in moves": Defect(Parts(store=EpochIgnoredInMoves), 100),
    "the state is ignored in moves": Defect(Parts(store=ClaimNotConditional), 100),
    "a queued job keeps its lease": Defect(Parts(store=LeaseKept), 100),
    "a job is archived whatever it is": Defect(Parts(store=ArchivedWhateverItIs), 100),
    "the client key is forgotten": Defect(Parts(store=KeyForgotten), 100),
    "cancel is ignored": Defect(Parts(scheduler=CancelIgnored), 100),
    "cancel leaves the attempt to itself": Defect(Parts(store=CancelledWhereverItIs), 100),
    "leases are counted without replicas": Defect(Parts(leases=WithoutReplicas), 100),
    "room is given twice in a round": Defect(Parts(leases=RoomGivenTwice), 100),
    "the youngest goes first": Defect(Parts(store=YoungestFirst), 100),
    "nobody is told what he waits for": Defect(Parts(store=SilentLine), 100),
}
