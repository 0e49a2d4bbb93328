"""Calls measured: by several threads at once, and the statements they sent, sent again by the bare driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database

Execute = Callable[[str, Any], object]  # one statement in a transaction of its own; all its rows are fetched
Statements = list[tuple[str, Any]]


@dataclass(frozen=True)
class Figures:
    """Calls by the second, and how long one took."""

    rate: float
    p50_ms: float
    p99_ms: float
    calls: int
    processor_ms: float | None = None  # of the server, by the call

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float) -> Figures:
        ordered = sorted(latencies)
        p50, p99 = (1000 * ordered[min(int(len(ordered) * q), len(ordered) - 1)] for q in (0.5, 0.99))
        return cls(len(ordered) / seconds, p50, p99, len(ordered))


def drive(call: Callable[[int], object], *, callers: int, most: int, seconds: float) -> Figures:
    """`call(number)` for 0, 1, 2 … until `most` or the seconds are over; caller n has n, n + callers, …"""
    latencies: list[list[float]] = [[] for _ in range(callers)]
    begin = threading.Barrier(callers + 1)
    failures: list[BaseException] = []

    def caller(number: int) -> None:
        begin.wait()
        try:
            finished, end = time.perf_counter(), time.perf_counter() + seconds
            for turn in range(number, most, callers):
                started = finished
                if started > end:
                    return
                call(turn)
                finished = time.perf_counter()
                latencies[number].append(finished - started)
        except BaseException as exc:  # shown by the main thread
            failures.append(exc)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Figures.of([latency for each in latencies for latency in each], time.perf_counter() - started)


@contextmanager
def recorded(database: Database) -> Iterator[list[Statements]]:
    """What is said to the driver meanwhile, but for BEGIN. It is added to the last list: append one for each call."""
    calls: list[Statements] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        if not statement.startswith("BEGIN"):
            calls[-1].append((statement, values))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield calls
    sa.event.remove(database.engine, "before_cursor_execute", note)


def replay(
    connect: Callable[[], AbstractContextManager[Execute]],
    calls: Sequence[Statements],
    *,
    callers: int,
    most: int,
    seconds: float,
) -> Figures:
    """What was recorded, in order and over again, a connection for each caller."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect()) for _ in range(callers)]

        def call(number: int) -> None:
            execute = connections[number % callers]
            for statement, values in calls[number % len(calls)]:
                execute(statement, values)

        return drive(call, callers=callers, most=most, seconds=seconds)
