"""The queue in front of a model that writes text: it batches by the token, not by the item.

Every text goes to one of two engines, which share the model and run side by side, so that neither waits for the other:
continuous batching where the model can do it right, static batches for the rest (beams, the details of a prompt, and
models that continuous batching gets wrong or cannot run). Engines tell of each token in their own threads; all that
callers see happens on the event loop.

    submit, stream ──► encode (a thread) ──► engine ──► piece ─► receiver of the text ──► caller
    a text is written ──► its place in the queue is free, however slowly the caller reads
    caller leaves, deadline passes ──► the text is dropped, what its engine holds for it is freed
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from bedplate_registry.errors import BedplateError, Refused
from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.generation.engine import Engine, Step
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.predictors.generation.model import CausalModel
from bedplate_serving.predictors.generation.prompt import EncodedPrompt
from bedplate_serving.predictors.generation.writer import Text
from bedplate_serving.queues import DeadlineExceeded, Draining, Pace, QueueFull, Scored

__all__ = ["GenerationQueue"]


@dataclass(slots=True)
class _Places:
    """How many of the queue's places a request still holds: one for each text that is not written yet."""

    held: int


@dataclass(slots=True)
class _Receiver:
    """Where the pieces of one text go; it belongs to the event loop."""

    text: Text
    engine: Engine
    places: _Places
    is_streamed: bool
    pieces: asyncio.Queue[Piece | BedplateError] = field(default_factory=asyncio.Queue)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class GenerationQueue:
    """See queues.StreamingQueue. `token_budget` bounds the tokens held at once, of prompts and texts together."""

    def __init__(self, model: CausalModel, *, max_queue: int = 256, token_budget: int | None = None) -> None:
        self._model, self._max_queue = model, max_queue
        self._token_budget = token_budget
        self._receivers: dict[int, _Receiver] = {}  # by the id() of their text
        self._opening: asyncio.Task[None] | None = None
        self._static: Engine | None = None
        self._paged: Engine | None = None
        self._prompts = ThreadPoolExecutor(1, "prompts")
        self._chats = ThreadPoolExecutor(1, "chats")  # a stranger's template takes its time: prompts don't wait for it
        self._is_closing = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._pace, self._last_done = Pace(), 0.0
        self.waiting = 0
        self.items_done = 0
        self.batches_done = 0  # steps: one token for each text of a batch

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        self._is_closing = True
        await self._is_empty.wait()
        if self._opening is not None:
            await asyncio.wait([self._opening])
        for engine in (self._paged, self._static):
            if engine is not None:
                await asyncio.to_thread(engine.stop)
        self._prompts.shutdown(wait=False)
        self._chats.shutdown(wait=False)

    async def submit(self, items: Sequence[Any], *, deadline: float | None = None) -> list[Scored]:
        if not items:
            return []
        with self._inside(sum(item.parameters.sequences for item in items)) as places:
            async with _before(deadline):
                begun = await self._begin(items)
                groups = [[self._receiver(text, places) for text in texts] for _, texts in begun]
                receivers = [receiver for group in groups for receiver in group]
                try:
                    await self._hand_over(receivers)
                    return [await self._joined(one, group) for (one, _), group in zip(begun, groups, strict=True)]
                finally:
                    for receiver in receivers:
                        self._drop(receiver)

    async def stream(self, item: Any, *, deadline: float | None = None) -> AsyncIterator[Piece]:
        wanted = item.parameters
        if wanted.sequences > 1 or (wanted.num_beams or 1) > 1:
            raise Refused("A stream is one text: beams and several texts come whole.", code="one-stream")
        with self._inside(1) as places:
            async with _before(deadline):
                [(_, [text])] = await self._begin([item])
            receiver = self._receiver(text, places, is_streamed=True)
            try:
                async with _before(deadline):
                    await self._hand_over([receiver])
                while not (receiver.done.is_set() and receiver.pieces.empty()):
                    async with _before(deadline):
                        piece = await receiver.pieces.get()
                    if isinstance(piece, BedplateError):
                        raise piece
                    yield piece
                self.items_done += 1
            finally:
                self._drop(receiver)

    # --- on the event loop

    @contextmanager
    def _inside(self, count: int) -> Iterator[_Places]:
        """A place for each text, or none at all."""
        if self._is_closing:
            raise Draining
        if count > self._max_queue:
            raise Refused(
                f"The request asks for {count} texts; this replica takes {self._max_queue} at once (max_queue).",
                hint="Send fewer prompts, ask for fewer texts of each, or score a file in batch.",
                code="too-many-texts",
            )
        if self.waiting + count > self._max_queue:
            raise QueueFull(self.waiting, self._pace.retry_after_seconds(self.waiting))
        if not self.waiting:
            self._last_done = time.monotonic()
        self.waiting += count
        self._is_empty.clear()
        places = _Places(count)
        try:
            yield places
        finally:
            self._give_back(places, places.held)

    def _give_back(self, places: _Places, count: int) -> None:
        places.held -= count
        self.waiting -= count
        if not self.waiting:
            self._is_empty.set()

    async def _begin(self, items: Sequence[Any]) -> list[tuple[EncodedPrompt, list[Text]]]:
        """Each prompt with the texts to be written of it."""
        if self._static is None:
            await self._open()
        executor = self._chats if any(item.messages for item in items) else self._prompts
        left = threading.Event()
        try:
            return await self._loop.run_in_executor(executor, self._begun, items, left)
        finally:
            left.set()

    def _begun(self, items: Sequence[Any], left: threading.Event) -> list[tuple[EncodedPrompt, list[Text]]]:
        """In a thread, which looks between two prompts whether their caller has left."""
        encoded = self._model.encode_all(items, left)
        return [(one, [self._model.text(single) for single in one.single()]) for one in encoded]

    async def _open(self) -> None:
        """The engines, at the first request: that is the replica's own sample, so nobody waits for it.

        Once for all who come meanwhile, and to its end though they leave: a thread that opens one cannot be called off.
        """
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open_engines())
        await asyncio.shield(self._opening)

    async def _open_engines(self) -> None:
        model, budget = self._model, self._token_budget
        self._paged = await asyncio.to_thread(model.open_paged, self._told, budget)
        self._static = await asyncio.to_thread(model.open_static, self._told, budget)

    async def _hand_over(self, receivers: Sequence[_Receiver]) -> None:
        """In a thread: an engine that has failed is begun anew at its next text. What has left by then is not added."""
        await self._loop.run_in_executor(self._prompts, _add, receivers)

    async def _joined(self, encoded: EncodedPrompt, group: Sequence[_Receiver]) -> Scored:
        for receiver in group:
            await receiver.done.wait()
            if receiver.text.failure is not None:
                raise receiver.text.failure
        self.items_done += 1
        texts = [receiver.text.generation() for receiver in group]
        return Scored(Generation.joined(texts, keeps_best=encoded.keeps_best), encoded.truncated)

    def _receiver(self, text: Text, places: _Places, *, is_streamed: bool = False) -> _Receiver:
        needs_static = text.encoded.sampling.beams > 1 or text.encoded.with_prefill
        engine = self._static if self._paged is None or needs_static else self._paged
        assert engine is not None
        receiver = self._receivers[id(text)] = _Receiver(text, engine, places, is_streamed)
        return receiver

    def _drop(self, receiver: _Receiver) -> None:
        if self._receivers.pop(id(receiver.text), None) is not None:
            receiver.text.leave()
            receiver.engine.drop(receiver.text)

    def _note_done(self, receiver: _Receiver) -> None:
        now = time.monotonic()
        self._pace.note(1, now - self._last_done)
        self._last_done = now
        self._give_back(receiver.places, 1)
        receiver.done.set()

    def _deliver(self, step: Step) -> None:
        self.batches_done += 1
        for text, piece in step:
            receiver = self._receivers.get(id(text))
            if receiver is None:
                continue
            if receiver.is_streamed and (piece is not None or text.failure is not None):
                receiver.pieces.put_nowait(piece or text.failure)  # type: ignore[arg-type]
            if text.is_done and (piece is None or piece.finish_reason is not None) and not receiver.done.is_set():
                self._note_done(receiver)

    # --- in the engines' threads

    def _told(self, step: Step) -> None:
        self._loop.call_soon_threadsafe(self._deliver, step)


def _add(receivers: Sequence[_Receiver]) -> None:
    for receiver in receivers:
        receiver.engine.add(receiver.text)


@asynccontextmanager
async def _before(deadline: float | None) -> AsyncIterator[None]:
    """Ends the block at the deadline. Raises DeadlineExceeded."""
    seconds = None if deadline is None else deadline - time.monotonic()
    if seconds is not None and seconds <= 0:
        raise DeadlineExceeded
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded from error
