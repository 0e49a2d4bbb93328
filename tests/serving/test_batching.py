"""The queue: batches form while the model is busy, in order of arrival, within the budget and the limit."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bedplate_registry.errors import BedplateError
from bedplate_serving.batching import Batcher
from bedplate_serving.predictors.base import Encoded
from bedplate_serving.queues import DeadlineExceeded, Draining, Pace, QueueFull


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
    """The idle integrity check: nothing is inside once everybody has an answer, and no thread is left."""
    await batcher.stop()
    assert batcher.waiting == 0
    assert not batcher._arrivals
    assert not [work for work in batcher._ready if work.ticket.is_open]
    assert not [thread for thread in batcher._threads.values() if thread.is_alive()]
    with pytest.raises(Draining):
        await batcher.submit(["too late"])


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


def test_a_caller_who_left_gives_its_place_to_others_at_once() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine, max_queue=3)
        batcher.start()
        first = await hold(engine, batcher)
        gone = asyncio.create_task(batcher.submit(["gone"] * 100))
        await asyncio.sleep(0)
        assert batcher.waiting == 101
        gone.cancel()
        await asyncio.wait([gone])
        assert batcher.waiting == 1
        stays = asyncio.create_task(batcher.submit(["stays"]))
        await asyncio.sleep(0)
        engine.held.set()
        assert [(await task)[0].raw for task in (first, stays)] == ["FIRST", "STAYS"]
        await is_idle(batcher)

    run(test())


def test_a_request_past_its_deadline_is_told_at_once_and_is_not_computed() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine)
        batcher.start()
        first = await hold(engine, batcher)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:  # while the model is still busy with the first
            await batcher.submit(["late", "too"], deadline=started + 0.05)
        assert caught.value.status == 504
        assert batcher.waiting == 1
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(["never"], deadline=started)
        in_time = asyncio.create_task(batcher.submit(["in time"], deadline=time.monotonic() + 20))
        await asyncio.sleep(0)
        engine.held.set()
        assert [(await task)[0].raw for task in (first, in_time)] == ["FIRST", "IN TIME"]
        assert engine.batches == [["first"], ["in time"]]
        await is_idle(batcher)

    run(test())


def test_a_deadline_is_told_while_the_model_still_works_on_it() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine)
        batcher.start()
        engine.held.clear()
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(["running"], deadline=time.monotonic() + 0.05)
        assert engine.started.wait(10)
        assert batcher.waiting == 0
        after = asyncio.create_task(batcher.submit(["after"]))
        await asyncio.sleep(0)
        engine.held.set()
        assert (await after)[0].raw == "AFTER"
        await is_idle(batcher)

    run(test())


def test_stopping_answers_what_is_inside_and_refuses_what_comes() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine)
        batcher.start()
        first = await hold(engine, batcher)
        inside = asyncio.create_task(batcher.submit(["inside"]))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(Draining) as caught:
            await batcher.submit(["comes"])
        assert caught.value.hint
        engine.held.set()
        assert [(await task)[0].raw for task in (first, inside)] == ["FIRST", "INSIDE"]
        await stopping
        await is_idle(batcher)

    run(test())


class Panic(BaseException):
    """As a library in Rust raises it: no Exception."""


class Panicking(Upper):
    def encode(self, items: Sequence[str]) -> list[Text]:
        if "panic" in items:
            raise Panic
        return super().encode(items)

    def forward(self, batch: Sequence[Text]) -> list[str]:
        if "exit" in [one.text for one in batch]:
            raise SystemExit
        return super().forward(batch)


@pytest.mark.parametrize("bad", ["panic", "exit"])
def test_what_is_no_exception_is_an_answer_too_and_the_thread_goes_on(bad: str) -> None:
    async def test() -> None:
        batcher = Batcher(Panicking())
        batcher.start()
        with pytest.raises(BedplateError, match="failed on this input") as caught:
            await batcher.submit([bad])
        assert caught.value.code == "inference-failed"
        assert (await batcher.submit(["after"]))[0].raw == "AFTER"
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


class Small(Upper):
    """One whose memory holds two items at a time."""

    def forward(self, batch: Sequence[Text]) -> list[str]:
        if len(batch) > 2:
            self.batches.append([one.text for one in batch])
            raise MemoryError
        return super().forward(batch)


def test_what_is_too_much_at_once_is_halved_until_it_fits() -> None:
    async def test() -> None:
        engine = Small()
        batcher = Batcher(engine, token_budget=100)
        batcher.start()
        results = await batcher.submit(list("abcdefgh"))
        assert [result.raw for result in results] == list("ABCDEFGH")
        assert [len(batch) for batch in engine.batches] == [8, 4, 2, 2, 4, 2, 2]
        await is_idle(batcher)

    run(test())


def test_one_bad_item_of_many_is_found_in_a_few_steps() -> None:
    async def test() -> None:
        engine = Upper()
        batcher = Batcher(engine, token_budget=1000)
        batcher.start()
        first = await hold(engine, batcher)
        words = [*map(str, range(40)), "poison", *map(str, range(23))]
        tasks = [asyncio.create_task(batcher.submit([word])) for word in words]
        await asyncio.sleep(0)
        engine.held.set()
        await first
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, BedplateError) for result in results] == [word == "poison" for word in words]
        assert len(engine.batches) == 1 + 1 + 2 * 6  # the first; all 64; halves of 32, 16, 8, 4, 2 and 1
        await is_idle(batcher)

    run(test())


class Slow(Upper):
    """It has threads for more batches than ever run at once here."""

    workers = 8

    def forward(self, batch: Sequence[Text]) -> list[str]:
        time.sleep(0.02)
        return super().forward(batch)


def test_the_time_to_come_back_is_reckoned_by_what_really_runs_at_once() -> None:
    async def test() -> None:
        engine = Slow()
        batcher = Batcher(engine, max_queue=100)
        batcher.start()
        for word in "abcde":
            await batcher.submit([word])
        first = await hold(engine, batcher)
        rest = asyncio.create_task(batcher.submit(["a"] * 200))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as caught:
            await batcher.submit(["one too many"])
        assert 4 <= caught.value.retry_after_seconds <= 15  # 50 items a second at most, whatever the threads
        engine.held.set()
        await asyncio.gather(first, rest)
        await is_idle(batcher)

    run(test())


def test_batches_beside_each_other_count_as_fast_as_they_end() -> None:
    pace = Pace()
    for _ in range(200):
        pace.note(10, 2.0)
        pace.note(10, 0.0)  # it ended with the one before
    assert 9 <= pace.retry_after_seconds(100) <= 11


@dataclass
class Pair:
    """An engine that runs as many batches at once as `workers` says, and notes how many there were."""

    token_budget: int = 12
    workers: int = 2
    running: int = 0
    most: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)
    seen: list[str] = field(default_factory=list)

    def encode(self, items: Sequence[str]) -> list[Text]:
        return [Text(length=len(item), truncated=False, text=item) for item in items]

    def forward(self, batch: Sequence[Text]) -> list[str]:
        with self.guard:
            self.running += 1
            self.most = max(self.most, self.running)
            self.seen += [one.text for one in batch]
        time.sleep(0.001 * (len(batch) % 3))
        with self.guard:
            self.running -= 1
        if any("poison" in one.text for one in batch):
            raise ValueError
        return [one.text.upper() for one in batch]


def test_as_many_batches_run_at_once_as_the_engine_says_and_it_may_change_its_mind() -> None:
    async def test() -> None:
        engine = Pair(workers=1)
        batcher = Batcher(engine)
        batcher.start()

        async def load() -> int:
            engine.most = 0
            await asyncio.gather(*(batcher.submit(["abcdef"] * 4) for _ in range(25)))
            return engine.most

        assert await load() == 1
        engine.workers = 2
        assert await load() == 2
        engine.workers = 1
        await batcher.submit(["b"])  # the second thread sees it at its next turn
        await batcher.submit(["c"])
        assert await load() == 1
        engine.workers = 3
        assert await load() == 3
        await is_idle(batcher)
        assert batcher.items_done == 402

    run(test())


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_doubled_lost_or_mixed_up_in_random_schedules(seed: int) -> None:
    """Callers of every kind at once: some leave, some are late, some send what fails. The others get their answers."""
    chance = random.Random(seed)
    engine = Pair(workers=chance.choice([1, 2, 3]), token_budget=chance.choice([1, 12, 100]))
    batcher = Batcher(engine, max_queue=chance.choice([20, 1000]))
    done: list[str] = []

    async def caller(number: int) -> None:
        for turn in range(12):
            kind = chance.choices(["plain", "leaves", "late", "poison"], [6, 1, 1, seed % 2])[0]
            words = [f"{number}.{turn}.{place}" for place in range(chance.randrange(1, 9))]
            if kind == "poison":
                words[chance.randrange(len(words))] += "poison"
            deadline = time.monotonic() + 0.002 if kind == "late" else None
            task = asyncio.ensure_future(batcher.submit(words, deadline=deadline))
            if kind == "leaves":
                await asyncio.sleep(chance.random() * 0.003)
                task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, list):
                assert [one.raw for one in outcome] == [word.upper() for word in words]
                done.extend(words)
            else:
                accepted = {"plain": (), "leaves": asyncio.CancelledError, "late": DeadlineExceeded}
                assert isinstance(outcome, (accepted.get(kind, BedplateError), QueueFull))
            if chance.random() < 0.1:
                engine.workers = chance.choice([1, 2, 3])
            await asyncio.sleep(chance.random() * 0.002)

    async def test() -> None:
        batcher.start()
        await asyncio.gather(*(caller(number) for number in range(12)))
        assert batcher.waiting == 0
        await is_idle(batcher)

    run(test())
    assert engine.most <= 3
    answered = [word for word in engine.seen if word in set(done)]
    assert len(set(answered)) == len(done)
    if not seed % 2:  # without poison: the halves of a batch that fails are run again
        assert len(answered) == len(done)
