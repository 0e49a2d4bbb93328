"""What an encoder-decoder's own files say of its texts, read by a list of what is allowed and within bounds.

Config files are a stranger's: `generate` obeys whatever stands in them, a million beams as well. So a GenerationConfig
is made here of the tokens that a text starts and ends with, and of nothing else; how the model likes to write goes into
Limits, and from there into the Plan of each text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from transformers import GenerationConfig

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.parameters import WrongParameter, read_parameters
from bedplate_serving.predictors.seq2seq.settings import MAX_BEAMS, MAX_NEW_TOKENS, GenerationSettings

__all__ = ["context_length", "most_tokens", "own_settings", "own_tokens"]

MAX_CONTEXT = 16_384  # of attention that looks from every token at every other; LED and LongT5 were made for no more
DEFAULT_CONTEXT = 1024  # of models whose positions have no end, and whose tokenizer states none
POSITIONS = ("max_encoder_position_embeddings", "max_position_embeddings", "n_positions")
DECODER_POSITIONS = ("max_decoder_position_embeddings", "max_position_embeddings")
OWN = [name for name in GenerationSettings.model_fields if name not in ("seed", "max_time")]

Token = Annotated[int, Field(ge=0)]
Tokens = Annotated[list[Token], Field(max_length=10_000, fail_fast=True)]
Words = Annotated[list[Annotated[list[Token], Field(max_length=100)]], Field(max_length=1000, fail_fast=True)]


class OwnTokens(BaseModel):
    """What is taken of a model's generation_config beside its settings."""

    model_config = ConfigDict(strict=True, from_attributes=True)

    bos_token_id: Token | None = None
    eos_token_id: Token | Tokens | None = None
    pad_token_id: Token | None = None
    decoder_start_token_id: Token | None = None
    forced_bos_token_id: Token | None = None
    forced_eos_token_id: Token | Tokens | None = None
    suppress_tokens: Tokens | None = None
    begin_suppress_tokens: Tokens | None = None
    bad_words_ids: Words | None = None
    renormalize_logits: bool | None = None


def own_tokens(model: Any, tokenizer: Any) -> GenerationConfig:
    """The model's own, with what it leaves out filled in: two BERTs do not always say. Raises Refused: bad-config."""
    try:
        own = OwnTokens.model_validate(model.generation_config).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise _bad(f"{first['loc'][0]}: {first['msg']}") from error
    config = model.config
    start = [config.decoder_start_token_id, own.get("bos_token_id"), tokenizer.cls_token_id, tokenizer.bos_token_id]
    ends = [config.eos_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id]
    own.setdefault("decoder_start_token_id", _first_of(start))
    own.setdefault("eos_token_id", _first_of(ends))
    own.setdefault(
        "pad_token_id", _single(_first_of([config.pad_token_id, tokenizer.pad_token_id, own["eos_token_id"], 0]))
    )
    if own["decoder_start_token_id"] is None:
        raise Refused(
            "The model does not say which token its texts start with.",
            hint="Set decoder_start_token_id in config.json.",
            code="bad-config",
        )
    _check_vocabulary(own, model.get_decoder().get_input_embeddings().num_embeddings)
    return GenerationConfig(**own, use_cache=True)


def own_settings(stated: Any, config: Any, task: str) -> dict[str, Any]:
    """What the model says of its texts: for this task where it says so, as transformers' pipelines took it.

    Raises Refused: bad-config.
    """
    own = {name: getattr(stated, name, None) for name in OWN}
    tasks = getattr(config, "task_specific_params", None)
    named = (value for name, value in _entries(tasks) if name.startswith(task) and isinstance(value, Mapping))
    own |= {name: value for name, value in next(named, {}).items() if name in own}
    if isinstance(own["num_beams"], int):
        own["num_beams"] = min(own["num_beams"], MAX_BEAMS)
    try:
        for name, value in own.items():  # one by one: that they contradict each other is no harm, the plan decides
            read_parameters(GenerationSettings, {name: value}, task)
    except WrongParameter as error:
        raise _bad(error.message) from error
    if own["temperature"] == 0:  # as callers may say that chance has no part in it
        own |= {"temperature": None, "do_sample": False}
    return {name: value for name, value in own.items() if value is not None}


def context_length(model: Any, tokenizer: Any) -> int:
    """The smallest of what the tokenizer states, what the encoder's positions hold and MAX_CONTEXT."""
    config = getattr(model.config, "encoder", model.config)
    lengths = [int(tokenizer.model_max_length), _positions(config, POSITIONS, model.get_encoder())]
    sane = [length for length in lengths if 0 < length < 1 << 20]
    return min(*sane, MAX_CONTEXT) if sane else DEFAULT_CONTEXT


def most_tokens(model: Any) -> int:
    """How many it can write."""
    config = getattr(model.config, "decoder", model.config)
    held = _positions(config, DECODER_POSITIONS, model.get_decoder())
    return min(MAX_NEW_TOKENS, held - 1) if held > 1 else MAX_NEW_TOKENS  # one is taken by the token it starts with


def _positions(config: Any, names: Sequence[str], part: Any) -> int:
    """How many positions a side has; 0: no end. RoBERTa and its kin count from the one after padding."""
    count = next((int(value) for name in names if (value := getattr(config, name, None))), 0)
    table: Any = next((module for name, module in part.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    return count if padding is None else count - int(padding) - 1


def _entries(tasks: Any) -> Iterator[tuple[str, Any]]:
    yield from ((str(name), value) for name, value in tasks.items()) if isinstance(tasks, Mapping) else ()


def _check_vocabulary(own: Mapping[str, Any], size: int) -> None:
    for name, value in own.items():
        if name != "renormalize_logits" and (outside := [token for token in _flat(value) if token >= size]):
            raise _bad(f"{name} names the token {outside[0]}; the model has {size}")


def _flat(tokens: Any) -> Iterator[int]:
    if isinstance(tokens, list):
        for one in tokens:
            yield from _flat(one)
    elif tokens is not None:
        yield int(tokens)


def _first_of(tokens: Sequence[Any]) -> Any:
    return next((token for token in tokens if token is not None), None)


def _single(token: Any) -> int:
    return int(token[0] if isinstance(token, list) else token)


def _bad(why: str) -> Refused:
    return Refused(
        f"The model's own settings for writing cannot be used: {why.rstrip('.')}.",
        hint="Correct generation_config.json, or task_specific_params in config.json.",
        code="bad-config",
    )
