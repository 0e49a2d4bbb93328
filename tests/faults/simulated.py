"""Attempts without processes: each follows a random script on the world's clock, and says what it did with what.

What they can do is what a supervisor, its worker and the kernel can: come up late or never, stand still for a while,
end in every way, leave a process behind, resist a stop, and outlast a SIGKILL in an uninterruptible sleep.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from bedplate.attempts import DamagedFolder, Sighting
from bedplate.compute import Lease
from bedplate.jobs import Job
from bedplate_registry.errors import Conflict, Refused, Unavailable

if TYPE_CHECKING:
    from faults.world import World

ENDS = {
    "success": 12,
    "error": 2,  # with a reason of its own
    "death": 3,  # of the worker, without a word
    "result-then-death": 1,
    "supervisor-death": 2,  # the kernel ends the worker with it
    "orphan": 1,  # the same, and a process is left behind
    "torn-result": 1,
}
NEVER = float("inf")
ERRORS = (OSError, Unavailable)  # of a disk or a database that does not answer: the next round tries again
GRACE_SECONDS = 4.0  # after it a supervisor ends a worker that does not heed SIGTERM


@dataclass
class Script:
    """What one attempt will do. Times in seconds; `duration` and `delay` count while it is not frozen."""

    delay: float  # until it comes up
    duration: float
    end: str
    freezes: list[tuple[float, float]] = field(default_factory=list)  # from, to: since it was ordered
    reaction: float = 0.2  # to a stop
    stuck: float = 0.0  # how long SIGKILL has to wait
    acts_while_stuck: bool = False

    @classmethod
    def calm(cls, random: Random) -> Script:
        return cls(delay=0.3, duration=random.uniform(0.5, 4.0), end="success")

    @classmethod
    def wild(cls, random: Random) -> Script:
        delay = random.choice([0.1, 0.3, 1.0, 3.0, random.uniform(14, 40)] if random.random() < 0.3 else [0.2])
        if random.random() < 0.05:
            delay = NEVER
        freezes, at = [], 0.0
        while random.random() < 0.25:
            start = at + random.uniform(0, 8)
            at = start + random.choice([0.5, 3.0, 12.0, 60.0, 100_000.0])
            freezes.append((start, at))
        return cls(
            delay=delay,
            duration=random.choice([0.1, 2.0, random.uniform(0, 25)]),
            end=random.choices(list(ENDS), list(ENDS.values()))[0],
            freezes=freezes,
            reaction=random.choice([0.0, 0.3, 3.0, GRACE_SECONDS]),
            stuck=random.uniform(1, 20) if random.random() < 0.1 else 0.0,
            acts_while_stuck=random.random() < 0.5,
        )


class Attempt:
    """One attempt, moved on to the present whenever it is looked at."""

    def __init__(self, job_id: str, epoch: int, now: float, script: Script) -> None:
        self.job_id, self.epoch, self.script = job_id, epoch, script
        self.ordered = self._at = now
        self._active = 0.0
        self._end_at = script.delay + script.duration
        self._end = script.end
        self._stuck_until: float | None = None
        self.is_up = False
        self.supervisor = True  # there, or on its way up
        self.leftover = False  # something else of it runs
        self.returncode: int | None = None
        self.result: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.is_torn = False
        self.stop_asked = self.kill_asked = False
        self.beat_moved = now  # when it last gave a new sign of life
        self.silence_seen = 0.0  # how old that was at the owner's last look
        self.death_seen = False

    def __str__(self) -> str:
        return f"{self.job_id}@{self.epoch}"

    @property
    def is_alive(self) -> bool:
        """Whether anything of it can act, now or later."""
        return self.supervisor or self.leftover

    @property
    def beat(self) -> int | None:
        return int(self._active - self.script.delay) if self.is_up else None

    @property
    def has_died(self) -> bool:
        return self.is_up and not self.supervisor and self.returncode is None

    @property
    def _acts(self) -> bool:
        return self.supervisor or (self.leftover and self._stuck_until is not None and self.script.acts_while_stuck)

    def advance(self, now: float) -> None:
        limit = now if self._stuck_until is None else min(now, self._stuck_until)
        while self._at < limit and self._acts:
            start, end = next((f for f in self.script.freezes if self.ordered + f[1] > self._at), (NEVER, NEVER))
            if self.ordered + start <= self._at:
                self._at = min(limit, self.ordered + end)
            else:
                self._run(min(limit, self.ordered + start) - self._at)
        self._at = max(self._at, now)
        if self._stuck_until is not None and now >= self._stuck_until:
            self.leftover = False

    def _run(self, seconds: float) -> None:
        before = self.beat
        begun = self._at - self._active  # while it runs, its own time and the clock's differ by this
        self._active += seconds
        self._at += seconds
        if not self.is_up and self.supervisor and self._active >= self.script.delay:
            self.is_up = True
        if self.beat != before:
            self.beat_moved = begun + self.script.delay + (self.beat or 0)
        if self._active >= self._end_at and self.is_up and self.result is None and self.returncode is None:
            self._finish()

    def _finish(self) -> None:
        if self._end in ("success", "result-then-death", "torn-result"):
            self.result = {"epoch": self.epoch}
            self.is_torn = self._end == "torn-result"
        if self._end == "error":
            self.error = {"code": "no", "message": "No.", "hint": "", "epoch": self.epoch}
        if not self.supervisor:  # it was killed meanwhile: nobody reports the end
            return
        self.supervisor = False
        if self._end not in ("supervisor-death", "orphan"):
            self.returncode = {"success": 0, "torn-result": 0, "error": 1, "stopped": -15}.get(self._end, -9)
        self.leftover = self._end == "orphan"

    def stop(self, now: float) -> None:
        self.advance(now)
        self.stop_asked = True
        if self.supervisor and self.is_up and self._active + self.script.reaction < self._end_at:
            self._end_at, self._end = self._active + self.script.reaction, "stopped"

    def kill(self, now: float) -> bool:
        """What Held.kill does: the supervisor first, so that it reports no end; True when nothing is left."""
        self.advance(now)
        self.kill_asked = True
        if self.is_alive and self.script.stuck and self._stuck_until is None:
            self._stuck_until, self.leftover = now + self.script.stuck, True
        self.supervisor = False
        if self._stuck_until is None or now >= self._stuck_until:
            self.leftover = False
        return not self.leftover


class SimulatedAttempts:
    """Implements attempts.Attempts. It outlives its owners, as processes and folders do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.all: dict[tuple[str, int], Attempt] = {}
        self.published: dict[str, list[int]] = {}  # epochs whose result was finished, by job

    def of(self, job_id: str) -> list[Attempt]:
        """All attempts of a job, as of now."""
        found = [attempt for (owner, _), attempt in self.all.items() if owner == job_id]
        for attempt in found:
            attempt.advance(self._world.clock.now)
        return found

    def get(self, job: Job) -> Attempt | None:
        attempt = self.all.get((job.id, job.epoch))
        if attempt is not None:
            attempt.advance(self._world.clock.now)
        return attempt

    def start_over(self, job: Job) -> None:
        self._world.step("start_over", *ERRORS)
        if self._world.chance(0.2):
            self._world.note("the folder of", job, "cannot be put aside")
            self._world.cannot_start(job)
            raise OSError("it is in use")

    def start(self, job: Job, lease: Lease) -> None:
        self._world.step("start")
        if self._world.chance(0.02):
            self._world.note("the start of", job, "is refused")
            raise Refused("The disk is full.") if self._world.chance(0.5) else OSError("no process left")
        if (job.id, job.epoch) in self.all:
            self._world.violated("run twice", f"{job.id}@{job.epoch} is started again")
        for other in self.of(job.id):
            if other.is_alive:
                self._world.violated("run twice", f"{job.id}@{job.epoch} starts while {other} lives")
        script = self._world.script(job)
        if self._world.chance(0.01):  # the owner wrote the order and died before the supervisor was there
            script.delay = NEVER
        self.all[job.id, job.epoch] = Attempt(job.id, job.epoch, self._world.clock.now, script)
        self._world.note("start", job, script)
        self._world.step("started")

    def look(self, job: Job) -> Sighting:
        self._world.step("look", *ERRORS)
        attempt = self.get(job)
        if attempt is None:
            return Sighting(None, None, True)
        attempt.silence_seen = self._world.clock.now - attempt.beat_moved
        attempt.death_seen = attempt.has_died
        if attempt.returncode is not None:
            return Sighting(None, attempt.returncode, False)
        return Sighting(attempt.beat, None, attempt.has_died)

    def stop(self, job: Job) -> None:
        self._world.step("stop")
        attempt = self.get(job)
        if attempt is not None:
            attempt.stop(self._world.clock.now)

    def kill(self, job: Job) -> bool:
        self._world.step("kill")
        attempt = self.get(job)
        if attempt is None:
            return True
        self._world.check_kill(job, attempt)
        gone = attempt.kill(self._world.clock.now)
        self._world.note("kill", job, "done" if gone else "it does not die")
        if not gone:
            self._world.cannot_start(job)
            self._world.clock.now += 1.0
        self._world.step("killed")
        return gone

    def result(self, job: Job) -> dict[str, Any] | None:
        self._world.step("result", *ERRORS)
        attempt = self.get(job)
        if attempt is not None and attempt.is_torn:
            raise DamagedFolder("The result is torn.")
        return None if attempt is None else attempt.result

    def error(self, job: Job) -> dict[str, Any] | None:
        self._world.step("error", *ERRORS)
        attempt = self.get(job)
        return None if attempt is None else attempt.error

    def last_words(self, job: Job, returncode: int) -> str:
        return f"it ended with {returncode}"

    def note(self, job: Job, text: str) -> None:
        self._world.step("note", *ERRORS)

    def finish(self, job: Job, result: dict[str, Any]) -> dict[str, Any]:
        self._world.step("finish", *ERRORS)
        if job.id not in self.published and self._world.chance(0.02):
            raise Conflict("It is there already.")
        self._world.check_finish(job, result)
        self.published.setdefault(job.id, []).append(result["epoch"])
        self._world.note("finish", job)
        self._world.step("finished", OSError)
        return {"answer": result["epoch"]}
