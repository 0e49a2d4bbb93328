"""Texts in batches of `generate`: padded on the left, the batch ends when its last text is done.

Any decoder-only model can do this. Texts of one batch may differ in every setting but the number of beams; a text with
beams is written alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from bedplate_serving.halving import failure_of
from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.generation.engine import Told, advance, forced
from bedplate_serving.predictors.generation.generated import Generation
from bedplate_serving.predictors.generation.sampling import Chosen
from bedplate_serving.predictors.generation.writer import Text

__all__ = ["StaticEngine", "batches", "write_batch"]

LARGEST_BATCH = 64
PREFILL_POSITIONS = 64  # at once: each is as many numbers as the vocabulary has tokens
JOIN_SECONDS = 30.0


def batches(texts: Sequence[Text], token_budget: int, context_length: int, *, pads: bool) -> Iterator[list[Text]]:
    """Consecutive texts that fit together, at least one at a time; without `pads` those of equally long prompts alone.

    Rows x (longest prompt + longest text) stay within the budget, and that sum within the context, because positions
    of a short text go on counting until the longest is done.
    """
    batch: list[Text] = []
    for text in texts:
        joined = [*batch, text]
        width = max(len(one.encoded.ids) for one in joined) + max(one.encoded.max_new_tokens for one in joined)
        beams = max(one.encoded.sampling.beams for one in joined)
        too_much = width > context_length or width * len(joined) > token_budget or len(joined) > LARGEST_BATCH
        uneven = not pads and len(text.encoded.ids) != len(joined[0].encoded.ids)
        if batch and (too_much or uneven or beams > 1):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def write_batch(model: Any, texts: Sequence[Text], told: Told, pad: int) -> None:
    """Writes them all, as `batches` gave them together; each ends finished or failed."""
    wanted = [text for text in texts if not text.is_done]
    if not wanted:
        return
    try:
        with torch.inference_mode():
            for text in wanted:
                if text.encoded.with_prefill:
                    text.prefill = _prefill(model, text)
            if wanted[0].encoded.sampling.beams > 1:
                _search(model, wanted[0], told, pad)
            else:
                _write(model, wanted, told, pad)
    except Exception as error:  # noqa: BLE001 - the outer edge of the engine: every text gets an answer
        failure = failure_of(error)
        still = [text for text in wanted if not text.is_done]
        for text in still:
            text.fail(failure)
        told([(text, None) for text in still])


class _Rows(LogitsProcessor):  # type: ignore[misc]  # transformers is not typed
    """Takes over the choice: what `generate` sees are scores that leave it none."""

    def __init__(self, texts: Sequence[Text], told: Told) -> None:
        self._texts, self._told = texts, told

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens, step = advance(self._texts, scores)
        if step:
            self._told(step)
        return forced(scores, tokens)


class _AllDone(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return torch.tensor([text.is_done for text in self._texts], device=input_ids.device)


class _AllLeft(StoppingCriteria):  # type: ignore[misc]
    """Ends a beam search that nobody waits for."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._text.is_done, dtype=torch.bool, device=input_ids.device)


