"""One random schedule: the real scheduler, stores and leases on a virtual clock, and everything that can go wrong.

A schedule is a pure function of its seed. Faults strike at every operation of the owner (each read, each transaction
before and after its commit, each call about an attempt): it is killed and started again over the same database, it is
frozen for seconds or a day, the disk or the database does not answer, a user does something in between, the wall clock
is set. Then the faults end, and everything has to come to rest. Each rule that is broken on the way is a `Violation`:

    lost             an acknowledged job is gone, not final at rest, or its client key made two
    run twice        an attempt starts while another one of its job could still act
    let go alive     a job left `running` while its attempt could still act
    illegal move     a change of a row that LEGAL_MOVES does not have; an epoch that went down or was skipped
    stale result     the result of an earlier attempt was finished or kept, or one that was never published
    too much leased  leases of jobs and replicas beyond the machine; a whole card shared; a lease without a run
    overtaken        a job started before an equal one ahead of it in line that could have started
    killed alive     an attempt was ended for silence that was not long enough, or for no reason
    cancel ignored   a cancelled job was started, not told to stop, or succeeded without a result of its own
    no reason        a job waits and does not say for what
    hidden           a job that is not final is archived
    stumbled         an error that no fault caused came out of a round
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from random import Random
from typing import Any
from unittest import mock

from bedplate import endpoints as endpoints_module
from bedplate import jobs as jobs_module
from bedplate.compute import GIB, Demand, Gpu, Inventory, Lease
from bedplate.endpoints import EndpointStore
from bedplate.jobs import FINAL, LEGAL_MOVES, Job, JobStore
from bedplate.leases import Leases
from bedplate.machine import MachineForJobs, SimulatedMachine
from bedplate.scheduler import START_SECONDS, Scheduler
from bedplate_registry.errors import BedplateError, Unavailable
from faults.observed import ObservedDatabase, Row
from faults.simulated import Attempt, Script, SimulatedAttempts

DAY = 86_400.0
LEASE_SECONDS = 10.0
ROUNDS = (6, 18)  # with faults
ROUNDS_OF_REST = 150  # without, until all must be final
FREEZE, FAIL = 0.002, 0.003  # chances at each operation
# Chances that each schedule draws for itself, so that some are thick with one kind of trouble and some are free of it.
CRASH = (0.001, 0.003, 0.01)  # at each operation
USER = (0.003, 0.01, 0.04)  # an action in between, at each operation
CUT_OFF = (0.0, 0.02, 0.2)  # the owner dies with the commit under way by which a job leaves `running`
CLOCK = (0.0, 0.05, 0.5)  # a step of the wall clock, in each round

CARDS = tuple(Gpu(index, f"GPU-{index}", "V100", 16 * GIB, (7, 0)) for index in range(2))
MACHINE = Inventory(cores=4, memory_bytes=16 * GIB, memory_free_bytes=16 * GIB, gpus=CARDS)
DEMANDS = (
    Demand(),
    Demand(cores=1, memory_bytes=GIB),
    Demand(cores=2, memory_bytes=4 * GIB),
    Demand(cores=3),
    Demand(cores=64, memory_bytes=GIB),  # more than there is: it runs alone
    Demand(cores=1, gpus=1),
    Demand(cores=1, gpus=2),
    Demand(cores=1, gpus=1, gpu_memory_bytes=6 * GIB),
    Demand(memory_bytes=9 * GIB),
)
REPLICAS = (
    Demand(memory_bytes=2 * GIB, gpus=1, gpu_memory_bytes=4 * GIB),
    Demand(gpus=1, gpu_memory_bytes=12 * GIB),
    Demand(memory_bytes=8 * GIB),
)


class Crash(BaseException):
    """The owner is killed here. Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


class Violation(BaseException):
    """A rule was broken."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Clock:
    """`now` only goes forward. The wall clock is set by days, both ways."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.offset = 1.7e9

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset

    time = wall  # stands in for the module `time` where one only shows the time


@dataclass(frozen=True)
class Ids:
    """Stands in for the module `secrets`. Jobs draw from so few ids that the same one comes twice at times."""

    draw: Callable[[], int]

    def token_hex(self, size: int) -> str:
        return f"{self.draw():02}"


@dataclass(frozen=True)
class Parts:
    """What a world is built of. A seeded defect replaces one of them."""

    scheduler: Callable[..., Scheduler] = Scheduler
    store: Callable[..., JobStore] = JobStore
    leases: Callable[..., Leases] = Leases
    attempts: Callable[..., SimulatedAttempts] = SimulatedAttempts


