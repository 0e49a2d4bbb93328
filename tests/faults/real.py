"""The same rules with real processes: supervisors and workers, SIGSTOP, SIGKILL, an owner that is killed and started.

A schedule has a home of its own, an owner (the workspace's loop in a process: `python real.py HOME`), a few jobs, and
random faults for a while; then all jobs have to come to rest. A worker holds a lock on a file of its job's folder while
anything of it lives, and writes down its begin and its end: one that finds the lock taken shows that a job was run
twice. A trigger in the database notes every move.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bedplate.compute import GIB, Demand, Inventory
from bedplate.database import Database
from bedplate.jobs import LEGAL_MOVES, Job, JobStore
from bedplate.kinds import KINDS, Kind
from bedplate.kinds.base import Command
from bedplate.machine import SimulatedMachine
from bedplate.settings import Settings
from bedplate.spawn import ATTEMPT, Held
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from faults.world import Violation

LEASE_SECONDS = 2.0
FAULT_SECONDS = 6.0
REST_SECONDS = 120.0  # until all must be final
LEAVE_SECONDS = 5.0  # for a supervisor that has reported the end to be gone itself
CORES = 3
AT_ONCE = 4  # schedules

WORKER = """
import fcntl, json, os, signal, subprocess, sys, time
epoch, plan = int(sys.argv[1]), json.loads(sys.argv[2])
ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def tell(what): os.write(ledger, (json.dumps([what, epoch]) + "\\n").encode())
lock = open("lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    tell("twice")
    sys.exit(9)
tell("begin")
if plan["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if plan["child"]:  # in a session of its own, with the lock in its hands
    subprocess.Popen(["sleep", "60"], start_new_session=True, pass_fds=[lock.fileno()])
time.sleep(plan["seconds"])
if plan["dies"] >= epoch:
    os.kill(os.getpid(), signal.SIGKILL)
with open(f"result-{epoch}.json.new", "w") as file:
    json.dump({"epoch": epoch}, file)
os.rename(f"result-{epoch}.json.new", f"result-{epoch}.json")
tell("end")
"""

AUDIT = """
CREATE TABLE history (job, before, after, old_epoch, epoch, lease);
CREATE TRIGGER history_of_moves AFTER UPDATE ON jobs BEGIN
  INSERT INTO history VALUES (old.id, old.state, new.state, old.epoch, new.epoch, new.lease);
END;
"""


def finish(context: Any, job_id: str, spec: Any, result: dict[str, Any]) -> dict[str, Any]:
    with (context.home.path / "finished").open("a") as file:
        file.write(json.dumps([job_id, result["epoch"]]) + "\n")
    time.sleep(spec["finish_seconds"])  # the owner may be killed here
    return {"answer": result["epoch"]}


SCRIPT = Kind(
    "script",
    scope="admin",
    prepare=lambda context, request: dict(request),
    demand=lambda context, spec: Demand(cores=spec["cores"]),
    command=lambda context, spec, folder, epoch, lease: Command(
        [sys.executable, "-S", "-c", WORKER, str(epoch), json.dumps(spec)]
    ),
    finish=finish,
)


def own(home: Path) -> None:
    """Be the owner, until SIGKILL."""
    KINDS["script"] = SCRIPT
    machine = SimulatedMachine(Inventory(CORES, 8 * GIB, 8 * GIB))
    workspace = Workspace(Settings.from_environment({"BEDPLATE_HOME": str(home)}), address=None, machine=machine)
    workspace.scheduler._lease_seconds = LEASE_SECONDS
    workspace.start()
    (home / "owned").touch()
    signal.pause()


class RealSchedule:
    """One schedule. `run()` raises Violation, with the home left for a look."""

    def __init__(self, seed: int) -> None:
        self.seed, self.random = seed, Random(seed)
        self.home = Path(tempfile.mkdtemp(prefix=f"bp{seed}-"))
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self._began = time.monotonic()
        self._owner: subprocess.Popen[bytes] | None = None
        self._stopped: list[tuple[float, int]] = []  # when to let it go on, and its pid
        self._known: dict[str, str] = {}  # acknowledged jobs, and their keys

    def run(self) -> None:
        database = Database(self.home / "bedplate.db")
        with closing(sqlite3.connect(self.home / "bedplate.db")) as connection:
            connection.executescript(AUDIT)
        self._jobs = JobStore(database)
        try:
            for _ in range(self.random.randint(2, 3)):
                self._submit()
            self._start_owner()
            self._disturb()
            self._rest()
            self._kill_owner()
            self._check()
        finally:
            self._let_go_on(everything=True)
            self._kill_owner()
            self._kill_all()
            database.close()
        shutil.rmtree(self.home)

    def describe(self) -> str:
        return "\n".join([f"schedule {self.seed} in {self.home}", *self.trace])

    # --- faults ---

    def _disturb(self) -> None:
        self._wait(lambda: (self.home / "owned").exists())
        actions: list[tuple[Callable[[], None], int]] = [
            (self._stop_worker, 3),
            (self._stop_supervisor, 3),
            (self._kill_worker, 2),
            (self._kill_supervisor, 2),
            (self._restart_owner, 2),
            (self._freeze_owner, 2),
            (self._submit_again, 1),
            (self._cancel, 2),
            (self._resume, 2),
        ]
        deadline = time.monotonic() + FAULT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(self.random.uniform(0.1, 0.9))
            self._let_go_on()
            action = self.random.choices([action for action, _ in actions], [weight for _, weight in actions])[0]
            with suppress(BedplateError, ProcessLookupError):
                action()

    def _pid(self, who: str) -> int | None:
        """The pid of the worker or supervisor of a running job."""
        running = self._jobs.running()
        if not running:
            return None
        job = self.random.choice(running)
        with suppress(FileNotFoundError, ValueError):
            started = json.loads((self.home / "jobs" / job.id / f"started-{job.epoch}.json").read_text())
            if Held(self.home / "jobs" / job.id, job.epoch).is_alive:
                self._note(who, "of", job.id, job.epoch)
                return int(started["worker" if who == "worker" else "pid"])
        return None

    def _freeze(self, pid: int | None, seconds: float) -> None:
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            self._note("SIGSTOP", pid, f"{seconds:.1f} s")
            self.counts["SIGSTOP"] += 1
            self._stopped.append((time.monotonic() + seconds, pid))

    def _kill(self, pid: int | None) -> None:
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._note("SIGKILL", pid)
            self.counts["SIGKILL"] += 1

    def _stop_worker(self) -> None:
        self._freeze(self._pid("worker"), self.random.choice([0.5, LEASE_SECONDS + 2, 60]))

    def _stop_supervisor(self) -> None:
        self._freeze(self._pid("supervisor"), self.random.choice([0.5, LEASE_SECONDS + 2, 60]))

    def _kill_worker(self) -> None:
        self._kill(self._pid("worker"))

    def _kill_supervisor(self) -> None:
        self._kill(self._pid("supervisor"))

    def _restart_owner(self) -> None:
        self._kill_owner()
        self.counts["owners killed"] += 1
        time.sleep(self.random.choice([0.0, 0.0, 2.0]))
        self._start_owner()

    def _freeze_owner(self) -> None:
        assert self._owner is not None
        self._note("the owner is frozen")
        self.counts["owners frozen"] += 1
        self._owner.send_signal(signal.SIGSTOP)
        time.sleep(self.random.choice([0.5, LEASE_SECONDS + 1]))  # nothing else: it may hold the lock of the database
        self._owner.send_signal(signal.SIGCONT)

    def _start_owner(self) -> None:
        with (self.home / "owner.log").open("ab") as log:
            self._owner = subprocess.Popen(
                [sys.executable, __file__, str(self.home)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._note("the owner starts")

    def _kill_owner(self) -> None:
        if self._owner is not None:
            self._note("the owner is killed")
            self._owner.kill()
            self._owner.wait()
            self._owner = None

    def _let_go_on(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        for when, pid in self._stopped:
            if everything or when <= now:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        self._stopped = [] if everything else [(when, pid) for when, pid in self._stopped if when > now]

    # --- users ---

    def _submit(self, key: str | None = None) -> None:
        random = Random(f"{self.seed} {key or len(self._known)}")
        key = key or f"key-{len(self._known)}"
        spec = {
            "seconds": random.uniform(0.2, 4.0),
            "dies": random.choice([0, 0, 0, 1, 9]),  # in all attempts up to this one
            "stubborn": random.random() < 0.3,
            "child": random.random() < 0.3,
            "cores": random.choice([0, 1, 2, 3]),
            "finish_seconds": random.choice([0.0, 0.0, 0.5]),
        }
        job = self._jobs.submit("script", spec, client_key=key, demand=Demand(cores=spec["cores"]))
        before = self._known.setdefault(key, job.id)
        if before != job.id:
            raise Violation("lost", f"{key} made {before} and {job.id}")
        self._note("submit", job.id, spec)

    def _submit_again(self) -> None:
        key = self.random.choice(list(self._known))
        job = self._jobs.get(self._known[key])
        again = self._jobs.submit("script", job.spec, client_key=key, demand=job.demand)
        if again.id != job.id:
            raise Violation("lost", f"{key} made {job.id} and {again.id}")

    def _cancel(self) -> None:
        job_id = self.random.choice(list(self._known.values()))
        self._note("cancel", job_id)
        self._jobs.ask_cancel(job_id)
        self.counts["cancels"] += 1

    def _resume(self) -> None:
        job_id = self.random.choice(list(self._known.values()))
        self.random.choice([self._jobs.resume, self._jobs.retry])(job_id)
        self._note("resume", job_id)

    # --- rest and rules ---

    def _rest(self) -> None:
        """What was frozen for long stays frozen: the lease has to end it."""
        self._wait(lambda: self._let_go_on() or all(job.is_final for job in self._all()))

    def _all(self) -> list[Job]:
        return [self._jobs.get(job_id) for job_id in self._known.values()]

    def _wait(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + REST_SECONDS
        while not what():
            if time.monotonic() > deadline:
                raise Violation("lost", f"not at rest: {[job for job in self._all() if not job.is_final]}")
            time.sleep(0.1)

    def _check(self) -> None:
        jobs = self._all()
        if len(self._jobs.find(archived=None)) != len(jobs):
            raise Violation("lost", f"{len(jobs)} were submitted, there are {self._jobs.find(archived=None)}")
        finished = _lines(self.home / "finished")
        for job in jobs:
            self.counts[job.state] += 1
            self.counts["attempts"] += job.epoch
            self._check_ledger(job, _lines(self.home / "jobs" / job.id / "ledger"))
            epochs = {epoch for job_id, epoch in finished if job_id == job.id}
            if job.state == "succeeded" and (job.result != {"answer": job.epoch} or epochs != {job.epoch}):
                raise Violation("stale result", f"{job.id}@{job.epoch} keeps {job.result}, finished: {epochs}")
        self.counts["jobs"] += len(jobs)
        self._check_moves()
        deadline = time.monotonic() + LEAVE_SECONDS
        while left := self._marked():
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise Violation("let go alive", f"processes of attempts are left: {left}")

    def _check_ledger(self, job: Job, ledger: list[list[Any]]) -> None:
        begun = [epoch for what, epoch in ledger if what == "begin"]
        if any(what == "twice" for what, _ in ledger) or len(set(begun)) != len(begun):
            raise Violation("run twice", f"{job.id}: {ledger}")
        if begun != sorted(begun) or (begun and begun[-1] > job.epoch):
            raise Violation("run twice", f"{job.id} is at {job.epoch}: {ledger}")
        if job.state == "succeeded" and ["end", job.epoch] not in ledger:
            raise Violation("stale result", f"{job.id}@{job.epoch} did not end: {ledger}")

    def _check_moves(self) -> None:
        held: dict[str, int] = {}
        with closing(sqlite3.connect(self.home / "bedplate.db")) as connection:
            moves = connection.execute("SELECT * FROM history ORDER BY rowid").fetchall()
        for job, before, after, old_epoch, epoch, lease in moves:
            if before != after and after not in LEGAL_MOVES[before]:
                raise Violation("illegal move", f"{job} from {before} to {after}")
            if epoch != old_epoch + ((before, after) == ("queued", "running")):
                raise Violation("illegal move", f"{job} from epoch {old_epoch} to {epoch}")
            held[job] = (json.loads(lease) or {"cores": 0})["cores"] if lease else 0
            if sum(held.values()) > CORES or (held[job] and after != "running"):
                raise Violation("too much leased", f"{held}")
        self.counts["moves"] += sum(before != after for _, before, after, *_ in moves)

    def _marked(self) -> list[int]:
        """Living processes that carry the mark of an attempt of this home."""
        mark, found = f"{ATTEMPT}={self.home.resolve()}/".encode(), []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdecimal() and mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def _kill_all(self) -> None:
        for pid in self._marked():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _note(self, *what: Any) -> None:
        self.trace.append(f"{time.monotonic() - self._began:8.2f}  " + " ".join(map(str, what)))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_real(first: int, schedules: int, at_once: int = AT_ONCE) -> dict[str, Any]:
    """Schedules from seed `first` on, several at once; the figures. A broken one is printed, and its home is kept."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    lock = threading.Lock()

    def run_one(seed: int) -> None:
        schedule = RealSchedule(seed)
        kind = None
        try:
            schedule.run()
        except Violation as violation:
            kind = violation.kind
            schedule._note("VIOLATED", violation)
        except Exception as exc:
            kind = "stumbled"
            schedule._note("STUMBLED", repr(exc))
        with lock:
            counts.update(schedule.counts)
            if kind is not None:
                broken.append((seed, kind))
                print(f"\nBROKEN ({kind})\n{schedule.describe()}\n", flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run_one, range(first, first + schedules)))
    return {
        "schedules": schedules,
        "seed": first,
        **dict(sorted(counts.items())),
        "violations": Counter(kind for _, kind in broken),
        "broken_seeds": sorted(seed for seed, _ in broken),
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    own(Path(sys.argv[1]))
