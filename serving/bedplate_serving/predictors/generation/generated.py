"""What a text generation gives back, and its wire forms. Light: neither torch nor transformers is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_serving.predictors.base import Piece

__all__ = ["Answer", "FinishReason", "GeneratedText", "Generation", "details_of"]

FinishReason = Literal["length", "eos_token", "stop_sequence"]


class GeneratedText(TypedDict):
    """One text; `details` where they were asked for."""

    generated_text: str
    details: NotRequired[dict[str, Any]]


Answer = list[GeneratedText]  # one, or as many as num_return_sequences says


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated text and how it came about."""

    text: str
    pieces: tuple[Piece, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    prompt: str = ""  # what stands before the text in an answer: the prompt, where return_full_text asked for it
    seed: int | None = None  # of a sampled text, given or drawn: with it the same text comes again
    prefill: tuple[Piece, ...] = ()  # the prompt's own tokens, where decoder_input_details asked for them
    others: tuple[Generation, ...] = ()  # further texts of the same prompt: num_return_sequences
    rejected: tuple[Generation, ...] = ()  # less likely ones: best_of

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(piece.token_id for piece in self.pieces)

    @property
    def logprobs(self) -> tuple[float, ...] | None:
        values = [piece.logprob for piece in self.pieces if piece.logprob is not None]
        return tuple(values) if len(values) == len(self.pieces) else None

    @property
    def completion_tokens(self) -> int:
        return len(self.pieces)

    @property
    def usage(self) -> dict[str, int]:
        """As the last piece of a stream tells it; texts of the same prompt count together."""
        completion = sum(one.completion_tokens for one in (self, *self.others, *self.rejected))
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": completion}

    @property
    def mean_logprob(self) -> float:
        values = self.logprobs or (0.0,)
        return sum(values) / len(values)

    @classmethod
    def joined(cls, texts: Sequence[Generation], *, keeps_best: bool) -> Generation:
        """All texts of one prompt as one: in their order, or the likeliest of them first."""
        if not keeps_best:
            return replace(texts[0], others=(*texts[0].others, *texts[1:]))
        best, *rest = sorted(texts, key=lambda text: -text.mean_logprob)
        return replace(best, rejected=tuple(rest))


def details_of(generation: Generation) -> dict[str, Any]:
    """TGI's `details`: the tokens with their log-probabilities, why it ended, how long it is."""
    return {
        "finish_reason": generation.finish_reason,
        "generated_tokens": generation.completion_tokens,
        "prompt_tokens": generation.prompt_tokens,
        "seed": generation.seed,
        "prefill": [{"id": one.token_id, "text": one.text, "logprob": one.logprob} for one in generation.prefill],
        "tokens": [_token(one) for one in generation.pieces],
        **_top_tokens(generation),
        **({"best_of_sequences": [_sequence(one) for one in generation.rejected]} if generation.rejected else {}),
    }


def _sequence(generation: Generation) -> dict[str, Any]:
    return {"generated_text": generation.prompt + generation.text, **details_of(generation)}


def _token(piece: Piece) -> dict[str, Any]:
    return {"id": piece.token_id, "text": piece.text, "logprob": piece.logprob, "special": piece.special}


def _top_tokens(generation: Generation) -> dict[str, Any]:
    if not any(piece.top for piece in generation.pieces):
        return {}
    rows = [
        [{"id": number, "text": text, "logprob": logprob, "special": False} for number, text, logprob in piece.top]
        for piece in generation.pieces
    ]
    return {"top_tokens": rows}