def _write(model: Any, texts: Sequence[Text], told: Told, pad: int) -> None:
    longest = max(len(text.encoded.ids) for text in texts)
    rows = [[pad] * (longest - len(text.encoded.ids)) + list(text.encoded.ids) for text in texts]
    mask = [[0] * (longest - len(text.encoded.ids)) + [1] * len(text.encoded.ids) for text in texts]
    model.generate(
        input_ids=torch.tensor(rows, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=GenerationConfig(
            max_new_tokens=max(text.encoded.max_new_tokens for text in texts), do_sample=False, pad_token_id=pad
        ),
        logits_processor=LogitsProcessorList([_Rows(texts, told)]),
        stopping_criteria=StoppingCriteriaList([_AllDone(texts)]),
    )


def _search(model: Any, text: Text, told: Told, pad: int) -> None:
    """Beam search: transformers' own; its texts are cut at stop strings afterwards."""
    encoded, sampling = text.encoded, text.encoded.sampling
    prompt = torch.tensor([encoded.ids], device=model.device)
    found = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=GenerationConfig(
            max_new_tokens=encoded.max_new_tokens,
            min_new_tokens=sampling.min_new_tokens or None,
            num_beams=sampling.beams,
            num_return_sequences=encoded.sequences,
            length_penalty=sampling.length_penalty,
            early_stopping=sampling.early_stopping,
            repetition_penalty=sampling.repetition_penalty,
            no_repeat_ngram_size=sampling.no_repeat_ngram_size,
            bad_words_ids=[list(words) for words in sampling.bad_words] or None,
            suppress_tokens=list(sampling.suppressed) or None,
            begin_suppress_tokens=list(sampling.begin_suppressed) or None,
            eos_token_id=sorted(text.eos) or None,
            pad_token_id=pad,
            do_sample=False,
        ),
        stopping_criteria=StoppingCriteriaList([_AllLeft(text)]),
    )
    if text.is_done:
        return  # nobody waits for it
    copies = [text, *(text.fresh() for _ in range(encoded.sequences - 1))]
    others: list[Generation] = []
    for copy, ids in reversed(list(zip(copies, found[:, len(encoded.ids) :].tolist(), strict=True))):
        steps = _write_down(copy, ids)
        if copy is not text:
            others.insert(0, copy.generation())
    text.others = tuple(others)
    for piece in steps:
        told([(text, piece)])


def _write_down(text: Text, tokens: Sequence[int]) -> list[Piece]:
    """Tokens that were found elsewhere. Beams have no log-probability for each token."""
    pieces = []
    for token in tokens:
        pieces.append(text.write(Chosen(token, None)))
        if text.is_done:
            break
    return pieces


def _prefill(model: Any, text: Text) -> tuple[Piece, ...]:
    """The prompt's own tokens: how likely each was after those before it. The first has no such number."""
    ids = torch.tensor([text.encoded.ids], device=model.device)
    known: list[float | None] = [None]
    for logits in _logits(model, ids):
        following = ids[0, len(known) : len(known) + len(logits), None]
        known += logits[: len(following)].float().log_softmax(-1).gather(1, following)[:, 0].tolist()
    return tuple(
        Piece(text.word(token), token, logprob) for token, logprob in zip(text.encoded.ids, known, strict=True)
    )


def _logits(model: Any, ids: torch.Tensor) -> Iterator[torch.Tensor]:
    """Of all positions of a prompt, a few at a time: through the cache, as a model reads what comes piece by piece.

    A model without one of attention (a state space) is given the prompt whole.
    """
    if model._is_stateful:
        yield model(ids).logits[0]
        return
    cache = None
    for part in ids.split(PREFILL_POSITIONS, dim=1):
        output = model(part, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        yield output.logits[0]


class StaticEngine:
    """One thread: it takes what waits, in order of arrival, as much as fits one batch, and writes that."""

    def __init__(self, model: Any, told: Told, *, pad: int, token_budget: int, context_length: int, pads: bool) -> None:
        self._model, self._told, self._pad, self._pads = model, told, pad, pads
        self._token_budget, self._context_length = token_budget, context_length
        self._waiting: deque[Text] = deque()
        self._running: list[Text] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="static-batches", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, text: Text) -> None:
        with self._wake:
            self._waiting.append(text)
            self._wake.notify()

    def drop(self, text: Text) -> None:
        """A batch that runs leaves it out of account; one that waits is passed over."""

    def stop(self) -> None:
        with self._wake:
            self._closing = True
            for text in (*self._waiting, *self._running):
                text.leave()  # the next step of `generate` is its last
            self._wake.notify()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while batch := self._next():
            write_batch(self._model, batch, self._told, self._pad)

    def _next(self) -> list[Text]:
        """The next batch; empty when there will be none any more."""
        with self._wake:
            while True:
                waiting = [text for text in self._waiting if not text.is_done]
                batch = next(batches(waiting, self._token_budget, self._context_length, pads=self._pads), [])
                self._waiting = deque(waiting[len(batch) :])
                self._running = batch
                if batch or self._closing:
                    return batch
                self._wake.wait()
