"""A model that people use writes what it should: SmolLM2-135M-Instruct, chat and completion, whole and as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.text_generation import TextGenerator

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
pytestmark = pytest.mark.network


def test_it_answers_a_chat_and_continues_a_prompt_as_transformers_does(smollm2: Path) -> None:
    generator = TextGenerator(smollm2, device="cpu", threads=2)
    wanted = generator.parameters({"max_new_tokens": 12})
    chat, prompt = generator.parse_chat(QUESTION, wanted), generator.parse("The capital of Italy is", wanted)
    plain = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(smollm2)

    async def test() -> None:
        queue = generator.open_queue()
        queue.start()
        whole, pieces = await asyncio.gather(queue.submit([chat, prompt]), collected(queue.stream(chat)))
        texts = [scored.raw for scored in whole]
        assert texts[0].text == "The capital of France is Paris."
        assert (texts[0].finish_reason, texts[1].finish_reason) == ("eos_token", "length")
        assert texts[1].text.startswith(" Rome.")
        assert "".join(piece.text for piece in pieces) == texts[0].text
        ids = tokenizer(["The capital of Italy is"], return_tensors="pt")
        found = plain.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert list(texts[1].token_ids) == found.tolist()
        assert queue._paged is not None
        await queue.stop()

    asyncio.run(asyncio.wait_for(test(), 200))
    assert generator.prompt_of(QUESTION) == tokenizer.apply_chat_template(
        QUESTION, tokenize=False, add_generation_prompt=True
    )


async def collected(stream: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in stream]
