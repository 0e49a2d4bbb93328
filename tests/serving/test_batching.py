"""The queue: batches form while the model is busy, in order of arrival, within the budget and the limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bedplate_registry.errors import BedplateError
from bedplate_serving.batching import Batcher, QueueFull
from bedplate_serving.predictors.base import Encoded


@dataclass(frozen=True, kw_only=True)
class Text(Encoded):
    text: str


class Upper:
    """An engine that shouts its input back. It can be held, and some words break it."""

    token_budget = 10

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.held = threading.Event()
        self.held.set()
        self.started = threading.Event()

    def encode(self, items: Sequence[str]) -> list[Text]:
        if "unreadable" in items:
            raise ValueError("secret detail")
        return [Text(length=len(item), truncated=item.endswith("~"), text=item) for item in items]

    def forward(self, batch: Sequence[Text]) -> list[str]:
        self.started.set()
        self.held.wait(10)
        words = [one.text for one in batch]
        self.batches.append(words)
        if "poison" in words:
            raise RuntimeError("secret detail")
        return [word.upper() for word in words]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def hold(engine: Upper, batcher: Batcher) -> asyncio.Task[Any]:
    """Keeps the model busy with one item until `engine.held` is set."""
    engine.held.clear()
    first = asyncio.create_task(batcher.submit(["first"]))
    await asyncio.to_thread(engine.started.wait, 10)
    return first


async def is_idle(batcher: Batcher) -> None:
    """The idle integrity check: nothing is inside once everybody has an answer."""
    await batcher.stop()
    assert batcher.waiting == 0
    assert not batcher._arrivals
    assert not batcher._ready


def test_an_idle_model_starts_at_once_and_a_busy_one_gathers_a_batch() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine)
        batcher.start()
        first = await hold(engine, batcher)
        rest = [asyncio.create_task(batcher.submit([word])) for word in ("aaaa", "bbbb", "cccc", "dd")]
        await asyncio.sleep(0.05)
        engine.held.set()
        results = [(await task)[0].raw for task in (first, *rest)]
        assert results == ["FIRST", "AAAA", "BBBB", "CCCC", "DD"]
        assert engine.batches == [["first"], ["aaaa", "bbbb"], ["cccc", "dd"]]
        await is_idle(batcher)

    run(test())


def test_an_item_beyond_the_budget_runs_alone() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine)
        batcher.start()
        results = await batcher.submit(["a" * 50, "b", "c" * 50])
        assert [len(result.raw) for result in results] == [50, 1, 50]
        assert [len(batch) for batch in engine.batches] == [1, 1, 1]
        await is_idle(batcher)

    run(test())


def test_a_full_queue_refuses_with_a_time_to_come_back_and_recovers() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine, max_queue=3)
        batcher.start()
        first = await hold(engine, batcher)
        rest = asyncio.create_task(batcher.submit(["a", "b"]))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as caught:
            await batcher.submit(["one too many"])
        assert caught.value.status == 429
        assert 1 <= caught.value.retry_after_seconds <= 60
        engine.held.set()
        await asyncio.gather(first, rest)
        assert (await batcher.submit(["again"]))[0].raw == "AGAIN"
        await is_idle(batcher)

    run(test())


def test_what_a_caller_who_left_had_asked_is_not_computed() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine)
        batcher.start()
        first = await hold(engine, batcher)
        gone = asyncio.create_task(batcher.submit(["gone", "also"]))
        stays = asyncio.create_task(batcher.submit(["stays"]))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        engine.held.set()
        await asyncio.gather(first, stays)
        assert "gone" not in [word for batch in engine.batches for word in batch]
        await is_idle(batcher)

    run(test())


@pytest.mark.parametrize("bad", ["poison", "unreadable"])
def test_an_input_that_breaks_the_model_fails_alone_and_without_its_detail(bad: str) -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine, token_budget=100)
        batcher.start()
        first = await hold(engine, batcher)
        tasks = [asyncio.create_task(batcher.submit([word])) for word in ("a", bad, "c")]
        await asyncio.sleep(0.05)
        engine.held.set()
        await first
        good, failed, too = await asyncio.gather(*tasks, return_exceptions=True)
        assert not isinstance(good, BaseException)
        assert not isinstance(too, BaseException)
        assert [good[0].raw, too[0].raw] == ["A", "C"]
        assert isinstance(failed, BedplateError)
        assert "secret" not in str(failed)
        await is_idle(batcher)

    run(test())


def test_many_callers_each_get_their_own_answers() -> None:
    async def test() -> None:
        batcher = Batcher(Upper(), max_queue=10_000)
        batcher.start()

        async def caller(number: int) -> None:
            for turn in range(20):
                words = [f"{number}-{turn}-{place}" + "~" * (place == 1) for place in range(number % 4)]
                results = await batcher.submit(words)
                assert [result.raw for result in results] == words
                assert [result.truncated for result in results] == [word.endswith("~") for word in words]

        await asyncio.gather(*(caller(number) for number in range(32)))
        await is_idle(batcher)
        assert batcher.items_done == sum(number % 4 for number in range(32)) * 20

    run(test())
