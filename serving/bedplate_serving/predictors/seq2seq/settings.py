"""How an encoder-decoder writes: the settings a caller may send, and what they come to for one model.

    {"max_new_tokens": 60, "generate_parameters": {"num_beams": 4}}  --settings_of-->  settings, all at one level
    settings + what the model itself says + what it can             --Limits.plan-->  a Plan: what `generate` is told

Items of equal plans may run as one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.parameters import Parameters

__all__ = ["GenerationSettings", "Limits", "Plan", "Seq2SeqParameters", "settings_of"]

MAX_NEW_TOKENS = 1024  # whatever the model could: a text that never ends keeps all others waiting
DEFAULT_NEW_TOKENS = 256  # where the model says nothing
MAX_BEAMS = 16
MAX_SECONDS = 120.0  # that a caller may allow one text
LEAST = 0.01  # of what logits are divided by: much less makes infinities of them
STEERS = ("temperature", "top_k", "top_p")


class GenerationSettings(Parameters):
    """What steers the writing. By default the model's own generation_config decides."""

    max_new_tokens: Annotated[
        int | None,
        Field(
            ge=1, description=f"How many tokens are written at most; else what the model says, or {DEFAULT_NEW_TOKENS}."
        ),
    ] = None
    max_length: Annotated[
        int | None, Field(ge=2, description="The same with the token counted that every answer starts with.")
    ] = None
    min_new_tokens: Annotated[int | None, Field(ge=0, description="The text does not end before it has these.")] = None
    min_length: Annotated[int | None, Field(ge=0, description="The same with the first token counted.")] = None
    num_beams: Annotated[
        int | None, Field(ge=1, le=MAX_BEAMS, description="Beam search with this many beams; 1: greedy.")
    ] = None
    early_stopping: Annotated[
        bool | Literal["never"] | None, Field(description="Whether beam search ends with the first full set of texts.")
    ] = None
    length_penalty: Annotated[
        float | None,
        Field(ge=-10, le=10, description="Above 0, beam search prefers longer texts; below, shorter ones."),
    ] = None
    no_repeat_ngram_size: Annotated[
        int | None, Field(ge=0, le=100, description="No run of this many tokens comes twice; 0: any may.")
    ] = None
    encoder_no_repeat_ngram_size: Annotated[
        int | None, Field(ge=0, le=100, description="No run of this many tokens is taken from the source; 0: any may.")
    ] = None
    repetition_penalty: Annotated[
        float | None, Field(ge=LEAST, le=100, description="Above 1, tokens that were written already get unlikelier.")
    ] = None
    do_sample: Annotated[
        bool | None, Field(description="Draw tokens by chance; by default if temperature, top_k or top_p is given.")
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
    seed: Annotated[
        int | None, Field(ge=0, lt=2**63, description="The same seed gives the same text, whatever else is running.")
    ] = None
    max_time: Annotated[
        float | None, Field(gt=0, le=MAX_SECONDS, description="The text ends after so many seconds, wherever it is.")
    ] = None

    @property
    def samples(self) -> bool | None:
        """Whether chance has a part in it; None leaves it to the model."""
        if self.do_sample is not None or self.temperature == 0:
            return bool(self.do_sample)
        return True if any(getattr(self, name) is not None for name in STEERS) else None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        steers = [name for name in STEERS if getattr(self, name) not in (None, 0, 1)]
        if self.do_sample is False and steers:
            raise ValueError(f"do_sample is false, but {', '.join(steers)} steers sampling")
        if 0 < (self.temperature or 0) < LEAST:
            raise ValueError(f"temperature is {self.temperature}; it must be 0, or at least {LEAST}")
        if self.do_sample and self.temperature == 0:
            raise ValueError("do_sample is true, but temperature 0 never samples")
        if self.samples and (self.num_beams or 1) > 1:
            raise ValueError("num_beams searches and sampling draws; ask for one of them")
        return self


class Seq2SeqParameters(GenerationSettings):
    """The parameters of the Hub's task pages; settings may stand in generate_parameters or beside it."""

    generate_parameters: Annotated[
        GenerationSettings | None,
        Field(description="The settings of the generation, all of which may stand outside, too."),
    ] = None
    clean_up_tokenization_spaces: Annotated[
        bool | None, Field(description="Whether blanks before punctuation are taken out; else as the tokenizer says.")
    ] = None
    truncation: Annotated[
        Literal["longest_first", "only_first", "do_not_truncate"],
        Field(description="What becomes of a text that the model cannot read whole: it is cut, or refused."),
    ] = "longest_first"


def settings_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Those of generate_parameters and those beside it as one. Raises Refused where they contradict each other."""
    inner = raw.get("generate_parameters")
    flat = {name: value for name, value in raw.items() if name != "generate_parameters" and value is not None}
    if inner is None:
        return flat
    if not isinstance(inner, Mapping):
        what = f"generate_parameters is {type(inner).__name__}; it must be an object of settings."
        raise Refused(what, hint='For example {"max_new_tokens": 60}.', code="bad-parameter")
    for name, value in inner.items():
        if name not in GenerationSettings.model_fields and name in Seq2SeqParameters.model_fields:
            raise Refused(f"{name} is no setting of the generation.", hint="Give it outside.", code="bad-parameter")
        if value is not None and flat.setdefault(name, value) != value:
            raise Refused(f"{name} is given twice, as {value!r} and {flat[name]!r}.", code="bad-parameter")
    return flat


@dataclass(frozen=True, slots=True)
class Plan:
    """What `generate` is told, beside the source."""

    settings: tuple[tuple[str, Any], ...]  # of a GenerationConfig, over the model's own
    max_new_tokens: int
    num_beams: int
    is_sampled: bool
    seed: int | None
    max_seconds: float | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model says of its own texts (`own`: settings of a GenerationConfig) and how much it can write."""

    own: Mapping[str, Any]
    most_tokens: int

    def plan(self, wanted: GenerationSettings, **forced: int) -> Plan:
        """`forced` are tokens that the target language asks for. Raises Refused: bad-parameter."""
        given = wanted.model_dump(exclude_none=True, include=set(GenerationSettings.model_fields))
        longest = self._longest(given)
        is_sampled = wanted.samples
        if is_sampled is None:  # a caller's beams go before the model's own chance
            is_sampled = bool(self.own.get("do_sample")) and (wanted.num_beams or 1) == 1
        settings = {name: value for name, value in {**self.own, **given}.items() if name not in _READ_HERE}
        settings |= {
            **forced,
            "max_new_tokens": longest,
            "min_new_tokens": self._shortest(given, longest),
            "do_sample": is_sampled,
            "num_beams": 1 if is_sampled else settings.get("num_beams", 1),
        }
        if not is_sampled:
            settings = {name: value for name, value in settings.items() if name not in STEERS}
        return Plan(
            tuple(sorted(settings.items())),
            longest,
            settings["num_beams"],
            is_sampled,
            given.get("seed") if is_sampled else None,
            given.get("max_time"),
        )

    def _longest(self, given: Mapping[str, Any]) -> int:
        asked = _tokens(given, "max")
        if asked is None:
            return min(_tokens(self.own, "max") or DEFAULT_NEW_TOKENS, self.most_tokens)
        if asked > self.most_tokens:
            raise Refused(
                f"The text may have {asked} tokens; this model writes at most {self.most_tokens}.",
                hint="Ask for a smaller max_new_tokens.",
                code="bad-parameter",
            )
        return max(asked, 1)

    def _shortest(self, given: Mapping[str, Any], longest: int) -> int:
        asked = _tokens(given, "min")
        if asked is None:
            return min(_tokens(self.own, "min") or 0, longest)
        if asked > longest:
            raise Refused(
                f"The text must have {asked} tokens and may have {longest}.",
                hint="Ask for a smaller min_new_tokens or a larger max_new_tokens.",
                code="bad-parameter",
            )
        return asked


_READ_HERE = frozenset(("seed", "max_time", "max_length", "min_length", "max_new_tokens", "min_new_tokens"))


def _tokens(settings: Mapping[str, Any], end: Literal["max", "min"]) -> int | None:
    """`…_length` counts the token that a decoder starts with, `…_new_tokens` does not."""
    if (count := settings.get(f"{end}_new_tokens")) is not None:
        return int(count)
    length = settings.get(f"{end}_length")
    return None if length is None else max(int(length) - 1, 0)
