"""What may stand in a body of OpenAI's dialect, and what it is called in ours.

What has no effect on a text (`user`, `metadata`, …) is taken. What would have one and cannot be done here (a schema, a
bias) is refused by name, since a text that silently ignores a wish looks like an answer to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from bedplate_serving.predictors.generation.chat_template import MAX_MESSAGES
from bedplate_serving.predictors.parameters import Parameters, WrongParameter, read_parameters
from bedplate_serving.problems import Problem

__all__ = ["ChatBody", "CompletionBody", "OpenAIBody", "Stops", "read_body"]

MAX_CHOICES = 16
MAX_PROMPTS = 256
MAX_TOOLS = 128
MAX_STOPS = 16
COMPLETION_TOKENS = 16  # OpenAI's own default

B = TypeVar("B", bound="OpenAIBody")
Stops = str | Annotated[list[str], Field(max_length=MAX_STOPS, fail_fast=True)]


class StreamOptions(Parameters):
    include_usage: bool = False
    include_obfuscation: bool = False  # padding against a listener's guesses by length: none is sent


class OpenAIBody(Parameters):
    """What a chat and a completion have in common."""

    model: Annotated[str | None, Field(description="The endpoint's name; below an endpoint without effect.")] = None
    max_tokens: Annotated[int | None, Field(ge=1, description="How many tokens are written at most.")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="0 always takes the likeliest token.")] = None
    top_p: Annotated[
        float | None, Field(gt=0, le=1, description="Draw from the likeliest tokens of this total probability.")
    ] = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES, description="How many texts are drawn of each prompt.")] = 1
    stop: Annotated[Stops | None, Field(description="The text ends before the first of these.")] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63, description="The same seed gives the same text.")] = None
    presence_penalty: Annotated[
        float | None, Field(ge=-2, le=2, description="Taken off a token's logit once if it was written.")
    ] = None
    frequency_penalty: Annotated[
        float | None, Field(ge=-2, le=2, description="Taken off a token's logit for each time it was written.")
    ] = None
    stream: Annotated[bool, Field(description="Server-sent events instead of one answer.")] = False
    stream_options: Annotated[
        StreamOptions | None, Field(description="include_usage: a last event counts the tokens.")
    ] = None
    # Not OpenAI's, but known to many servers beside it:
    top_k: Annotated[int | None, Field(ge=0, description="Draw from the k likeliest tokens.")] = None
    repetition_penalty: Annotated[float | None, Field(gt=0, le=100, description="Above 1, less repetition.")] = None
    # Without effect:
    user: Annotated[str | None, Field(description="Without effect.")] = None
    metadata: Annotated[dict[str, Any] | None, Field(description="Without effect.")] = None
    # One value alone:
    logit_bias: Annotated[dict[str, Any] | None, Field(max_length=0, description="Must be empty.")] = None

    @property
    def stops(self) -> list[str] | None:
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def limit(self) -> int | None:
        return self.max_tokens

    @property
    def top(self) -> int | None:
        """How many alternatives at each place; None where no log-probabilities are wanted."""
        return None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def generation(self) -> dict[str, Any]:
        """The parameters in our own terms; those that were not given are left to the model."""
        given: dict[str, Any] = {
            "max_new_tokens": self.limit,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": None if self.seed is None else self.seed % 2**63,
            "stop": self.stops,
            "include_stop_str_in_output": False,
            "return_full_text": False,
            "top_n_tokens": self.top or None,
        }
        if self.n > 1:
            given |= {"num_return_sequences": self.n, "do_sample": True}
        return {name: value for name, value in given.items() if value is not None}


class ChatBody(OpenAIBody):
    """POST /v1/chat/completions."""

    messages: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            max_length=MAX_MESSAGES,
            fail_fast=True,
            description='{"role", "content"} each, the oldest first.',
        ),
    ]
    max_completion_tokens: Annotated[int | None, Field(ge=1, description="The newer name of max_tokens.")] = None
    logprobs: Annotated[bool, Field(description="The log-probability of each token.")] = False
    top_logprobs: Annotated[
        int | None, Field(ge=0, le=20, description="With logprobs: the likeliest at each place as well.")
    ] = None
    response_format: Annotated[dict[str, Any] | None, Field(description='{"type": "text"} alone.')] = None
    tools: Annotated[
        list[dict[str, Any]] | None,
        Field(
            max_length=MAX_TOOLS,
            fail_fast=True,
            description="Handed to a template that has a place for them; else refused.",
        ),
    ] = None
    tool_choice: Annotated[Literal["none", "auto"] | None, Field(description="none: as if there were no tools.")] = None
    parallel_tool_calls: Annotated[bool | None, Field(description="Without effect.")] = None
    modalities: Annotated[
        list[Literal["text"]] | None, Field(max_length=1, fail_fast=True, description='["text"] alone.')
    ] = None
    store: Annotated[Literal[False] | None, Field(description="Nothing is stored: false alone.")] = None
    service_tier: Annotated[str | None, Field(description="Without effect.")] = None
    safety_identifier: Annotated[str | None, Field(description="Without effect.")] = None
    prompt_cache_key: Annotated[str | None, Field(description="Without effect.")] = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def usable_tools(self) -> list[dict[str, Any]] | None:
        return None if self.tool_choice == "none" else self.tools

    @property
    def top(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(OpenAIBody):
    """POST /v1/completions."""

    prompt: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)],
        Field(description="One text, or a list of them. (Lists of token ids are not taken.)"),
    ]
    echo: Annotated[bool, Field(description="Whether each text begins with its prompt.")] = False
    best_of: Annotated[int | None, Field(ge=1, le=MAX_CHOICES, description="Draw so many, return the likeliest.")] = (
        None
    )
    logprobs: Annotated[
        int | None, Field(ge=0, le=5, description="The log-probability of each token, and so many others beside it.")
    ] = None
    suffix: Annotated[Literal[""] | None, Field(description="Must be empty.")] = None

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def limit(self) -> int | None:
        return self.max_tokens or COMPLETION_TOKENS

    @property
    def top(self) -> int | None:
        return self.logprobs

    def generation(self) -> dict[str, Any]:
        given = super().generation() | {"return_full_text": self.echo}
        if (self.best_of or 1) > 1:
            given |= {"best_of": self.best_of, "do_sample": True}
        return given


def read_body(kind: type[B], root: Mapping[str, Any], what: str) -> B:
    """The checked body. Raises a Problem that names the field."""
    try:
        body = read_parameters(kind, root, what)
    except WrongParameter as error:
        raise _named(error) from error
    _check_together(body)
    return body


def _named(error: WrongParameter) -> Problem:
    """The same, with the field at fault as OpenAI's `param`."""
    name = error.name or None
    if error.is_missing:
        return Problem(422, "missing-field", f"The body has no {name!r}.", extra={"param": name})
    return Problem(422, error.code, error.message, error.hint, extra={"param": name})


