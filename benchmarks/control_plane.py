"""The control plane under load, with 10, 1,000 and 100,000 jobs present, on SQLite and PostgreSQL.

    python benchmarks/control_plane.py [--sizes 10,1000,100000] [--databases sqlite,postgresql] [--quick]

The jobs are put there in one transaction; the newest tenth is queued, the others have ended, a tenth of those is
archived. Four parts, each in a home of its own, each beside its limit, which is measured next to it in the same run:

    store      JobStore called by one and by eight threads; limit: the very statements it sent to its driver, recorded
               and sent again by the bare driver, each in a transaction of its own
    rest       one and eight callers on the home's socket of a real control plane; limit: uvicorn and FastAPI with
               nothing behind them, whose routes answer with the same objects, made beforehand
    scheduler  one round with every job queued and the machine full; limit: the statements of the round, as above
    server     from its start to the first answer of /readyz, and what it takes when idle; limit: Python importing
               fastapi, uvicorn and sqlalchemy

Both databases sync every commit to the disk. The machine is a simulated one with a single core, which the first job
holds, a process that sleeps: the others are of the same kind, wait behind it and are never run. What a phase submits
comes on top of the size and is removed after it. Callers, server and PostgreSQL share the cores. The last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from calls import Figures, Statements, drive, recorded, replay
from control_plane_report import Idle, Results, Row, report
from control_plane_servers import SUBMISSION, bare_server, load, one_core, running, simulated_server
from filled_homes import ONE_CORE, SPEC, Place, Places, job_id, postgres

from bedplate.compute import Lease
from bedplate.database import Database, jobs
from bedplate.jobs import JobStore
from bedplate.server_process import socket_client
from bedplate.workspace import Workspace
from harness import wait_for

MANY = 8  # callers at once
WRITES = 300  # at most in one phase, which also ends with its seconds
ENDLESS = 1_000_000
READY = "import fastapi, uvicorn, sqlalchemy"
SUBMIT = ("submit", "POST", "/api/v1/jobs")


def main() -> None:
    options = _options()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bpc", dir="/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        results.sync = _sync(folder)
        for database in options.databases:
            cluster = None if database == "sqlite" else stack.enter_context(postgres())
            if isinstance(cluster, str):
                results.skipped[database] = cluster
            else:
                _measure(Places(folder, cluster), options, results)
    report(options, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,1000,100000", type=_numbers)
    parser.add_argument("--databases", default=["sqlite", "postgresql"], type=_words)
    parser.add_argument("--parts", default=["store", "rest", "scheduler", "server"], type=_words)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each phase")
    parser.add_argument("--runs", type=int, default=5, help="starts of the server")
    parser.add_argument("--settle-seconds", type=float, default=10.0, help="until the memory of an idle server is read")
    parser.add_argument("--idle-seconds", type=float, default=30.0, help="over which its processor time is counted")
    parser.add_argument("--quick", action="store_true", help="short phases and at most 1,000 jobs: does it run at all?")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.runs, options.settle_seconds, options.idle_seconds = 0.3, 2, 1.0, 2.0
        options.sizes = [size for size in options.sizes if size <= 1000]
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return sorted(int(word) for word in text.split(","))


def _measure(places: Places, options: argparse.Namespace, results: Results) -> None:
    """All parts on one kind of database, each size after the other."""
    name = places.database
    results.postgres = places.version or results.postgres
    for size in options.sizes:
        print(f"{name}, {size:,} jobs", file=sys.stderr, flush=True)
        mixed = functools.partial(places.filled, size, queued=max(size // 10, 2))
        if "store" in options.parts:
            with mixed() as place:
                results.rows += measure_store(place, options.seconds)
        if "rest" in options.parts:
            with mixed() as place:
                rows, results.waiting[name, size] = measure_rest(place, options)
                results.rows += rows
        if "scheduler" in options.parts:
            with places.filled(size, queued=size) as place:
                row, results.first_rounds_ms[name, size] = measure_scheduler(place, options.seconds)
                results.rows.append(row)
    if "server" in options.parts:
        for size in (0, *options.sizes):
            print(f"{name}, starts with {size:,} jobs", file=sys.stderr, flush=True)
            with places.filled(size, queued=0) as place:
                results.idle.append(measure_server(place, options))


def _sync(folder: Path) -> Figures:
    """What the disk gives: 4 KiB written and synced, over and over."""
    with (folder / "sync").open("wb") as file:

        def write(_: int) -> None:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())

        return drive(write, callers=1, most=WRITES, seconds=2.0)


# --- the store


@dataclass(frozen=True)
class Operation:
    """One use of the store. `undo`: what makes the database as it was, where it writes."""

    name: str
    call: Callable[[int], object]
    undo: Callable[[], None] | None = None

    @property
    def writes(self) -> bool:
        return self.undo is not None

    def reset(self) -> None:
        if self.undo is not None:
            self.undo()


def _store_operations(database: Database, size: int) -> list[Operation]:
    """Eight more jobs are made for the last one, which claims them in turn and queues them again."""
    store = JobStore(database)
    ids = [job_id(number) for number in random.Random(0).choices(range(size), k=1000)]
    newest = store.find(limit=100)
    extra = [store.submit("light", SPEC, demand=ONE_CORE) for _ in range(MANY)]
    held = list(extra)

    def submit(_: int) -> object:
        return store.submit("light", SPEC, demand=ONE_CORE)

    def claim(number: int) -> None:
        taken = store.claim(held[number % MANY], Lease(1, 0))
        assert taken is not None
        assert store.move(taken, "queued")
        held[number % MANY] = replace(taken, state="queued")

    def remove_submitted() -> None:
        with database.begin() as connection:
            connection.execute(jobs.delete().where(jobs.c.seq > extra[-1].seq))

    def give_back() -> None:
        held[:] = extra
        as_made = {"state": "queued", "epoch": 0, "started": None}
        with database.begin() as connection:
            connection.execute(jobs.update().where(jobs.c.seq >= extra[0].seq).values(**as_made))

    return [
        Operation("submit", submit, remove_submitted),
        Operation("get", lambda number: store.get(ids[number % len(ids)])),
        Operation("list 100", lambda _: store.find(limit=100)),
        Operation("queue head 100", lambda _: store.queue(100)),
        Operation("place of one", lambda _: store.positions(newest[:1])),
        Operation("places of 100", lambda _: store.positions(newest)),
        Operation("claim, give back", claim, give_back),
    ]


def measure_store(place: Place, seconds: float) -> Iterator[Row]:
    with place.database() as database:
        for operation in _store_operations(database, place.size):
            calls = _rehearse(database, operation, seconds)
            most = len(calls) if operation.writes else ENDLESS
            for callers in (1, MANY):
                ours = drive(operation.call, callers=callers, most=most, seconds=seconds)
                operation.reset()
                limit = replay(place.bare, calls, callers=callers, most=most, seconds=seconds)
                operation.reset()
                yield Row("store", operation.name, place.database_name, callers, place.size, ours, limit)


def _rehearse(database: Database, operation: Operation, seconds: float) -> list[Statements]:
    """Some calls, for warming up, and what they said to the driver."""
    with recorded(database) as calls:

        def call(number: int) -> None:
            calls.append([])
            operation.call(number)

        drive(call, callers=1, most=WRITES if operation.writes else 50, seconds=seconds)
    operation.reset()
    return calls


# --- REST


def measure_rest(place: Place, options: argparse.Namespace) -> tuple[list[Row], float]:
    """The rows; and the processor seconds of the server by the minute, while its queue waits and nobody calls."""
    reads = [
        ("get", "GET", f"/api/v1/jobs/{job_id(place.size - 1)}"),
        ("list 100", "GET", "/api/v1/jobs?limit=100"),
        ("list succeeded", "GET", "/api/v1/jobs?state=succeeded&limit=100"),
        ("list a rare kind", "GET", "/api/v1/jobs?kind=evaluate&limit=100"),
    ]
    rows = []
    with simulated_server(place.home, place.variables) as server, socket_client(place.home) as client:
        _await_first_round(place)
        waiting = server.idle(options.idle_seconds)
        answers = {name: client.request(method, path).raise_for_status().json() for name, method, path in reads}
        answers["submit"] = client.post(SUBMIT[2], json=SUBMISSION).raise_for_status().json()
        with bare_server(answers, place.home.path / "bare") as bare:
            for (name, method, path), callers in itertools.product([*reads, SUBMIT], (1, MANY)):
                ours = load(server, method, path, callers, options.seconds)
                _remove_submitted(place)
                limit = load(bare, method, f"/limit/{name}", callers, options.seconds)
                rows.append(Row("rest", name, place.database_name, callers, place.size, ours, limit))
    return rows, waiting


def _await_first_round(place: Place) -> None:
    """Until the first job in line holds the core and the others know what they wait for."""
    with place.database() as database:
        store = JobStore(database)
        wait_for(lambda: store.running() and all(job.waiting for job in store.queue(99)))


def _remove_submitted(place: Place) -> None:
    with place.database() as database, database.begin() as connection:
        last = sa.select(jobs.c.seq).where(jobs.c.id == job_id(place.size - 1)).scalar_subquery()
        connection.execute(jobs.delete().where(jobs.c.seq > last))


# --- the scheduler


def measure_scheduler(place: Place, seconds: float) -> tuple[Row, float]:
    """Rounds in which nothing can start; and the first one, in ms, which starts one and tells the next 99 why not."""
    workspace = Workspace(place.settings, address=None, machine=one_core())
    tick = workspace.scheduler.tick
    try:
        first = drive(lambda _: tick(), callers=1, most=1, seconds=seconds).p50_ms
        with recorded(workspace.database) as calls:
            calls.append([])
            tick()
        ours = drive(lambda _: tick(), callers=1, most=ENDLESS, seconds=seconds)
        limit = replay(place.bare, calls, callers=1, most=ENDLESS, seconds=seconds)
    finally:
        for job in workspace.jobs.running():
            while not workspace.attempts.kill(job):
                pass
        workspace.database.close()
    return Row("scheduler", "round", place.database_name, 1, place.size, ours, limit), first


# --- the server


def measure_server(place: Place, options: argparse.Namespace) -> Idle:
    command = ("-m", "bedplate.control_plane", "--home", str(place.home.path), "--private")
    ready, imports = [], []
    for _ in range(options.runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", READY], check=True)
        imports.append(time.perf_counter() - started)
        started = time.perf_counter()
        with running(place.home, place.variables, *command):
            ready.append(time.perf_counter() - started)
    with running(place.home, place.variables, *command) as server:
        time.sleep(options.settle_seconds)
        memory, busy = server.pss_mb, server.idle(options.idle_seconds)
    return Idle(place.database_name, place.size, ready, imports, memory, busy)


if __name__ == "__main__":
    main()
