"""A prompt on its way to a causal model: as it came in, and as the model reads it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_serving.predictors.base import Encoded, ItemError
from bedplate_serving.predictors.generation.parameters import GenerationParameters

__all__ = ["Chat", "EncodedPrompt", "Prompt", "PromptTooLong", "Sampling", "read_token_ids", "sampling_of"]


class PromptTooLong(ItemError):
    """Prompt and new tokens together do not fit the model's context."""

    code = "prompt-too-long"


class ChatMessage(TypedDict):
    role: str
    content: str


class Chat(TypedDict):
    """A chat as one raw input."""

    messages: list[ChatMessage]
    tools: NotRequired[list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to be continued, or a chat to be answered, or tokens; and how."""

    parameters: GenerationParameters
    text: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[Any, ...] = ()
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, with nothing left open: what the caller gave, else what the model's own
    generation config says. 0 is off for top_k, min_new_tokens and no_repeat_ngram_size; 1 for the probabilities.
    """

    draws: bool = False
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    bad_words: tuple[tuple[int, ...], ...] = ()
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()  # as the first token
    min_new_tokens: int = 0
    top_n: int = 0
    beams: int = 1
    length_penalty: float = 1.0  # of beams
    early_stopping: bool | str = False


def sampling_of(wanted: GenerationParameters, defaults: Any) -> Sampling:
    """`defaults` is the model's own generation config. Without a seed one is drawn.

    Not read of it: whether and how it searches or draws (do_sample, num_beams and groups of them), lengths, forced
    tokens, stop_strings, guidance, sequence_bias, min_p, top_h, epsilon and eta cutoffs, exponential decay.
    """

    def given(name: str, neutral: Any) -> Any:
        value = getattr(wanted, name, None)
        value = getattr(defaults, name, None) if value is None else value
        return neutral if value is None else value

    always = Sampling(
        repetition_penalty=float(given("repetition_penalty", 1.0)),
        frequency_penalty=wanted.frequency_penalty or 0.0,
        presence_penalty=wanted.presence_penalty or 0.0,
        no_repeat_ngram_size=int(given("no_repeat_ngram_size", 0)),
        bad_words=tuple(map(tuple, given("bad_words_ids", ()))),
        suppressed=tuple(given("suppress_tokens", ())),
        begin_suppressed=tuple(given("begin_suppress_tokens", ())),
        min_new_tokens=int(given("min_new_tokens", 0)),
        top_n=wanted.top_n_tokens or 0,
        beams=wanted.num_beams or 1,
        length_penalty=float(given("length_penalty", 1.0)),
        early_stopping=given("early_stopping", False),
    )
    if not wanted.samples:
        return always
    return replace(
        always,
        draws=True,
        seed=secrets.randbits(63) if wanted.seed is None else wanted.seed,
        temperature=float(given("temperature", 1.0)),
        top_k=int(given("top_k", 0)),
        top_p=float(given("top_p", 1.0)),
        typical_p=float(given("typical_p", 1.0)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrompt(Encoded):
    """The tokens of a prompt and all that is needed to write its text. `length` counts the tokens still to come too."""

    ids: tuple[int, ...]
    echoed: str  # the prompt, where the answer is to begin with it
    max_new_tokens: int
    stops: tuple[str, ...]
    keeps_stop: bool
    sampling: Sampling
    sequences: int = 1
    keeps_best: bool = False  # of the sequences: best_of
    with_prefill: bool = False

    def single(self) -> list[EncodedPrompt]:
        """One for each text that is sampled, every one with a seed of its own; beams stay together."""
        if self.sequences == 1 or self.sampling.beams > 1:
            return [self]
        seeds = [(self.sampling.seed + number) % 2**63 for number in range(self.sequences)]
        return [replace(self, sequences=1, sampling=replace(self.sampling, seed=seed)) for seed in seeds]


def read_token_ids(item: Sequence[Any], vocabulary: int) -> tuple[int, ...]:
    """A prompt that is tokens already. Raises ItemError."""
    for place, token in enumerate(item):
        if type(token) is not int or not 0 <= token < vocabulary:
            raise ItemError(f"token {place} is {str(token)[:50]!r}; the model's tokens are 0 to {vocabulary - 1}")
    if not item:
        raise ItemError("the prompt has no tokens")
    return tuple(item)
