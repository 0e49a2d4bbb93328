"""The loop that starts queued jobs, watches running ones, and makes each end mean something.

It keeps nothing in memory that matters: after a restart it finds every attempt again (attempts.py). Four rules hold
whatever is killed, frozen or set to another time:

* One attempt at a time: the next one starts only when nothing is left of the one before it.
* An attempt that shows no sign of life for `lease_seconds` is killed and counts as lost. No clock is compared: what
  counts is how long we looked without seeing its beat move (spawn.Silence).
* What an attempt left is believed only while its epoch is the job's.
* In line, the higher priority goes first, then the earlier submission. Nobody is overtaken for what he waits for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from bedplate.attempts import Attempts, DamagedFolder
from bedplate.compute import Lease, Shortage, impossible
from bedplate.jobs import Job, JobStore
from bedplate.leases import Leases, Room
from bedplate.spawn import Silence
from bedplate_registry.errors import BedplateError, Unavailable

__all__ = ["LEASE_SECONDS", "MAX_DEATHS", "Scheduler"]

log = logging.getLogger(__name__)

MAX_DEATHS = 3  # a worker that was killed that often in one job will be again
LEASE_SECONDS = 30.0  # without a sign of life; a machine that swaps may be slow for a while
START_SECONDS = 15.0  # for a supervisor to come up
STOP_SECONDS = 4.5  # for a supervisor to end its worker, which it does within 4; cancel promises five in all
NOTHING = Lease(cores=0, memory_bytes=0)
Reason = tuple[str, str]  # the resource, and why a job waits for it
WINDOW = 100  # how far down the line we look for a job that fits
FAR_WINDOW, FAR_EVERY = 1000, 10  # and how far in each tenth round


class Scheduler:
    """`tick()` is called over and over by one thread."""

    def __init__(
        self,
        store: JobStore,
        attempts: Attempts,
        leases: Leases,
        *,
        advance: Mapping[str, Callable[[Job], None]] | None = None,
        max_jobs: int = 16,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`advance`: kinds whose jobs have no worker of their own but submit other jobs, and what moves them on."""
        self._store, self._attempts, self._leases, self._advance = store, attempts, leases, advance or {}
        self._max_jobs, self._lease_seconds = max_jobs, lease_seconds
        self._silence = Silence(clock)
        self._rounds = 0
        self._stumbled: dict[str, str] = {}  # what went wrong in the last round of a job

    def tick(self) -> bool:
        """One round; says whether there is anything to do."""
        running = self._store.running()
        self._silence.keep({key for job in running for key in (_beat_of(job), _stop_of(job))})
        for job in running:
            try:
                self._advance.get(job.kind, self._watch)(job)
            except DamagedFolder as exc:
                log.exception("job %s has a damaged folder", job.id)
                if self._attempts.kill(job):
                    self._fail(job, exc.to_json())
            except Exception as exc:
                # The disk or the database, for one: the worker goes on, the other jobs are watched, and the next round
                # tries again. It is told once and not five times a second.
                if self._stumbled.get(job.id) != str(exc):
                    log.exception("job %s cannot be watched in this round", job.id)
                self._stumbled[job.id] = str(exc)
            else:
                self._stumbled.pop(job.id, None)
        self._rounds += 1
        queue = self._store.queue(WINDOW if self._rounds % FAR_EVERY else FAR_WINDOW)
        if queue:
            self._start_queued(queue)
        return bool(running or queue)

    # --- start ---

    def _start_queued(self, queue: list[Job]) -> None:
        room = self._leases.for_jobs()
        free = self._max_jobs - sum(job.kind not in self._advance for job in self._store.running())
        reasons: list[tuple[Job, str, str]] = []
        for job in queue:
            if job.cancel:
                self._store.move(job, "cancelled")
            elif job.kind in self._advance:
                self._store.claim(job, NOTHING)
            elif free <= 0:
                reasons.append((job, "jobs", f"a place: {self._max_jobs} jobs run (BEDPLATE_MAX_JOBS)"))
            else:
                waits = self._try_to_place(job, room)
                free -= waits is None
                reasons += [(job, *waits)] if waits else []
        self._store.note_waiting(reasons)

    def _try_to_place(self, job: Job, room: Room) -> Reason | None:
        try:
            return self._place(job, room)
        except Unavailable:  # the database, for one: the next round tries again
            raise
        except Exception as exc:  # of this job: those behind it go on
            log.exception("job %s cannot be started in this round", job.id)
            why = getattr(exc, "strerror", None) or type(exc).__name__
            return "attempt", f"another try, the last one went wrong: {why}"

    def _place(self, job: Job, room: Room) -> Reason | None:
        """Start a job if there is room for it, or say what it waits for."""
        never = impossible(room.inventory, job.demand)
        if never is not None:  # a card broke; those behind it need not wait for that
            return never.resource, never.message
        lease = room.lease(job.id, job.demand)
        if isinstance(lease, Shortage):
            return lease.resource, lease.message
        if job.epoch and not self._attempts.kill(job):  # asked last: it looks at every process of the machine
            room.give_back(job.id)
            return "attempt", "a process of its last attempt that does not end"
        self._start(job, lease)
        return None

    def _start(self, job: Job, lease: Lease) -> None:
        """The row moves first: should we die between the two, the attempt is seen as lost and the job queued again."""
        if job.fresh:
            self._attempts.start_over(job)
        claimed = self._store.claim(job, lease)
        if claimed is None:
            return
        try:
            self._attempts.start(claimed, lease)
        except BedplateError as exc:  # a full disk, for one
            self._fail(claimed, exc.to_json())
        except OSError as exc:
            log.exception("job %s could not be started", job.id)
            reason = f"The worker could not be started: {exc.strerror or exc}."
            hint = f"When that is mended: bedplate jobs resume {job.id}"
            self._fail(claimed, {"code": "start-failed", "message": reason, "hint": hint})

    # --- watch ---

    def _watch(self, job: Job) -> None:
        seen = self._attempts.look(job)
        if seen.returncode is not None:
            self._end(job, seen.returncode)
        elif seen.has_died:
            self._lost(job, "its supervisor was killed")
        elif self._is_silent(job, seen.beat):
            self._lost(job, "it showed no sign of life any more" if seen.beat else "it did not come up")
        elif job.cancel or job.preempt:
            self._stop(job)

    def _is_silent(self, job: Job, beat: int | None) -> bool:
        silent = self._silence.seconds(_beat_of(job), beat)
        return silent > (START_SECONDS if beat is None else self._lease_seconds)

    def _stop(self, job: Job) -> None:
        """Ask it to end; one that does not, frozen perhaps, is killed."""
        self._attempts.stop(job)
        if self._silence.seconds(_stop_of(job), None) > STOP_SECONDS:
            self._lost(job, "it did not stop when it was asked to")

    def _lost(self, job: Job, how: str) -> None:
        if self._attempts.kill(job):  # else the next round tries again
            self._died(job, how)

    def _end(self, job: Job, returncode: int) -> None:
        if not self._attempts.kill(job):  # what a worker says of its end is believed once nothing of it is left
            return
        result = self._attempts.result(job)
        if result is not None and returncode == 0:
            self._finish(job, result)
        elif job.cancel or job.preempt:
            self._died(job, "it was stopped")
        elif (error := self._attempts.error(job)) is not None:
            self._fail(job, error)
        else:
            self._died(job, self._attempts.last_words(job, returncode))

    def _finish(self, job: Job, result: dict[str, Any]) -> None:
        try:
            answer = self._attempts.finish(job, result)
        except (Unavailable, OSError) as exc:  # a full disk, for one: the next round tries again
            if not job.cancel:
                raise
            self._died(job, str(exc))
            return
        except BedplateError as exc:
            self._fail(job, exc.to_json())
            return
        except Exception as exc:  # not what a worker of this release leaves: it will not mend
            log.exception("the result of job %s", job.id)
            reason = f"What its worker left as its result cannot be used: {type(exc).__name__}."
            hint = f"A new job like it: bedplate jobs rerun {job.id}"
            self._fail(job, {"code": "bad-result", "message": reason, "hint": hint})
            return
        self._store.move(job, "succeeded", result=answer)

    def _died(self, job: Job, how: str) -> None:
        """Queue it again, to go on from its last complete checkpoint, unless it dies every time."""
        if job.cancel:
            self._store.move(job, "cancelled")
        elif job.preempt:
            self._store.move(job, "queued", waiting_for="endpoint", waiting="its place, which it gave to an endpoint")
        elif job.deaths + 1 >= MAX_DEATHS:
            reason = f"The worker died {MAX_DEATHS} times; the last time {how}."
            hint = f"Look for a lack of memory, then: bedplate jobs resume {job.id}"
            self._fail(job, {"code": "worker-died", "message": reason, "hint": hint})
        else:
            if self._store.move(job, "queued", deaths=job.deaths + 1):
                self._attempts.note(job, f"attempt {job.epoch}: {how}; it goes on from its last checkpoint")

    def _fail(self, job: Job, error: dict[str, Any]) -> None:
        self._store.move(job, "failed", error=error)


def _beat_of(job: Job) -> Hashable:
    """The name under which we note how long we have not seen its attempt's beat move."""
    return "beat", job.id, job.epoch


def _stop_of(job: Job) -> Hashable:
    """The name under which we note how long ago its attempt was first asked to end."""
    return "stop", job.id, job.epoch
