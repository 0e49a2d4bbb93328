"""Attempts at jobs: what the scheduler needs of running things, and the real ones, which are processes.

The scheduler sees attempts through `Attempts` only, so that its rules can be tried on a virtual clock as well.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bedplate import spawn
from bedplate.compute import Lease
from bedplate.home import Home
from bedplate.job_folder import REQUEST_ID, DamagedFolder, JobFolder
from bedplate.jobs import Job
from bedplate.kinds import KINDS, Context, Kind
from bedplate_serving.log_lines import last_event

log = logging.getLogger(__name__)

__all__ = ["Attempts", "DamagedFolder", "JobProcesses", "Sighting"]

# What even a worker that stores blobs cannot change.
PUBLISHED = ("models", "datasets", "evaluations")


@dataclass(frozen=True)
class Sighting:
    """What can be seen of one attempt."""

    beat: int | None  # moves on for as long as the attempt lives; None before it came up
    returncode: int | None  # once it has ended
    has_died: bool  # it came up, and is gone without having ended


class Attempts(Protocol):
    """Starts, watches and ends attempts. All of it may be called again after a crash of the caller."""

    def start_over(self, job: Job) -> None:
        """Put aside what earlier attempts left, so that the next one begins at the beginning."""

    def start(self, job: Job, lease: Lease) -> None:
        """Start the attempt `job.epoch`. Raises BedplateError or OSError where it cannot be."""

    def look(self, job: Job) -> Sighting: ...

    def stop(self, job: Job) -> None:
        """Ask the attempt to end."""

    def kill(self, job: Job) -> bool:
        """End the attempt with everything it started; says whether nothing is left of it."""

    def result(self, job: Job) -> dict[str, Any] | None:
        """What the attempt `job.epoch` left as its result. Raises DamagedFolder."""

    def error(self, job: Job) -> dict[str, Any] | None:
        """The reason that the attempt gave for its failure. Raises DamagedFolder."""

    def last_words(self, job: Job, returncode: int) -> str:
        """How an attempt ended that left neither result nor reason."""

    def note(self, job: Job, text: str) -> None:
        """Tell whoever reads the job's log."""

    def finish(self, job: Job, result: dict[str, Any]) -> dict[str, Any]:
        """Do what the end of the job means, such as publishing. It may be done twice, and then does nothing."""


def _kept_from_change(home: Home, kind: Kind) -> list[Path]:
    return [home.registry / name for name in PUBLISHED] if kind.stores_blobs else [home.registry]


class JobProcesses:
    """Attempts as processes under supervisors, with the job's folder as what they leave."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def folder(self, job_id: str) -> JobFolder:
        return JobFolder(self._context.home.jobs / job_id)

    def start_over(self, job: Job) -> None:
        self.folder(job.id).start_over(job.epoch)

    def start(self, job: Job, lease: Lease) -> None:
        kind, folder = KINDS[job.kind], self.folder(job.id)
        assert kind.command is not None
        if not (folder.path / "spec.json").exists():
            folder.create(job.spec)
        command = kind.command(self._context, job.spec, folder.path, job.epoch, lease)
        home = self._context.home
        spawn.start(
            folder.path,
            job.epoch,
            command.argv,
            log=folder.log,
            env={**lease.environment(), **command.env, REQUEST_ID: job.request_id or ""},
            network=kind.network,
            secrets=kind.secrets(self._context, job.spec),
            read_only=[*_kept_from_change(home, kind), *command.visible],
            hidden=home.private_folders,
            visible=[home.registry, *command.visible],
        )

    def look(self, job: Job) -> Sighting:
        held = self._held(job)
        ended = held.exit
        if ended is not None:
            return Sighting(None, int(ended["returncode"]), False)
        return Sighting(held.beat, None, held.has_died or not held.was_ordered)

    def stop(self, job: Job) -> None:
        self._held(job).stop()

    def kill(self, job: Job) -> bool:
        return self._held(job).kill()

    def result(self, job: Job) -> dict[str, Any] | None:
        return self._read(job, "result")

    def error(self, job: Job) -> dict[str, Any] | None:
        return self._read(job, "error")

    def last_words(self, job: Job, returncode: int) -> str:
        if returncode < 0:
            return f"the worker was ended by signal {-returncode}"
        last = last_event(self.folder(job.id).log_tail())
        return f"the worker ended with exit code {returncode} without a reason; its last line: {last}"

    def note(self, job: Job, text: str) -> None:
        log.warning("job %s, %s", job.id, text, extra={"job": job.id, "request_id": job.request_id})
        with suppress(OSError):  # it is in our own log
            self.folder(job.id).note(text)

    def finish(self, job: Job, result: dict[str, Any]) -> dict[str, Any]:
        return KINDS[job.kind].finish(self._context, job.id, job.spec, result)

    def _held(self, job: Job) -> spawn.Held:
        return spawn.Held(self.folder(job.id).path, job.epoch)

    def _read(self, job: Job, what: str) -> dict[str, Any] | None:
        folder = self.folder(job.id)
        try:
            return folder.result(job.epoch) if what == "result" else folder.error(job.epoch)
        except ValueError as exc:
            raise DamagedFolder(
                f"The {what} in the folder of job {job.id} cannot be read.",
                hint=f"Read what is left with: bedplate jobs logs {job.id}",
            ) from exc