class World:
    """`run()` goes through one schedule. Raises Violation."""

    def __init__(self, seed: int, database: ObservedDatabase, parts: Parts | None = None) -> None:
        self.seed, self.random, self.clock = seed, Random(seed), Clock()
        self.parts, self.database = parts or Parts(), database
        self.machine = SimulatedMachine(MACHINE)
        self.attempts = self.parts.attempts(self)
        self.counts: Counter[str] = Counter()
        self.trace: list[tuple[Any, ...]] = []
        self.has_faults = True
        self._inside: list[str] = []  # round, user: what was begun and has not ended
        self._is_disturbed = False  # a fault struck in this round
        self._rounds = 0
        self._jobs: dict[str, Row] = {}  # the rows as they were committed
        self._touched: dict[str, int] = {}  # the round in which a row changed last
        self._unable: set[str] = set()  # jobs that could not be started in this round, for a reason of their own
        self._replicas: dict[str, Row] = {}
        self._known: dict[str, str | None] = {}  # acknowledged jobs, and their client keys
        self._requests: dict[str, dict[str, Any]] = {}  # by client key: what was submitted, acknowledged or not
        self._resumed = 0
        self._late: list[tuple[str, Any]] = []  # updates on their way when their owner died
        self._crash, self._user_acts = self.random.choice(CRASH), self.random.choice(USER)
        self._cut_off, self._clock_steps = self.random.choice(CUT_OFF), self.random.choice(CLOCK)
        self._has_endpoints = self.random.random() < 0.4
        self._max_jobs = self.random.choice([1, 3, 16, 16])
        self._kept_gpus = int(self._has_endpoints and self.random.random() < 0.3)
        database.enter(self)
        self._start_owner()

    def run(self) -> None:
        with (
            mock.patch.object(jobs_module, "secrets", Ids(partial(self.random.randrange, 60))),
            mock.patch.object(endpoints_module, "secrets", Ids(count().__next__)),
            mock.patch.object(endpoints_module, "time", self.clock),
        ):
            for _ in range(self.random.randint(1, 4)):
                self._as_process(self._user, self._submit)
            for _ in range(self.random.randint(*ROUNDS)):
                self._pass_time()
                self._as_process(self._round)
                if self.chance(0.25):
                    self._as_process(self._user)
            self._rest()

    # --- faults ---

    def chance(self, probability: float) -> bool:
        return self.has_faults and self.random.random() < probability

    def script(self, job: Job) -> Script:
        script = Script.wild(self.random) if self.has_faults else Script.calm(self.random)
        if job.spec["dies"]:
            script.end = "death"
        return script

    def step(self, where: str, *errors: type[Exception]) -> None:
        """An operation of the owner begins or has ended: whatever can happen happens here."""
        self.counts["operations"] += 1
        if not self.has_faults:
            return
        drawn = self.random.random()
        if drawn < self._crash:
            self.note("crash at", where)
            self.counts["crashes"] += 1
            raise Crash
        drawn -= self._crash
        if drawn < FREEZE:
            seconds = self.random.choice([2.0, 8.0, 45.0, DAY])
            self.note("the owner is frozen at", where, seconds)
            self.counts["freezes"] += 1
            self.clock.now += seconds
            return
        drawn -= FREEZE
        if drawn < FAIL:
            if errors:
                self.note(where, "fails")
                self.counts["errors"] += 1
                self._is_disturbed = True
                raise self.random.choice(errors)("It did not answer.")
            return
        drawn -= FAIL
        if drawn < self._user_acts and len(self._inside) < 3:  # of several threads, one owner's
            self._user()
        elif drawn < 2 * self._user_acts and "round" not in self._inside:
            self._round()

    def before_commit(self, changes: list[Any], update: tuple[str, Any] | None) -> None:
        """The owner may die with its commit under way. Such a commit may still land, at any later time."""
        is_end = any(table == "jobs" and old and old["state"] == "running" for table, _, old, _ in changes)
        if not self.chance(self._cut_off if is_end else self._crash):
            return
        self.counts["crashes"] += 1
        if is_end and self.chance(0.8):
            assert update is not None
            self._late.append(update)
        self.note("crash before a commit;", len(self._late), "may still land")
        raise Crash

    def _start_owner(self) -> None:
        """A new process over the same database: nothing that was in memory is left."""
        self.store = self.parts.store(self.database, self.clock.wall)
        self.endpoints = EndpointStore(self.database)
        for_jobs = MachineForJobs(self.machine, self._kept_gpus)
        self.leases = self.parts.leases(self.machine, for_jobs, self.store, self.endpoints)
        self.scheduler = self.parts.scheduler(
            self.store,
            self.attempts,
            self.leases,
            max_jobs=self._max_jobs,
            lease_seconds=LEASE_SECONDS,
            clock=self.clock,
        )

    def _as_process(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Crash:
            self._inside.clear()
            self._is_disturbed = True
            self._start_owner()
            if self.chance(0.5):
                self.clock.now += self.random.choice([0.5, 5.0, 60.0])

    def _pass_time(self) -> None:
        """Between two rounds. A frozen owner has long gaps; its attempts go on."""
        gap = self.random.choice([0.2, 0.5, 1.0, 3.0, 5.0])
        if self.chance(0.03):
            gap = self.random.choice([20.0, 120.0, DAY])
            self.counts["freezes"] += 1
        self.clock.now += gap
        if self.chance(self._clock_steps):
            step = self.random.choice([-DAY, -60.0, DAY])
            self.note("the wall clock is set by", step)
            self.counts["clock steps"] += 1
            self.clock.offset += step
        if self._late and self.chance(0.25):
            self._land()

    def _land(self) -> None:
        update = self._late.pop()
        self.note("a late commit lands")
        self.counts["late commits"] += 1
        self.database.land(update)

    # --- the owner ---

    def _round(self) -> None:
        """What the workspace's loop does; an error in one part leaves the others alone."""
        self._rounds += 1
        self._inside.append("round")
        self._is_disturbed = False
        self._unable.clear()
        for work in (self._reconcile, self.scheduler.tick):
            try:
                work()
            except (OSError, Unavailable):
                if not self._is_disturbed:
                    raise
        self._inside.pop()
        if not self._is_disturbed:
            self._check_round()

    def _reconcile(self) -> None:
        """Replicas without processes: each is there at once, fails at times, and goes when it is told to."""
        if not self._has_endpoints:
            return
        wished = {(row.endpoint, row.name) for row in self.endpoints.deployments()}
        for row in self.endpoints.replicas():
            if row.state == "stopping" or (row.endpoint, row.deployment) not in wished or self.chance(0.03):
                self.endpoints.drop_replica(row)
        for deployment in self.endpoints.missing():
            lease = self.leases.for_replica(deployment.endpoint, deployment.demand)
            if isinstance(lease, Lease):
                self.endpoints.add_replica(deployment, lease)
            else:
                self.endpoints.note_waiting(deployment, lease.message)

    # --- users ---

    def _user(self, action: Callable[[], None] | None = None) -> None:
        self._inside.append("user")
        actions = [self._submit, self._submit_again, self._cancel, self._resume, self._archive]
        if self._has_endpoints:
            actions += [self._deploy] * 4 + [self._break_card]
        try:
            (action or self.random.choice(actions))()
        except (BedplateError, OSError) as exc:  # he is told, and may try again
            self.note("the user is told:", exc)
        self._inside.pop()

    def _submit(self) -> None:
        key = f"key-{len(self._requests)}"
        self._requests[key] = {
            "demand": self.random.choice(DEMANDS),
            "priority": self.random.choice([0, 0, 0, 10]),
            "preemptible": self.random.random() < 0.5,
            "spec": {"key": key, "dies": self.random.random() < 0.1},  # dies: in every attempt
        }
        self._send(key)

    def _submit_again(self) -> None:
        """He got no answer, or clicked twice."""
        if self._requests:
            self._send(self.random.choice(list(self._requests)))

    def _send(self, key: str) -> None:
        job = self.store.submit("script", client_key=key, **self._requests[key])
        self.note("submit", job, job.demand, job.priority)
        before = {known for known, made_by in self._known.items() if made_by == key}
        if before - {job.id}:
            self.violated("lost", f"{key} made {job.id} and {before}")
        self._known[job.id] = key

    def _any_job(self) -> str | None:
        return self.random.choice(list(self._known)) if self._known else None

    def _cancel(self) -> None:
        if (job_id := self._any_job()) is not None:
            resumed = self._resumed
            job = self.store.ask_cancel(job_id)
            self.note("cancel", job)
            if not (job.is_final or job.cancel) and resumed == self._resumed:
                self.violated("cancel ignored", f"{job.id} is {job.state} and nothing is noted")

    def _resume(self) -> None:
        if (job_id := self._any_job()) is not None:
            self._resumed += 1
            ask = self.random.choice([self.store.resume, self.store.retry])
            self.note(ask.__name__, ask(job_id))

    def _archive(self) -> None:
        if (job_id := self._any_job()) is not None:
            self.note("archive", self.store.archive(job_id, archived=self.random.random() < 0.7))

    def _deploy(self) -> None:
        if self.endpoints.all():
            self.endpoints.delete("support")
            self.note("delete the endpoint")
        else:
            demand = self.random.choice(REPLICAS)
            self.endpoints.deploy("support", "m:1", "t", instances=self.random.randint(1, 2), demand=demand)
            self.note("deploy", demand)

    def _break_card(self) -> None:
        first = self.machine.inventory().gpus[0]
        broken = replace(first, problem="it fell off the bus" if first.is_usable else None)
        self.machine.set(replace(MACHINE, gpus=(broken, *MACHINE.gpus[1:])))
        self.note("card 0", broken.problem or "is back")

    # --- rest ---

    def _rest(self) -> None:
        self.has_faults = False
        self._late, late = [], self._late
        self.note("the faults end")
        for update in late:
            self.database.land(update)
        self.machine.set(MACHINE)
        self._kept_gpus = 0
        self._start_owner()
        for endpoint in self.endpoints.all():
            self.endpoints.delete(endpoint.name)
        for key in self._requests:  # whoever got no answer asks again
            if key not in self._known.values():
                self._send(key)
        for _ in range(ROUNDS_OF_REST):
            if all(row["state"] in FINAL for row in self._jobs.values()):
                break
            self.clock.now += 4.0
            self._round()
        self._check_rest()

    def _check_rest(self) -> None:
        rows = {job.id: job for job in self.store.find(archived=None, limit=1000)}
        for job_id in self._known:
            if job_id not in rows:
                self.violated("lost", f"{job_id} is gone")
            if not rows[job_id].is_final:
                self.violated("lost", f"{rows[job_id]} has not ended")
        if set(rows) != set(self._known) or len(rows) != len(self._requests):
            self.violated("lost", f"{len(self._requests)} were submitted, {len(rows)} are there")
        for job in rows.values():
            self.counts[job.state] += 1
            for attempt in self.attempts.of(job.id):
                if attempt.is_alive:
                    self.violated("let go alive", f"{attempt} outlives its job")
        self.counts["jobs"] += len(rows)
        self.counts["attempts"] += len(self.attempts.all)

    # --- rules ---

    def cannot_start(self, job: Job) -> None:
        """Its turn does not come in this round, and those behind it need not wait for it."""
        self._unable.add(job.id)

    def violated(self, kind: str, message: str) -> None:
        self.note("VIOLATED", kind, message)
        raise Violation(kind, message)

    def committed(self, changes: list[tuple[str, str, Row | None, Row | None]]) -> None:
        for table, event, old, new in changes:
            if table == "replicas":
                assert old or new
                self._replicas.pop((old or new or {})["id"], None)
                if new:
                    self._replicas[new["id"]] = new
            else:
                self._check_job(event, old, new)
        self._check_leases()

    def _check_job(self, event: str, old: Row | None, new: Row | None) -> None:
        if event == "DELETE" or new is None:
            self.violated("lost", f"the row of {old} was deleted")
            return
        if old is None:
            if (new["state"], new["epoch"]) != ("queued", 0):
                self.violated("illegal move", f"made as {dict(new)}")
        else:
            self._check_move(old, new)
            if old["state"] == "queued" and new["state"] == "running":
                self._check_turn(old)
            if old["state"] == "running" and new["state"] != "running":
                self.counts["made room"] += bool(old["preempt"] and new["state"] == "queued")
                self._check_end(old, new)
        if (new["state"] == "running") != (_lease(new) is not None):
            self.violated("too much leased", f"{new['id']} is {new['state']} with the lease {new['lease']}")
        if new["archived"] is not None and new["state"] not in FINAL:
            self.violated("hidden", f"{new['id']} is {new['state']} and archived")
        self._jobs[new["id"]] = new
        if old is None or any(old[name] != new[name] for name in ("state", "epoch", "cancel")):
            self._touched[new["id"]] = self._rounds

    def _check_move(self, old: Row, new: Row) -> None:
        before, after = old["state"], new["state"]
        if before != after:
            self.note("move", old["id"], before, "->", after, "epoch", new["epoch"])
            if after not in LEGAL_MOVES[before]:
                self.violated("illegal move", f"{old['id']} from {before} to {after}")
        began = (before, after) == ("queued", "running")
        if new["epoch"] != old["epoch"] + began:
            self.violated("illegal move", f"{old['id']}: epoch {old['epoch']} to {new['epoch']}, {before} to {after}")
        if before == after == "succeeded" and old["result"] != new["result"]:
            self.violated("stale result", f"the result of {old['id']} changed after its end")

    def _check_turn(self, job: Row) -> None:
        """A job was started: was it its turn?"""
        if job["cancel"] and self._touched[job["id"]] < self._rounds:
            self.violated("cancel ignored", f"{job['id']} was cancelled and is started")
        if self._is_disturbed:
            return
        for other in self._jobs.values():
            ahead = (-other["priority"], other["seq"]) < (-job["priority"], job["seq"])
            could = self._touched[other["id"]] < self._rounds and other["id"] not in self._unable
            if other["state"] == "queued" and ahead and could and other["demand"] == job["demand"]:
                self.violated("overtaken", f"{job['id']} started before {other['id']}")

    def _check_end(self, old: Row, new: Row) -> None:
        """A job left `running`."""
        attempt = self.attempts.all.get((old["id"], old["epoch"]))
        for any_attempt in self.attempts.of(old["id"]):
            if any_attempt.is_alive:
                self.violated("let go alive", f"{old['id']} becomes {new['state']} while {any_attempt} lives")
        if new["state"] == "failed":  # at its finish perhaps; a later attempt then finishes what is its own
            self.attempts.published.pop(old["id"], None)
        if new["state"] == "succeeded":
            kept = json.loads(new["result"])["answer"]
            published = self.attempts.published.get(old["id"], [])
            if attempt is None or attempt.returncode != 0 or kept != old["epoch"] or kept not in published:
                self.violated("stale result", f"{old['id']}@{old['epoch']} keeps that of {kept}; {published} finished")

    def _check_leases(self) -> None:
        leases = [lease for row in (*self._jobs.values(), *self._replicas.values()) if (lease := _lease(row))]
        cores, memory = sum(lease.cores for lease in leases), sum(lease.memory_bytes for lease in leases)
        if cores > MACHINE.cores or memory > MACHINE.memory_bytes:
            self.violated("too much leased", f"{cores} cores, {memory / GIB} GiB")
        for card in CARDS:
            shares = [lease.gpu_memory_bytes for lease in leases if card.uuid in lease.gpus]
            if (None in shares and len(shares) > 1) or sum(share or 0 for share in shares) > card.memory_bytes:
                self.violated("too much leased", f"{card.uuid}: {shares}")

    def check_kill(self, job: Job, attempt: Attempt) -> None:
        """Who is running may be ended for silence, death, a torn result or because somebody asked; else not."""
        row = self._jobs[job.id]
        reasons = row["state"] != "running" or row["cancel"] or row["preempt"] or attempt.is_torn
        if reasons or attempt.death_seen or attempt.kill_asked or attempt.returncode is not None:
            return
        patience = LEASE_SECONDS if attempt.is_up else START_SECONDS
        if attempt.silence_seen < patience:
            self.violated("killed alive", f"{attempt} after {attempt.silence_seen:.1f} s of silence")

    def check_finish(self, job: Job, result: dict[str, Any]) -> None:
        row = self._jobs[job.id]
        if row["state"] != "running" or not result["epoch"] == job.epoch == row["epoch"]:
            self.violated("stale result", f"that of {result['epoch']} is finished; {job.id} is at {row['epoch']}")
        if set(self.attempts.published.get(job.id, [])) - {job.epoch}:
            self.violated("stale result", f"{job.id} was finished with that of another attempt before")

    def _check_round(self) -> None:
        """After a round in which nothing went wrong."""
        for row in self._jobs.values():
            if self._touched[row["id"]] >= self._rounds:
                continue
            if row["state"] == "queued" and not (row["waiting"] and row["waiting_for"]):
                self.violated("no reason", f"{row['id']} waits and does not say for what")
            attempt = self.attempts.all.get((row["id"], row["epoch"]))
            is_told = attempt is None or not attempt.is_up or attempt.stop_asked or attempt.kill_asked
            if row["state"] == "running" and row["cancel"] and not is_told:
                self.violated("cancel ignored", f"{attempt} was not told to stop")

    # --- trace ---

    def note(self, *what: Any) -> None:
        self.trace.append((self.clock.now, *what))

    def describe(self) -> str:
        """The whole schedule, one line for each thing that happened."""
        lines = [f"{now - 1000:12.1f}  " + " ".join(_show(item) for item in what) for now, *what in self.trace]
        return "\n".join([f"schedule {self.seed}", *lines])


def _lease(row: Row) -> Lease | None:
    held = json.loads(row["lease"]) if row["lease"] else None
    return Lease.from_json(held) if held else None


def _show(item: Any) -> str:
    return f"{item.id}@{item.epoch} ({item.state})" if isinstance(item, Job) else str(item)
