"""The loop that starts queued jobs, watches running ones, and makes each end mean something.

It keeps nothing in memory that matters: after a restart it finds every worker again by the files of its supervisor.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from bedplate import spawn
from bedplate.job_folder import JobFolder
from bedplate.jobs import Job, JobStore
from bedplate.kinds import KINDS, Context
from bedplate_registry.errors import BedplateError

__all__ = ["MAX_DEATHS", "Scheduler"]

log = logging.getLogger(__name__)

DAMAGED = {"code": "damaged-folder", "message": "The job's folder holds a file that cannot be read."}
MAX_DEATHS = 3  # a worker that was killed that often in one job will be again


class Scheduler:
    """`tick()` is called over and over by one thread."""

    def __init__(self, context: Context, store: JobStore) -> None:
        self._context, self._store = context, store

    def tick(self) -> None:
        for job in self._store.running():
            try:
                self._watch(job)
            except (KeyError, ValueError):  # a file torn by a crash: it will not mend by itself
                log.exception("job %s has a damaged folder", job.id)
                spawn.Held(self.folder(job.id).path, job.epoch).stop()
                self._fail(job, {**DAMAGED, "hint": f"Read what is left with: bedplate jobs logs {job.id}"})
            except Exception:
                # The disk or the database, for one: the worker goes on, the other jobs are watched, and the next round
                # tries again.
                log.exception("job %s cannot be watched in this round", job.id)
        self._start_queued()

    def folder(self, job_id: str) -> JobFolder:
        return JobFolder(self._context.home.jobs / job_id)

    @property
    def is_idle(self) -> bool:
        return not self._store.running() and not self._store.queue()

    # --- start ---

    def _start_queued(self) -> None:
        queue = self._store.queue()
        free = max(0, self._context.settings.max_jobs - len(self._store.running()))
        for job in queue[:free]:
            self._start(job)
        running = self._store.running()
        for ahead, job in enumerate(queue[free:]):
            self._store.note_waiting(job, _why_waiting(ahead, running))

    def _start(self, job: Job) -> None:
        """The row moves first: should we die between the two, the attempt is seen as lost and the job queued again."""
        epoch = job.epoch + 1
        if not self._store.move(job, "running", epoch=epoch, started=job.started or time.time(), waiting=None):
            return
        kind, folder = KINDS[job.kind], self.folder(job.id)
        try:
            for earlier in range(1, epoch):
                spawn.Held(folder.path, earlier).kill()  # one that is frozen, not dead, must not wake beside us
            if not (folder.path / "spec.json").exists():
                folder.create(job.spec)
            command = kind.command(self._context, job.spec, folder.path, epoch)
            spawn.start(
                folder.path,
                epoch,
                command.argv,
                log=folder.log,
                env=command.env,
                network=kind.network,
                secrets=kind.secrets(self._context),
            )
        except BedplateError as exc:  # a full disk, for one
            self._fail(self._store.get(job.id), exc.to_json())
        except OSError as exc:
            log.exception("job %s could not be started", job.id)
            self._fail(
                self._store.get(job.id),
                {
                    "code": "start-failed",
                    "message": f"The worker could not be started: {exc.strerror or exc}.",
                    "hint": f"When that is mended: bedplate jobs resume {job.id}",
                },
            )

    # --- watch ---

    def _watch(self, job: Job) -> None:
        held = spawn.Held(self.folder(job.id).path, job.epoch)
        ended = held.exit
        if ended is not None:
            self._end(job, ended)
        elif held.is_lost:
            self._died(job, "its supervisor was killed")
        elif job.cancel:
            held.stop()

    def _end(self, job: Job, ended: dict[str, Any]) -> None:
        folder = self.folder(job.id)
        result = folder.result(job.epoch)
        if result is not None and ended["returncode"] == 0:
            self._finish(job, result)
        elif job.cancel:
            self._store.move(job, "cancelled", finished=time.time())
        elif (error := folder.error(job.epoch)) is not None:
            self._fail(job, error)
        else:
            self._died(job, _how_it_died(folder, ended["returncode"]))

    def _finish(self, job: Job, result: dict[str, Any]) -> None:
        try:
            answer = KINDS[job.kind].finish(self._context, job.id, job.spec, result)
        except BedplateError as exc:
            self._fail(job, exc.to_json())
            return
        self._store.move(job, "succeeded", finished=time.time(), result=answer)

    def _died(self, job: Job, how: str) -> None:
        """Queue it again, to go on from its last complete checkpoint, unless it dies every time."""
        if job.cancel:
            self._store.move(job, "cancelled", finished=time.time())
        elif job.deaths + 1 >= MAX_DEATHS:
            self._fail(
                job,
                {
                    "code": "worker-died",
                    "message": f"The worker died {MAX_DEATHS} times; the last time {how}.",
                    "hint": f"Look for a lack of memory, then: bedplate jobs resume {job.id}",
                },
            )
        else:
            log.warning("job %s: %s; it goes on from its last checkpoint", job.id, how)
            self._store.move(
                job, "queued", deaths=job.deaths + 1, waiting=f"{how}; it goes on from its last checkpoint"
            )

    def _fail(self, job: Job, error: dict[str, Any]) -> None:
        self._store.move(job, "failed", finished=time.time(), error=error)


def _why_waiting(ahead: int, running: list[Job]) -> str:
    names = ", ".join(job.id for job in running) or "a job"
    place = "next in line" if ahead == 0 else f"{ahead} ahead in line"
    return f"waits for {names} to end; {place}"


def _how_it_died(folder: JobFolder, returncode: int) -> str:
    """A worker that fails says why in its folder. One that says nothing was killed, or its launcher failed."""
    if returncode < 0:
        return f"the worker was ended by signal {-returncode}"
    last = next((line for line in reversed(folder.log_tail()) if line.strip()), "nothing")
    return f"the worker ended with exit code {returncode} without a reason; its last line: {last}"
