"""The queue of a model that writes: texts join and leave while others are written, and none changes another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch

from bedplate_registry.errors import BedplateError, Refused
from bedplate_serving.predictors.base import BadItems, ItemError, Piece
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.predictors.generation.queue import GenerationQueue
from bedplate_serving.predictors.generation.writer import Text
from bedplate_serving.predictors.text_generation import TextGenerator
from bedplate_serving.queues import DeadlineExceeded, Draining, QueueFull
from bedplate_serving.testing.causal import tiny_causal, tiny_llama

PROMPTS = ("the card", "Hé 你好😀 how can my account", "please help why is the refund not there " * 4, "x")
NEW = 16
FAMILIES = ("llama", "qwen2", "mistral", "gpt2", "gpt_neox", "opt", "bloom", "mamba")
ENGINES = ("Thread-", "static-batches")  # of continuous batching, and ours
UNPAGED = {"bloom", "mamba"}  # positions as biases of the attention; no attention at all


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    return TextGenerator(tiny_llama(tmp_path_factory.mktemp("llama")), device="cpu", threads=1)


@pytest.fixture(scope="module")
def unpaged(tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    return TextGenerator(tiny_causal(tmp_path_factory.mktemp("bloom"), "bloom"), device="cpu", threads=1)


def item(generator: TextGenerator, prompt: Any = PROMPTS[0], **raw: Any) -> Any:
    return generator.parse(prompt, generator.parameters({"max_new_tokens": NEW, **raw}))


def alone(generator: TextGenerator, prompt: Any = PROMPTS[0], **raw: Any) -> Generation:
    return generator.forward(generator.encode([item(generator, prompt, **raw)]))[0]


def run(generator: TextGenerator, test: Callable[[GenerationQueue], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def whole() -> None:
        queue = generator.open_queue(**limits)
        queue.start()
        try:
            await test(queue)
        finally:
            await queue.stop()
        assert queue.waiting == 0

    asyncio.run(asyncio.wait_for(whole(), 60))


async def collected(queue: GenerationQueue, one: Any, **limits: Any) -> list[Piece]:
    return [piece async for piece in queue.stream(one, **limits)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_of_one_batch_are_those_of_each_prompt_alone(family: str, tmp_path: Path) -> None:
    generator = TextGenerator(tiny_causal(tmp_path, family), device="cpu", threads=1)

    async def test(queue: GenerationQueue) -> None:
        scored = await queue.submit([item(generator, prompt) for prompt in PROMPTS])
        for prompt, one in zip(PROMPTS, scored, strict=True):
            assert one.raw.token_ids == alone(generator, prompt).token_ids
        assert (queue._paged is None) == (family in UNPAGED)

    run(generator, test)


@pytest.mark.parametrize("kind", ["generator", "unpaged"])
def test_late_joiners_of_every_kind_get_what_they_would_alone(kind: str, request: pytest.FixtureRequest) -> None:
    generator: TextGenerator = request.getfixturevalue(kind)
    wishes: list[dict[str, Any]] = [
        {"max_new_tokens": 60},
        {"temperature": 1.2, "seed": 5, "max_new_tokens": 40},
        {"repetition_penalty": 1.4},
        {"num_beams": 2},
        {"decoder_input_details": True, "max_new_tokens": 4},
        {"temperature": 1.5, "top_p": 0.9, "top_k": 20, "seed": 6, "num_return_sequences": 3},
        {"presence_penalty": 1.0, "min_new_tokens": 8, "top_n_tokens": 2},
    ]

    async def test(queue: GenerationQueue) -> None:
        tasks = []
        for number, wish in enumerate(wishes * 2):
            steps = queue.batches_done
            tasks.append(asyncio.create_task(queue.submit([item(generator, PROMPTS[number % 4], **wish)])))
            await until(lambda steps=steps: queue.batches_done > steps + 2)  # type: ignore[misc]
        for number, (task, wish) in enumerate(zip(tasks, wishes * 2, strict=True)):
            [scored] = await task
            wanted = alone(generator, PROMPTS[number % 4], **wish)
            assert scored.raw.token_ids == wanted.token_ids, wish
            assert [one.token_ids for one in scored.raw.others] == [one.token_ids for one in wanted.others]
            assert scored.raw.text == wanted.text
            assert len(scored.raw.prefill) == len(wanted.prefill)
        assert queue.items_done == len(tasks)

    run(generator, test)


def test_a_stream_is_the_whole_text_in_pieces_and_the_last_one_counts(generator: TextGenerator) -> None:
    whole = alone(generator)
    stop = whole.text[6:9]

    async def test(queue: GenerationQueue) -> None:
        pieces = await collected(queue, item(generator))
        assert "".join(piece.text for piece in pieces) == whole.text
        assert tuple(piece.token_id for piece in pieces) == whole.token_ids
        assert [piece.finish_reason for piece in pieces] == [None] * (NEW - 1) + ["length"]
        assert pieces[-1].usage == {"prompt_tokens": whole.prompt_tokens, "completion_tokens": NEW}
        assert all(piece.usage is None for piece in pieces[:-1])
        stopped = await collected(queue, item(generator, stop=[stop], include_stop_str_in_output=False))
        assert "".join(piece.text for piece in stopped) == whole.text[: whole.text.index(stop)]
        assert stopped[-1].finish_reason == "stop_sequence"

    run(generator, test)


def test_pieces_come_while_the_text_is_written(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        async with aclosing(queue.stream(item(generator, max_new_tokens=100))) as pieces:
            first = await anext(pieces)
            assert first.finish_reason is None
            done = queue.batches_done
            rest = [piece async for piece in pieces]
            assert len(rest) > 10
            assert queue.batches_done > done

    run(generator, test)


@pytest.mark.parametrize("kind", ["generator", "unpaged"])
def test_a_caller_who_leaves_frees_what_his_text_holds(kind: str, request: pytest.FixtureRequest) -> None:
    generator: TextGenerator = request.getfixturevalue(kind)

    async def test(queue: GenerationQueue) -> None:
        stays = asyncio.create_task(queue.submit([item(generator, max_new_tokens=60)]))
        async with aclosing(queue.stream(item(generator, PROMPTS[1], max_new_tokens=90))) as pieces:
            await anext(pieces)
        leaves = asyncio.create_task(queue.submit([item(generator, PROMPTS[3], max_new_tokens=90)]))
        await until(lambda: queue.waiting == 2)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        assert queue.waiting == 1
        [scored] = await stays
        assert scored.raw.token_ids == alone(generator, max_new_tokens=60).token_ids
        assert not queue._receivers
        if queue._paged is not None:
            scheduler = queue._paged._manager.batch_processor.scheduler  # type: ignore[attr-defined]
            await until(lambda: not scheduler.active_requests and not scheduler.waiting_requests)

    run(generator, test)


def test_a_deadline_ends_a_text_and_a_stream(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        await queue.submit([item(generator)])
        long = item(generator, max_new_tokens=120)
        started = time.monotonic()
        calls: list[Callable[[float], Awaitable[Any]]] = [
            lambda deadline: queue.submit([long] * 20, deadline=deadline),
            lambda deadline: collected(queue, long, deadline=deadline),
        ]
        for call in calls:
            for seconds in (-1.0, 0.003):  # one such text takes about 20 ms
                with pytest.raises(DeadlineExceeded):
                    await call(time.monotonic() + seconds)
        assert time.monotonic() - started < 5
        assert queue.waiting == 0

    run(generator, test)


def test_a_full_queue_refuses_and_says_when_to_come_back(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        inside = asyncio.create_task(queue.submit([item(generator), item(generator)]))
        await until(lambda: queue.waiting == 2)
        for call in (queue.submit([item(generator)]), collected(queue, item(generator))):
            with pytest.raises(QueueFull) as full:
                await call
            assert 1 <= full.value.retry_after_seconds <= 60
        assert len(await inside) == 2

    run(generator, test, max_queue=2)


def test_a_request_finds_a_place_for_each_of_its_texts_or_is_refused_whole(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        inside = asyncio.create_task(queue.submit([item(generator, max_new_tokens=100)] * 3))
        await until(lambda: queue.waiting == 3)
        for asked in ([item(generator)] * 2, [item(generator, temperature=1.0, num_return_sequences=2)]):
            with pytest.raises(QueueFull):
                await queue.submit(asked)
        assert len(await queue.submit([item(generator, max_new_tokens=1)])) == 1
        assert len(await inside) == 3
        with pytest.raises(Refused, match=r"asks for 6 texts; this replica takes 4 at once") as never:
            await queue.submit([item(generator, temperature=1.0, num_return_sequences=3)] * 2)
        assert never.value.code == "too-many-texts"

    run(generator, test, max_queue=4)


def test_a_text_that_is_written_holds_no_place_though_its_caller_has_not_read_it(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        async with aclosing(queue.stream(item(generator))) as pieces:
            tokens = [(await anext(pieces)).token_id]
            await until(lambda: queue.waiting == 0)
            assert len(await queue.submit([item(generator, PROMPTS[1])])) == 1
            tokens += [piece.token_id async for piece in pieces]
        assert tuple(tokens) == alone(generator).token_ids

    run(generator, test, max_queue=1)


@pytest.mark.parametrize("kind", ["generator", "unpaged"])
def test_a_text_that_was_left_before_its_engine_had_it_is_not_written(
    kind: str, request: pytest.FixtureRequest
) -> None:
    generator: TextGenerator = request.getfixturevalue(kind)

    async def test(queue: GenerationQueue) -> None:
        await queue.submit([item(generator)])
        engine = queue._paged or queue._static
        assert engine is not None
        text = generator._model.text(generator.encode([item(generator)])[0])
        text.leave()
        engine.drop(text)
        engine.add(text)
        await queue.submit([item(generator)])
        assert not text.pieces
        assert not getattr(engine, "_texts", {})

    run(generator, test)


def test_an_engine_that_has_failed_is_begun_anew_beside_the_event_loop(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_in: list[threading.Thread] = []

    async def test(queue: GenerationQueue) -> None:
        wanted = (await queue.submit([item(generator)]))[0].raw.token_ids
        engine: Any = queue._paged
        begin = engine._model.init_continuous_batching

        def noted(*args: Any, **more: Any) -> Any:
            opened_in.append(threading.current_thread())
            return begin(*args, **more)

        monkeypatch.setattr(engine._model, "init_continuous_batching", noted)
        await asyncio.to_thread(engine.stop)
        assert (await queue.submit([item(generator)]))[0].raw.token_ids == wanted
        assert len(opened_in) == 1
        assert opened_in[0] is not threading.current_thread()

    run(generator, test)


def test_a_prompt_that_is_too_long_is_named_and_spoils_nothing(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        good = asyncio.create_task(queue.submit([item(generator)]))
        with pytest.raises(BadItems, match="item 1: the prompt has"):
            await queue.submit([item(generator), item(generator, "card " * 200)])
        with pytest.raises(ItemError, match="the model holds 128"):
            await collected(queue, item(generator, "card " * 200))
        with pytest.raises(Refused, match="A stream is one text"):
            await collected(queue, item(generator, num_beams=2))
        assert (await good)[0].raw.token_ids == alone(generator).token_ids

    run(generator, test)


def test_stopping_lets_what_is_inside_end_and_takes_nothing_more(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        inside = asyncio.create_task(queue.submit([item(generator, max_new_tokens=60)]))
        await until(lambda: queue.waiting == 1)
        ending = asyncio.create_task(queue.stop())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await queue.submit([item(generator)])
        assert (await inside)[0].raw.token_ids == alone(generator, max_new_tokens=60).token_ids
        await ending

    run(generator, test)


def test_more_than_the_cache_holds_is_written_all_the_same(generator: TextGenerator) -> None:
    """The pages are too few for all at once: some wait or are begun again, none changes."""

    async def test(queue: GenerationQueue) -> None:
        prompts = [f"{'card ' * (number % 9 + 1)}{number}" for number in range(12)]
        wanted = [item(generator, prompt, max_new_tokens=60) for prompt in prompts]
        for prompt, scored in zip(prompts, await queue.submit(wanted), strict=True):
            assert scored.raw.token_ids == alone(generator, prompt, max_new_tokens=60).token_ids

    run(generator, test, token_budget=160)


@pytest.mark.parametrize("kind", ["generator", "unpaged"])
def test_a_model_that_breaks_fails_those_inside_and_answers_the_next(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator: TextGenerator = request.getfixturevalue(kind)

    def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("secret detail")

    async def test(queue: GenerationQueue) -> None:
        wanted = alone(generator).token_ids
        assert (await queue.submit([item(generator)]))[0].raw.token_ids == wanted
        model = (queue._paged or queue._static)._model  # type: ignore[union-attr]
        forward = model.forward
        monkeypatch.setattr(model, "forward", broken)
        for call in (queue.submit([item(generator)] * 2), collected(queue, item(generator))):
            with pytest.raises(BedplateError, match="failed") as failed:
                await call
            assert failed.value.code == "inference-failed"
            assert "secret" not in failed.value.message
        monkeypatch.setattr(model, "forward", forward)
        assert (await queue.submit([item(generator)]))[0].raw.token_ids == wanted

    run(generator, test)


def test_weights_that_give_no_numbers_are_said_to_be_broken(tmp_path: Path) -> None:
    generator = TextGenerator(tiny_llama(tmp_path), device="cpu", threads=1)
    with torch.no_grad():
        generator._model._model.lm_head.weight.fill_(float("nan"))

    async def test(queue: GenerationQueue) -> None:
        with pytest.raises(BedplateError) as failed:
            await queue.submit([item(generator)])
        assert failed.value.code == "non-finite"

    run(generator, test)


def test_a_hostile_chat_template_costs_its_own_caller_alone(tmp_path: Path) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    generator = TextGenerator(tiny_llama(tmp_path, chat_template=endless), device="cpu", threads=1)

    async def test(queue: GenerationQueue) -> None:
        await queue.submit([item(generator)])
        chat = generator.parse_chat([{"role": "user", "content": "hello"}])
        hostile = [asyncio.create_task(queue.submit([chat])) for _ in range(40)]  # more than any pool has threads
        await asyncio.sleep(0)
        assert len(await queue.submit([item(generator)])) == 1
        assert not any(one.done() for one in hostile)
        await asyncio.to_thread(str)  # nor are the threads of others taken
        for one in hostile[1:]:
            one.cancel()
        with pytest.raises(Refused) as refused:
            await hostile[0]
        assert refused.value.code == "chat-template-timeout"

    run(generator, test)


@pytest.mark.parametrize("stays", [True, False])
def test_who_leaves_while_the_engines_open_leaves_none_behind(stays: bool, generator: TextGenerator) -> None:
    before = set(threading.enumerate())

    async def test(queue: GenerationQueue) -> None:
        for _ in range(3):
            leaves = asyncio.create_task(queue.submit([item(generator)]))
            await asyncio.sleep(0.005)
            leaves.cancel()
        if stays:
            assert (await queue.submit([item(generator)]))[0].raw.token_ids == alone(generator).token_ids

    run(generator, test)
    assert not [one for one in set(threading.enumerate()) - before if one.name.startswith(ENGINES)]


def test_a_model_that_cannot_begin_continuous_batching_writes_static_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = TextGenerator(tiny_llama(tmp_path), device="cpu", threads=1)

    def cannot(*args: Any, **more: Any) -> Any:
        raise ValueError("this family cannot")

    monkeypatch.setattr(type(generator._model._model), "init_continuous_batching", cannot)

    async def test(queue: GenerationQueue) -> None:
        assert (await queue.submit([item(generator)]))[0].raw.token_ids == alone(generator).token_ids
        assert queue._paged is None

    run(generator, test)


def test_a_text_that_a_failing_manager_does_not_take_is_given_to_the_next_one(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        wanted = (await queue.submit([item(generator)]))[0].raw.token_ids
        engine: Any = queue._paged
        look = engine._takes_more

        def fails_after_the_look() -> bool:
            engine._takes_more = look
            engine._manager.background_thread_status.request_stop(2, 0)  # what its thread does first in an error
            return True

        engine._takes_more = fails_after_the_look
        assert (await queue.submit([item(generator)]))[0].raw.token_ids == wanted
        assert not engine._texts

    run(generator, test)


def test_a_text_may_fail_while_its_caller_leaves(generator: TextGenerator) -> None:
    async def test(queue: GenerationQueue) -> None:
        await queue.submit([item(generator)])
        engine: Any = queue._paged

        class Leaving(Text):
            """One whose caller leaves as it is looked at."""

            @property
            def is_done(self) -> bool:
                engine.drop(self)
                return super().is_done

        [encoded] = generator.encode([item(generator)])
        text = Leaving(encoded, generator._model._tokenizer, frozenset(), frozenset(), "cpu")
        engine._texts["a text"], engine._names[id(text)] = text, "a text"
        engine.fail("a text")
        assert text.failure is not None
        assert not engine._texts and not engine._names

    run(generator, test)


def test_prompts_are_not_encoded_to_the_end_for_a_caller_who_has_left(generator: TextGenerator) -> None:
    left = threading.Event()

    class Leaving(list[Any]):
        """A list whose second item is read as its caller leaves."""

        def __iter__(self) -> Any:
            for index, one in enumerate(super().__iter__()):
                if index == 1:
                    left.set()
                yield one
                assert index < 2, "read on"

    with pytest.raises(BedplateError, match="Nobody waits"):
        generator._model.encode_all(Leaving([item(generator)] * 5), left)


def test_a_hostile_template_costs_a_list_of_chats_as_much_as_one(tmp_path: Path) -> None:
    """The next chat is not begun where one took all its time, nor where the caller has left."""
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    generator = TextGenerator(tiny_llama(tmp_path, chat_template=endless), device="cpu", threads=1)
    chats = [generator.parse_chat([{"role": "user", "content": "hello"}])] * 50

    async def test(queue: GenerationQueue) -> None:
        with pytest.raises(Refused) as refused:
            await queue.submit(chats)  # a list of them would take longer than `run` waits
        assert refused.value.code == "chat-template-timeout"

    run(generator, test)