def _check_together(body: OpenAIBody) -> None:
    for name, said in _faults(body):
        raise Problem(422, "unsupported-parameter", said, extra={"param": name})


def _faults(body: OpenAIBody) -> list[tuple[str, str]]:
    faults = []
    if body.n > 1 and body.temperature == 0:
        faults.append(("n", "n is above 1, but with temperature 0 all texts would be the same."))
    if body.n > 1 and body.stream:
        faults.append(("n", "A stream is one text: n must be 1."))
    if body.stream_options is not None and not body.stream:
        faults.append(("stream_options", "stream_options are given, but stream is not true."))
    if isinstance(body, ChatBody):
        if (body.response_format or {"type": "text"}) != {"type": "text"}:
            faults.append(("response_format", 'response_format must be {"type": "text"}: no schema is enforced here.'))
        if body.top_logprobs and not body.logprobs:
            faults.append(("top_logprobs", "top_logprobs is given, but logprobs is not true."))
    if isinstance(body, CompletionBody):
        if body.stream and len(body.prompts) > 1:
            faults.append(("prompt", "A stream is one text: prompt must be one."))
        if (body.best_of or 1) > 1 and (body.n > 1 or body.stream):
            faults.append(("best_of", "best_of returns one text, not streamed: n must be 1 and stream false."))
        if body.echo and (body.stream or body.logprobs is not None):
            faults.append(("echo", "echo goes with neither stream nor logprobs."))
    return faults
