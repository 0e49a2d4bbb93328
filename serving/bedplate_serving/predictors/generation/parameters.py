"""The parameters of text generation: those of the Hub's task page and of TGI, and a few of transformers' own.

What this release cannot do (a grammar, a watermark, an adapter by request) is a field too: it is refused by name with
the reason, because a text that silently ignores a wish looks like an answer to it.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.parameters import Parameters

__all__ = ["DEFAULT_CHAT_TOKENS", "DEFAULT_NEW_TOKENS", "GenerationParameters"]

DEFAULT_NEW_TOKENS, DEFAULT_CHAT_TOKENS = 100, 1024
MAX_STOPS = 16
MAX_SEQUENCES = 16
LEAST = 0.01  # of what logits are divided by: much less makes infinities of them
REFUSED = {
    "adapter_id": "adapters are a part of a model version here: import the model with its adapter",
    "grammar": "this release does not steer the text by a grammar or JSON schema",
    "watermark": "this release does not watermark texts",
}


class GenerationParameters(Parameters):
    max_new_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            description=f"How many tokens are written at most; by default {DEFAULT_NEW_TOKENS}, of a chat "
            f"{DEFAULT_CHAT_TOKENS}, or what the context still holds of them.",
        ),
    ] = None
    do_sample: Annotated[
        bool | None,
        Field(description="Draw tokens by chance; by default if temperature, top_k, top_p or typical_p is given."),
    ] = None
    temperature: Annotated[
        float | None,
        Field(ge=0, le=100, description="Below 1 likely tokens get likelier; 0 always takes the likeliest."),
    ] = None
    top_k: Annotated[int | None, Field(ge=0, description="Draw from the k likeliest tokens; 0: from all.")] = None
    top_p: Annotated[
        float | None,
        Field(gt=0, le=1, description="Draw from the likeliest tokens that together have this probability."),
    ] = None
    typical_p: Annotated[
        float | None, Field(gt=0, le=1, description="Draw from the most typical tokens of this total probability.")
    ] = None
    repetition_penalty: Annotated[
        float | None,
        Field(ge=LEAST, le=100, description="Above 1, tokens of the prompt and the text so far get unlikelier."),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        Field(ge=-2, le=2, description="Taken off a token's logit for each time it is in the text so far."),
    ] = None
    presence_penalty: Annotated[
        float | None, Field(ge=-2, le=2, description="Taken off a token's logit once if it is in the text so far.")
    ] = None
    seed: Annotated[
        int | None, Field(ge=0, lt=2**63, description="The same seed gives the same text, whatever else is running.")
    ] = None
    stop: Annotated[
        list[str] | None,
        Field(max_length=MAX_STOPS, fail_fast=True, description="The text ends at the first of these strings."),
    ] = None
    stop_sequences: Annotated[
        list[str] | None, Field(max_length=MAX_STOPS, fail_fast=True, description="Another name of stop.")
    ] = None
    include_stop_str_in_output: Annotated[
        bool, Field(description="Whether the stop string that ended the text is a part of it.")
    ] = True
    return_full_text: Annotated[bool | None, Field(description="Whether the answer begins with the prompt.")] = None
    details: Annotated[bool, Field(description="Tokens, their log-probabilities, why the text ended.")] = False
    decoder_input_details: Annotated[bool, Field(description="The details of the prompt's own tokens as well.")] = False
    top_n_tokens: Annotated[
        int | None, Field(ge=0, le=20, description="With details: the likeliest tokens at each place.")
    ] = None
    truncate: Annotated[int | None, Field(ge=1, description="Only the last of the prompt's tokens are read.")] = None
    num_return_sequences: Annotated[
        int | None, Field(ge=1, le=MAX_SEQUENCES, description="How many texts are sampled, or taken from the beams.")
    ] = None
    best_of: Annotated[
        int | None, Field(ge=1, le=MAX_SEQUENCES, description="Sample this many texts, return the likeliest.")
    ] = None
    num_beams: Annotated[int | None, Field(ge=1, le=16, description="Beam search with this many beams.")] = None
    min_new_tokens: Annotated[int | None, Field(ge=0, description="The text does not end before it has these.")] = None
    watermark: Annotated[bool | None, Field(description="Refused: not supported.")] = None
    adapter_id: Annotated[str | None, Field(description="Refused: not supported.")] = None
    grammar: Annotated[Any, Field(description="Refused: not supported.")] = None

    @property
    def samples(self) -> bool:
        """Whether chance has a part in it."""
        if self.do_sample is not None or self.temperature == 0:
            return bool(self.do_sample)
        steers = self.temperature, self.top_p, self.typical_p
        return bool(self.top_k) or any(value is not None for value in steers)

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(self.stop or self.stop_sequences or ())

    @property
    def sequences(self) -> int:
        """How many texts are written of one prompt."""
        return self.best_of or self.num_return_sequences or 1

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, reason in REFUSED.items():
            if getattr(self, name):
                raise Refused(f"{name} cannot be asked for: {reason}.", code="unsupported-parameter")
        for fault, said in self._faults():
            if fault:
                raise ValueError(said)
        return self

    def _faults(self) -> list[tuple[bool, str]]:
        steers = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "typical_p": self.typical_p,
        }
        given = [name for name, value in steers.items() if value is not None and value not in (0, 1)]
        beams = self.num_beams or 1
        several = self.sequences > 1
        of_single_tokens = ("frequency_penalty", "presence_penalty", "top_n_tokens")
        unsearched = [name for name in of_single_tokens if getattr(self, name)]
        return [
            (self.do_sample is False and bool(given), f"do_sample is false, but {', '.join(given)} steers sampling"),
            (
                0 < (self.temperature or 0) < LEAST,
                f"temperature is {self.temperature}; it must be 0, or at least {LEAST}",
            ),
            (bool(self.do_sample) and self.temperature == 0, "do_sample is true, but temperature 0 never samples"),
            (beams > 1 and self.samples, "num_beams searches and sampling draws; ask for one of them"),
            (
                beams > 1 and bool(unsearched),
                f"num_beams goes without {', '.join(unsearched)}",
            ),
            (bool(self.best_of and self.num_return_sequences), "give best_of or num_return_sequences, not both"),
            ((self.best_of or 1) > 1 and not self.samples, "best_of needs sampling: all its texts would be the same"),
            (
                several and not self.samples and self.sequences > beams,
                "several texts need sampling, or as many num_beams",
            ),
            (
                self.stop is not None and self.stop_sequences is not None,
                "stop and stop_sequences are the same: give one",
            ),
            (any(not text for text in self.stops), "an empty stop string would end every text at once"),
            (any(len(text) > 1000 for text in self.stops), "a stop string has at most 1000 characters"),
        ]
