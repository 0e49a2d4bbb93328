"""What a queue in front of a model is, and what all of them say: results, refusals, deadlines, when to come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bedplate_registry.errors import Unavailable

if TYPE_CHECKING:
    from bedplate_serving.predictors.base import Piece

__all__ = [
    "DeadlineExceeded",
    "Draining",
    "Pace",
    "Queue",
    "QueueFull",
    "Scored",
    "StreamingQueue",
    "at_deadline",
]


class QueueFull(Unavailable):
    """More items are waiting than this replica takes."""

    code = "queue-full"
    status = 429

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        hint = f"Try again in {retry_after_seconds} s, or add an instance to the deployment."
        super().__init__(f"The queue is full: {waiting} items are waiting.", hint=hint)


class DeadlineExceeded(Unavailable):
    """The answer is not there by the time that the caller, or the deployment, gave it."""

    code = "deadline-exceeded"
    status = 504
    retry_after_seconds = None

    def __init__(self) -> None:
        hint = "Send fewer or shorter items, allow it more time, or add an instance to the deployment."
        super().__init__("The answer was not there by the request's deadline.", hint=hint)


class Draining(Unavailable):
    """The replica is being stopped: it answers what is inside and takes nothing more."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("This replica is being stopped.", hint="Try again: another one answers.")


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model said of one item, and whether it saw all of it."""

    raw: Any
    truncated: bool


class Queue(Protocol):
    """What the replica asks of whatever stands in front of a model. All of it is called on one event loop."""

    @property
    def waiting(self) -> int:
        """Items inside that somebody waits for, those being worked on among them."""

    @property
    def items_done(self) -> int: ...

    @property
    def batches_done(self) -> int: ...

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Answers what is inside, refuses what comes (Draining), then ends."""

    async def submit(self, items: Sequence[Any], *, deadline: float | None = None) -> list[Scored]:
        """Results of parsed items in their order; `deadline` is on time.monotonic()'s clock.

        Raises QueueFull, DeadlineExceeded, Draining, or what is wrong with the first item that failed. Cancelling the
        call takes its items out of the queue.
        """


class StreamingQueue(Queue, Protocol):
    """One that can also hand an answer out piece by piece, as a model that writes text does."""

    def stream(self, item: Any, *, deadline: float | None = None) -> AsyncIterator[Piece]:
        """The pieces of one item's answer. Raises as `submit` does; closing the iterator ends the work."""


class Pace:
    """How fast items come out, by moving averages, and so when a full queue will have room."""

    def __init__(self) -> None:
        self._items = self._seconds = 0.0  # of one note, apart: of two batches that end together one took no time

    def note(self, items: int, seconds: float) -> None:
        """So many came out within so much time in which the model was busy."""
        weight = 0.1 if self._items else 1.0
        self._items += (items - self._items) * weight
        self._seconds += (seconds - self._seconds) * weight

    def retry_after_seconds(self, waiting: int) -> int:
        """1 to 60."""
        seconds = waiting * self._seconds / self._items if self._items else 1.0
        return min(max(math.ceil(seconds), 1), 60)


@contextmanager
def at_deadline(deadline: float | None, call: Callable[[], object]) -> Iterator[None]:
    """Has the running event loop make the call if the block is still going on then. Raises DeadlineExceeded where it
    is past already.
    """
    if deadline is None:
        yield
        return
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise DeadlineExceeded
    timer = asyncio.get_running_loop().call_later(seconds, call)
    try:
        yield
    finally:
        timer.cancel()
