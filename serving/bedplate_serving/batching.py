"""The queue in front of a model: batches form while it is busy.

Whenever a thread of the model is free it tokenizes what has arrived, cuts a batch from the front by a token budget and
runs it. There is no timer (an idle model starts at once), no sorting across the queue (nobody starves), and at most
`max_queue` items are inside: beyond that a request is refused with an estimate of when to come back. What nobody waits
for any more, because its caller left, its deadline passed or another item of its request failed, leaves the queue at
once and is not worked on.

    event loop:  submit ──► arrivals ─┐                                  ┌─► future of the request
    threads:                          └─► encode ─► ready ─► cut ─► forward ─┘
                                          └─ one at a time ────┘   └─ up to `workers` at once
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.errors import BedplateError
from bedplate_serving.halving import failure_of, outcomes
from bedplate_serving.predictors.base import BadItems, Encoded, Engine, ItemError, is_cut
from bedplate_serving.queues import DeadlineExceeded, Draining, Pace, QueueFull, Scored, at_deadline

__all__ = ["Batcher"]

LOOKAHEAD = 64  # items tokenized ahead of the cut: more than a batch holds, too few to keep a small request waiting


class _Ticket:
    """One request's items on their way. It belongs to the event loop; threads only look whether it is open."""

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self.future: asyncio.Future[list[Scored]] = loop.create_future()
        self.missing = size
        self.is_open = True
        self._results: list[Scored | None] = [None] * size

    def deliver(self, place: int, outcome: Scored | BedplateError) -> None:
        self.missing -= 1
        if isinstance(outcome, ItemError) and len(self._results) > 1:  # it does not know its place in the request
            outcome = BadItems([(place, outcome.message)])
        if isinstance(outcome, BedplateError):
            self.fail(outcome)
            return
        self._results[place] = outcome
        if not self.missing and not self.future.done():
            self.future.set_result([result for result in self._results if result is not None])

    def fail(self, error: BedplateError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class _Work:
    item: Any
    ticket: _Ticket
    place: int
    encoded: Encoded | None = None


_Outcomes = list[tuple[_Work, Scored | BedplateError]]


class Batcher:
    """The queue of a model whose items are each worked on once. `start` and `stop` belong to the same event loop.

    As many batches run at once as `engine.workers` says (1 where it does not), each in a thread of its own. It may
    change at any time, as may `engine.token_budget`: both are read at every cut.
    """

    def __init__(self, engine: Engine, *, max_queue: int = 256, token_budget: int | None = None) -> None:
        self._engine = engine
        self._max_queue = max_queue
        self._token_budget = token_budget
        self._arrivals: deque[_Work] = deque()  # guarded by _wake
        self._ready: deque[_Work] = deque()  # of the thread whose turn it is
        self._tickets: set[_Ticket] = set()  # of the event loop, as are the counts below
        self._wake = threading.Condition()
        self._turn = threading.Lock()  # to encode and to cut: what comes first goes first
        self._threads: dict[int, threading.Thread] = {}
        self._closing = False
        self._pace, self._last_done = Pace(), 0.0
        self.waiting = 0
        self.items_done = 0
        self.batches_done = 0

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_threads()

    async def stop(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        while alive := [thread for thread in list(self._threads.values()) if thread.is_alive()]:
            await asyncio.to_thread(alive[0].join)
        await asyncio.sleep(0)  # the last results were handed to this loop just now

    async def submit(self, items: Sequence[Any], *, deadline: float | None = None) -> list[Scored]:
        """See queues.Queue. A request may be longer than the queue, but finds none that is full."""
        if self._closing:
            raise Draining
        if not items:
            return []
        if self.waiting >= self._max_queue:
            raise QueueFull(self.waiting, self._pace.retry_after_seconds(self.waiting))
        ticket = _Ticket(self._loop, len(items))
        works = [_Work(item, ticket, place) for place, item in enumerate(items)]
        with at_deadline(deadline, lambda: ticket.fail(DeadlineExceeded())):
            self.waiting += len(items)
            self._tickets.add(ticket)
            with self._wake:
                self._arrivals.extend(works)
                self._wake.notify()
            try:
                return await ticket.future
            finally:
                self._close(ticket, works)

    def _close(self, ticket: _Ticket, works: Sequence[_Work]) -> None:
        """Nobody waits for it any more. What is left of it gives its place to others."""
        ticket.is_open = False
        self._tickets.discard(ticket)
        if not ticket.missing:
            return
        self.waiting -= ticket.missing
        with self._wake:
            kept = [work for work in self._arrivals if work.ticket is not ticket]
            self._arrivals.clear()
            self._arrivals.extend(kept)
        for work in works:
            if work.encoded is not None:  # else it is not open when its turn comes
                work.encoded.abandon()

    def _deliver(self, scored: _Outcomes) -> None:
        for work, outcome in scored:
            if work.ticket.is_open:
                self.waiting -= 1
                work.ticket.deliver(work.place, outcome)

    def _finish(self, scored: _Outcomes, started: float, done: float) -> None:
        """A batch is done. Its time beside another one counts once, however many really run at once."""
        self.batches_done += 1
        self.items_done += len(scored)
        self._pace.note(len(scored), max(done - max(started, self._last_done), 0.0))
        self._last_done = max(done, self._last_done)
        self._deliver(scored)

    def _fail_all(self, failure: BedplateError) -> None:
        for ticket in self._tickets:
            ticket.fail(failure)

    # --- in the model's threads

    @property
    def _workers(self) -> int:
        return max(getattr(self._engine, "workers", 1), 1)

    def _start_threads(self) -> None:
        for number in range(self._workers):
            if number not in self._threads:
                thread = threading.Thread(target=self._run, args=(number,), name=f"model-{number}", daemon=True)
                self._threads[number] = thread
                thread.start()

    def _run(self, number: int) -> None:
        """A thread's life. Whatever breaks a round, who is inside is told, and the thread goes on."""
        while True:
            try:
                with self._turn:
                    if number >= self._workers:  # there are fewer now
                        del self._threads[number]
                        return
                    if not self._wait():
                        return
                    self._start_threads()
                    self._encode_arrivals()
                    batch = self._cut()
                if batch:
                    self._score(batch)
            except BaseException as error:  # noqa: BLE001 - the thread's edge: without it nobody would be answered
                with self._turn:
                    self._ready.clear()
                self._loop.call_soon_threadsafe(self._fail_all, failure_of(error))

    def _wait(self) -> bool:
        """Until there is something to do; False when there never will be."""
        with self._wake:
            while not (self._arrivals or self._ready or self._closing):
                self._wake.wait()
            return bool(self._arrivals or self._ready)

    def _encode_arrivals(self) -> None:
        with self._wake:
            count = min(len(self._arrivals), LOOKAHEAD - len(self._ready))
            taken = [self._arrivals.popleft() for _ in range(count)]
        works = [work for work in taken if work.ticket.is_open]
        failed: _Outcomes = []
        for work, outcome in zip(works, outcomes(self._encode, works), strict=True):
            if isinstance(outcome, Encoded):
                work.encoded = outcome
                self._ready.append(work)
            else:
                failed.append((work, outcome))
        if failed:
            self._loop.call_soon_threadsafe(self._deliver, failed)

    def _encode(self, works: Sequence[_Work]) -> Sequence[Encoded]:
        return self._engine.encode([work.item for work in works])

    def _cut(self) -> list[_Work]:
        """From the front, in order of arrival, until the budget is used; one item always fits."""
        batch: list[_Work] = []
        tokens, budget = 0, self._token_budget or self._engine.token_budget
        while self._ready:
            work = self._ready[0]
            assert work.encoded is not None
            if work.ticket.is_open:
                tokens += work.encoded.length
                if batch and tokens > budget:
                    break
                batch.append(work)
            self._ready.popleft()
        return batch

    def _score(self, batch: list[_Work]) -> None:
        started = time.perf_counter()
        scored = list(zip(batch, outcomes(self._forward, batch), strict=True))
        self._loop.call_soon_threadsafe(self._finish, scored, started, time.perf_counter())

    def _forward(self, works: Sequence[_Work]) -> Sequence[Scored]:
        encoded = [work.encoded for work in works if work.encoded is not None]
        raws = self._engine.forward(encoded)
        return [Scored(raw, is_cut(one, raw)) for raw, one in zip(raws, encoded, strict=True)]
