"""The queue in front of a model: batches form while it is busy.

One thread owns the model. Whenever it is free it tokenizes what has arrived, cuts a batch from the front by a token
budget and runs it. There is no timer (an idle model starts at once), no sorting across the queue (nobody starves), and
at most `max_queue` items are inside: beyond that a request is refused with an estimate of when to come back.

    event loop:  submit ──► arrivals ─┐                                  ┌─► future of the request
    thread:                           └─► encode ─► ready ─► cut ─► forward ─┘
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.errors import BedplateError, Unavailable
from bedplate_serving.predictors.base import Encoded, Engine

__all__ = ["Batcher", "QueueFull", "Scored"]

LOOKAHEAD = 64  # items tokenized ahead of the cut: more than a batch holds, too few to keep a small request waiting


class QueueFull(Unavailable):
    """More items are waiting than this replica takes."""

    code = "queue-full"
    status = 429

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        hint = f"Try again in {retry_after_seconds} s, or add an instance to the deployment."
        super().__init__(f"The queue is full: {waiting} items are waiting.", hint=hint)


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model said of one item, and whether it saw all of it."""

    raw: Any
    truncated: bool


@dataclass(slots=True)
class _Ticket:
    """One request's items on their way."""

    future: asyncio.Future[list[Scored]]
    results: list[Scored | None]
    missing: int

    def deliver(self, place: int, outcome: Scored | BaseException) -> None:
        self.missing -= 1
        if isinstance(outcome, BaseException):
            if not self.future.done():
                self.future.set_exception(outcome)
            return
        self.results[place] = outcome
        if not self.missing and not self.future.done():
            self.future.set_result([result for result in self.results if result is not None])


@dataclass(slots=True)
class _Work:
    item: Any
    ticket: _Ticket
    place: int
    encoded: Encoded | None = None


class Batcher:
    """Give it items on the event loop, get raw results back. `start` and `stop` belong to the same loop."""

    def __init__(self, engine: Engine, *, max_queue: int = 256, token_budget: int | None = None) -> None:
        self._engine = engine
        self._max_queue = max_queue
        self._token_budget = token_budget or engine.token_budget
        self._arrivals: deque[_Work] = deque()
        self._ready: deque[_Work] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.waiting = 0  # items inside, the running batch among them; touched by the event loop alone
        self.items_done = 0
        self.batches_done = 0
        self._items_per_second = 0.0

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finishes what is inside, then ends the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # the last results were handed to this loop just now

    async def submit(self, items: Sequence[Any]) -> list[Scored]:
        """Results in the order of `items`. A request may be longer than the queue, but finds none that is full.

        Cancelling the call takes its items out of the queue.
        """
        if not items:
            return []
        if self.waiting >= self._max_queue:
            raise QueueFull(self.waiting, self._retry_after())
        ticket = _Ticket(self._loop.create_future(), [None] * len(items), len(items))
        self.waiting += len(items)
        with self._wake:
            self._arrivals.extend(_Work(item, ticket, place) for place, item in enumerate(items))
            self._wake.notify()
        return await ticket.future

    def _retry_after(self) -> int:
        seconds = self.waiting / self._items_per_second if self._items_per_second else 1.0
        return min(max(math.ceil(seconds), 1), 60)

    # --- in the model's thread

    def _run(self) -> None:
        while self._wait():
            self._encode_arrivals()
            batch = self._cut()
            if batch:
                self._score(batch)

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
        works = self._drop_abandoned(taken)
        for work, encoded in self._encode(works):
            if isinstance(encoded, Encoded):
                work.encoded = encoded
                self._ready.append(work)
            else:
                self._hand_back([(work, encoded)])

    def _encode(self, works: list[_Work]) -> list[tuple[_Work, Encoded | BaseException]]:
        try:
            encoded = self._engine.encode([work.item for work in works]) if works else []
        except Exception as error:  # noqa: BLE001 - the outer edge of the thread: every item gets an answer
            return self._alone(works, error, self._encode)
        return list(zip(works, encoded, strict=True))

    def _cut(self) -> list[_Work]:
        """From the front, in order of arrival, until the budget is used; one item always fits."""
        batch: list[_Work] = []
        tokens = 0
        while self._ready:
            assert self._ready[0].encoded is not None
            tokens += self._ready[0].encoded.length
            if batch and tokens > self._token_budget:
                break
            batch.append(self._ready.popleft())
        return self._drop_abandoned(batch)

    def _score(self, batch: list[_Work]) -> None:
        started = time.perf_counter()
        outcomes = self._forward(batch)
        rate = len(batch) / max(time.perf_counter() - started, 1e-6)
        self._items_per_second += (rate - self._items_per_second) * (0.1 if self._items_per_second else 1.0)
        self.batches_done += 1
        self.items_done += len(batch)
        self._hand_back(outcomes)

    def _forward(self, batch: list[_Work]) -> list[tuple[_Work, Scored | BaseException]]:
        encoded = [work.encoded for work in batch if work.encoded is not None]
        try:
            raws = self._engine.forward(encoded)
        except Exception as error:  # noqa: BLE001 - as above
            return self._alone(batch, error, self._forward)
        return [(work, Scored(raw, item.truncated)) for work, item, raw in zip(batch, encoded, raws, strict=True)]

    def _alone(self, works: list[_Work], error: Exception, step: Any) -> list[Any]:
        """A batch failed: each item is tried by itself, so that one cannot spoil its neighbors'."""
        if len(works) > 1:
            return [outcome for work in works for outcome in step([work])]
        known = error if isinstance(error, BedplateError) else _failure(error)
        return [(work, known) for work in works]

    def _drop_abandoned(self, works: list[_Work]) -> list[_Work]:
        """Items whose caller has left, or whose request has failed already, are not worked on."""
        kept = [work for work in works if not work.ticket.future.done()]
        if len(kept) < len(works):
            self._loop.call_soon_threadsafe(self._forget, len(works) - len(kept))
        return kept

    def _hand_back(self, outcomes: Sequence[tuple[_Work, Scored | BaseException]]) -> None:
        self._loop.call_soon_threadsafe(self._deliver, outcomes)

    # --- back on the event loop

    def _deliver(self, outcomes: Sequence[tuple[_Work, Scored | BaseException]]) -> None:
        self.waiting -= len(outcomes)
        for work, outcome in outcomes:
            work.ticket.deliver(work.place, outcome)

    def _forget(self, count: int) -> None:
        self.waiting -= count


def _failure(error: Exception) -> BedplateError:
    """The type alone goes out: the text of a library's error may hold a path or a piece of somebody's input."""
    return BedplateError(f"The model failed on this input ({type(error).__name__}).", code="inference-failed")
