"""How the next token of one text is chosen. Every text has a chooser of its own: texts of one batch may differ in
everything, and chance in one says nothing about another.

The rules (temperature, top_k, a repetition penalty, …) are transformers' own processors, in the order that `generate`
applies them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from bedplate_serving.predictors.generation.prompt import EncodedPrompt, Sampling

__all__ = ["Chooser", "Chosen", "choose"]

Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (ids [1, n], scores [1, vocabulary]) -> scores


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token, its log-probability under the model itself, and the likeliest ones as (id, log-probability)."""

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


class Chooser:
    """Chooses the tokens of one text, one after the other; it is told of each."""

    def __init__(self, encoded: EncodedPrompt, eos: Sequence[int], device: str) -> None:
        sampling = encoded.sampling
        self.top_n = sampling.top_n
        self._ids = list(encoded.ids)
        self._written: Counter[int] = Counter()
        self._sampling = sampling
        self._rules = _rules(sampling, len(encoded.ids), eos, device)
        self._penalizes = bool(sampling.frequency_penalty or sampling.presence_penalty)
        self._generator: torch.Generator | None = None
        if sampling.draws:
            self._generator = torch.Generator(device)
            self._generator.manual_seed(sampling.seed)
        self.is_plain = not self._rules and not self._penalizes and self._generator is None

    def pick(self, scores: torch.Tensor) -> int:
        """The next token from the model's logits [vocabulary], which stay as they are."""
        row = scores[None].clone()
        if self._penalizes and self._written:
            row = self._penalized(row)
        ids = torch.tensor([self._ids], device=row.device) if self._rules else row
        for rule in self._rules:
            row = rule(ids, row)
        if self._generator is None:
            return int(row.argmax())
        return int(torch.multinomial(row.softmax(-1)[0], 1, generator=self._generator))

    def note(self, token: int) -> None:
        self._ids.append(token)
        self._written[token] += 1

    def _penalized(self, row: torch.Tensor) -> torch.Tensor:
        tokens = torch.tensor(list(self._written), device=row.device)
        counts = torch.tensor(list(self._written.values()), device=row.device, dtype=row.dtype)
        row[0, tokens] -= self._sampling.frequency_penalty * counts + self._sampling.presence_penalty
        return row


def _rules(sampling: Sampling, prompt_length: int, eos: Sequence[int], device: str) -> list[Rule]:
    ends = torch.tensor(eos, device=device) if eos else None
    wanted: list[tuple[bool, Callable[[], Any]]] = [
        (sampling.repetition_penalty != 1, lambda: RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)),
        (sampling.no_repeat_ngram_size > 0, lambda: NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram_size)),
        (bool(sampling.bad_words), lambda: NoBadWordsLogitsProcessor([[*words] for words in sampling.bad_words], ends)),
        (
            bool(sampling.min_new_tokens and eos),
            lambda: MinNewTokensLengthLogitsProcessor(prompt_length, sampling.min_new_tokens, list(eos), device=device),
        ),
        (bool(sampling.suppressed), lambda: SuppressTokensLogitsProcessor(list(sampling.suppressed), device=device)),
        (
            bool(sampling.begin_suppressed),
            lambda: SuppressTokensAtBeginLogitsProcessor([*sampling.begin_suppressed], prompt_length, device=device),
        ),
    ]
    if sampling.draws:
        wanted += [
            (sampling.temperature != 1, lambda: TemperatureLogitsWarper(float(sampling.temperature))),
            (sampling.top_k > 0, lambda: TopKLogitsWarper(sampling.top_k)),
            (sampling.top_p < 1, lambda: TopPLogitsWarper(float(sampling.top_p))),
            (sampling.typical_p < 1, lambda: TypicalLogitsWarper(sampling.typical_p)),
        ]
    return [make() for is_wanted, make in wanted if is_wanted]


def choose(choosers: Sequence[Chooser], logits: torch.Tensor) -> list[Chosen | Exception]:
    """One token for each row of `logits` [n, vocabulary]; what fails in one row is that row's outcome alone."""
    likeliest = logits.argmax(-1).tolist()
    outcomes: list[int | Exception] = []
    for row, chooser in enumerate(choosers):
        try:
            outcomes.append(likeliest[row] if chooser.is_plain else chooser.pick(logits[row]))
        except Exception as error:  # noqa: BLE001 - a neighbor's text goes on
            outcomes.append(error)
    tokens = torch.tensor([one if isinstance(one, int) else 0 for one in outcomes], device=logits.device)
    totals = logits.logsumexp(-1)
    logprobs = (logits.gather(1, tokens[:, None])[:, 0] - totals).tolist()
    most = max(chooser.top_n for chooser in choosers)
    tops = _tops(logits, totals, most) if most else [()] * len(outcomes)
    return [
        one if isinstance(one, Exception) else Chosen(one, logprob, top[: chooser.top_n])
        for one, logprob, top, chooser in zip(outcomes, logprobs, tops, choosers, strict=True)
    ]


def _tops(logits: torch.Tensor, totals: torch.Tensor, count: int) -> list[tuple[tuple[int, float], ...]]:
    values, ids = logits.topk(min(count, logits.shape[-1]), dim=-1)
    rows = zip(ids.tolist(), (values - totals[:, None]).tolist(), strict=True)
    return [tuple(zip(row, logprobs, strict=True)) for row, logprobs in rows]
