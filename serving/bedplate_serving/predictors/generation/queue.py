"""The queue in front of a model that writes text: it batches by the token, not by the item.

Every text goes to one of two engines, which share the model and run side by side, so that neither waits for the other:
continuous batching where the model can do it right, static batches for the rest (beams, the details of a prompt, and
models that continuous batching gets wrong or cannot run). Engines tell of each token in their own threads; all that
callers see happens on the event loop.

    submit, stream ──► encode (a thread) ──► engine ──► piece ─► receiver of the text ──► caller
    caller leaves, deadline passes ──► the text is dropped, what its engine holds for it is freed
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from bedplate_registry.errors import BedplateError, Refused, TooLarge
from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.generation.engine import Engine, Step
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.predictors.generation.model import CausalModel
from bedplate_serving.predictors.generation.prompt import EncodedPrompt
from bedplate_serving.predictors.generation.writer import Text
from bedplate_serving.queues import DeadlineExceeded, Draining, Pace, QueueFull, Scored

__all__ = ["GenerationQueue"]

MAX_TEXTS = 4096  # of one request: its prompts times the texts that are written of each


@dataclass(slots=True)
class _Receiver:
    """Where the pieces of one text go; it belongs to the event loop."""

    text: Text
    engine: Engine
    is_streamed: bool
    pieces: asyncio.Queue[Piece | BedplateError] = field(default_factory=asyncio.Queue)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class GenerationQueue:
    """See queues.StreamingQueue. `token_budget` bounds the tokens held at once, of prompts and texts together."""

    def __init__(self, model: CausalModel, *, max_queue: int = 256, token_budget: int | None = None) -> None:
        self._model, self._max_queue = model, max_queue
        self._token_budget = token_budget
        self._receivers: dict[int, _Receiver] = {}  # by the id() of their text
        self._opening = asyncio.Lock()
        self._static: Engine | None = None
        self._paged: Engine | None = None
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
        async with self._opening:
            for engine in (self._paged, self._static):
                if engine is not None:
                    await asyncio.to_thread(engine.stop)

    async def submit(self, items: Sequence[Any], *, deadline: float | None = None) -> list[Scored]:
        if not items:
            return []
        texts = sum(item.parameters.sequences for item in items)
        if texts > MAX_TEXTS:
            raise TooLarge(
                f"The request asks for {texts} texts; at most {MAX_TEXTS} are written for one.",
                hint="Send fewer prompts, or ask for fewer texts of each.",
                code="too-many-texts",
            )
        with self._inside(texts):
            async with _before(deadline):
                encoded = await self._encode(items)
                return list(await self._written(encoded))

    async def stream(self, item: Any, *, deadline: float | None = None) -> AsyncIterator[Piece]:
        with self._inside(1):
            async with _before(deadline):
                [encoded] = await self._encode([item])
            if encoded.sequences > 1 or encoded.sampling.beams > 1:
                raise Refused("A stream is one text: beams and several texts come whole.", code="one-stream")
            receiver = self._added(encoded, is_streamed=True)
            try:
                while not (receiver.done.is_set() and receiver.pieces.empty()):
                    async with _before(deadline):
                        piece = await receiver.pieces.get()
                    if isinstance(piece, BedplateError):
                        raise piece
                    yield piece
                self._note_done()
            finally:
                self._drop(receiver)

    # --- on the event loop

    @contextmanager
    def _inside(self, count: int) -> Iterator[None]:
        if self._is_closing:
            raise Draining
        if self.waiting >= self._max_queue:
            raise QueueFull(self.waiting, self._pace.retry_after_seconds(self.waiting))
        self.waiting += count
        self._is_empty.clear()
        if self.waiting == count:
            self._last_done = time.monotonic()
        try:
            yield
        finally:
            self.waiting -= count
            if not self.waiting:
                self._is_empty.set()

    async def _encode(self, items: Sequence[Any]) -> list[EncodedPrompt]:
        if self._static is None:
            await self._open()
        return await asyncio.to_thread(self._model.encode_all, items)

    async def _open(self) -> None:
        """The engines, at the first request: that is the replica's own sample, so nobody waits for it."""
        async with self._opening:
            if self._static is None:
                model, budget = self._model, self._token_budget
                self._paged = await asyncio.to_thread(model.open_paged, self._told, budget)
                self._static = model.open_static(self._told, budget)

    async def _written(self, encoded: Sequence[EncodedPrompt]) -> list[Scored]:
        receivers: list[list[_Receiver]] = []
        try:
            for one in encoded:
                receivers.append([self._added(single, is_streamed=False) for single in one.single()])
            return [await self._joined(one, group) for one, group in zip(encoded, receivers, strict=True)]
        finally:
            for receiver in (one for group in receivers for one in group):
                self._drop(receiver)

    async def _joined(self, encoded: EncodedPrompt, group: Sequence[_Receiver]) -> Scored:
        for receiver in group:
            await receiver.done.wait()
            if receiver.text.failure is not None:
                raise receiver.text.failure
        self._note_done()
        texts = [receiver.text.generation() for receiver in group]
        return Scored(Generation.joined(texts, keeps_best=encoded.keeps_best), encoded.truncated)

    def _added(self, encoded: EncodedPrompt, *, is_streamed: bool) -> _Receiver:
        text = self._model.text(encoded)
        needs_static = encoded.sampling.beams > 1 or encoded.with_prefill
        engine = self._static if self._paged is None or needs_static else self._paged
        assert engine is not None
        receiver = self._receivers[id(text)] = _Receiver(text, engine, is_streamed)
        engine.add(text)
        return receiver

    def _drop(self, receiver: _Receiver) -> None:
        if self._receivers.pop(id(receiver.text), None) is not None:
            receiver.text.leave()
            receiver.engine.drop(receiver.text)

    def _note_done(self) -> None:
        now = time.monotonic()
        self.items_done += 1
        self._pace.note(1, now - self._last_done)
        self._last_done = now

    def _deliver(self, step: Step) -> None:
        self.batches_done += 1
        for text, piece in step:
            receiver = self._receivers.get(id(text))
            if receiver is None:
                continue
            if receiver.is_streamed and (piece is not None or text.failure is not None):
                receiver.pieces.put_nowait(piece or text.failure)  # type: ignore[arg-type]
            if text.is_done and (piece is None or piece.finish_reason is not None):
                receiver.done.set()

    # --- in the engines' threads

    def _told(self, step: Step) -> None:
        self._loop.call_soon_threadsafe(self._deliver, step)


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
