"""Encoder-decoders as training starts from them: loaded, or joined of two encoders, and told how and what to write.

What a model is told is kept in its own files, by the names that the predictors read: its words before a text in
`task_specific_params`, its languages in the tokenizer, how it writes in `generation_config`. So a caller who sends
nothing but a text gets what the model was trained and judged for.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    EncoderDecoderModel,
    GenerationConfig,
    set_seed,
)

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import JOINABLE
from bedplate_serving.predictors.loading import load_model
from bedplate_serving.predictors.seq2seq.languages import CodedLanguages, languages_of, prefixes_of, summary_prefix
from bedplate_serving.predictors.seq2seq.model_config import context_length, most_tokens, own_tokens

from .pretrained import Figures, load_tokenizer
from .settings import FinetuneSettings

__all__ = [
    "Told",
    "figures_of_writer",
    "greedy",
    "has_codes",
    "keep_told",
    "load_writer",
    "reader_of",
    "set_writing",
    "tell",
]


@dataclass(frozen=True)
class Told:
    """What a model is told of its texts."""

    prefix: str = ""  # stands before each source
    prefix_of: tuple[str, ...] = ()  # the tasks that it is the prefix of, in task_specific_params
    source_lang: str = ""  # the tokenizer's, where it has tokens of languages
    target_lang: str = ""
    forced: tuple[tuple[str, int], ...] = ()  # tokens of the target, by their names in a GenerationConfig
    reason: str = "the model wants no words before a text"  # of the prefix


def load_writer(folder: Path, seed: int) -> tuple[Any, Any, bool]:
    """The model in full precision, its tokenizer, and whether it was joined of two encoders just now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Marian's recommends a package that it makes no use of
        tokenizer = load_tokenizer(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    set_seed(seed)
    if config.model_type in JOINABLE:
        return _joined(folder, config, tokenizer), tokenizer, True
    model = load_model(AutoModelForSeq2SeqLM, folder, "cpu")
    _freeze_idle(model)
    return model, tokenizer, False


def _freeze_idle(model: Any) -> None:
    """What never gets a gradient (computed positions, poolers), since several processes would wait for it."""
    for name, module in model.named_modules():
        if "Sinusoidal" in type(module).__name__ or name.rpartition(".")[2] == "pooler":
            module.requires_grad_(False)


def _joined(folder: Path, config: Any, tokenizer: Any) -> Any:
    """The encoder twice; in its second half what looks at the first is new, and begins with random weights."""
    encoder = load_model(AutoModel, folder, "cpu")
    _freeze_idle(encoder)
    config = copy.deepcopy(config)
    config.is_decoder, config.add_cross_attention = True, True
    try:
        decoder = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Refused(f"The model could not be loaded as a decoder: {error}", code="load-failed") from error
    model = EncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.decoder_start_token_id = _either(tokenizer.cls_token_id, tokenizer.bos_token_id)
    model.config.eos_token_id = _either(tokenizer.sep_token_id, tokenizer.eos_token_id)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = GenerationConfig.from_model_config(model.config)
    return model


def figures_of_writer(model: Any, tokenizer: Any) -> Figures:
    return Figures(model.num_parameters(), model.config.model_type, context_length(model, tokenizer))


def has_codes(model: Any, tokenizer: Any) -> bool:
    """Whether the family is told languages by tokens of them."""
    return isinstance(languages_of(tokenizer, model.config, model.generation_config), CodedLanguages)


def tell(model: Any, tokenizer: Any, told: Told) -> None:
    """Keeps it in the model's own files, in place of whatever they said of this and other tasks."""
    model.config.task_specific_params = {name: {"prefix": told.prefix} for name in told.prefix_of if told.prefix}
    if told.target_lang:
        for name, code in (("src_lang", told.source_lang), ("tgt_lang", told.target_lang)):
            setattr(tokenizer, name, code)
            tokenizer.init_kwargs[name] = code  # what is saved
    for name, token in told.forced:
        setattr(model.generation_config, name, token)


def reader_of(model: Any, tokenizer: Any, task: str) -> Callable[[str], str]:
    """A source as the predictor gives it to the tokenizer, once the model was told."""
    if task == "summarization":
        prefixes = prefixes_of(model.config)
        return lambda text: summary_prefix(prefixes, text) + text
    languages = languages_of(tokenizer, model.config, model.generation_config)
    return lambda text: languages.direction(None, None, text).prefix + text


def set_writing(model: Any, tokenizer: Any, settings: FinetuneSettings, *, is_asked: bool) -> FinetuneSettings:
    """How it writes, in its generation_config; the settings with a target that it can write.

    Raises Refused where it cannot write as many tokens as a user asked for.
    """
    most, wanted = most_tokens(model), int(settings.max_target_length)
    if is_asked and wanted > most:
        raise Refused(
            f"max_target_length is {wanted}, and the model writes at most {most} tokens.",
            hint=f"Set it to {most} or less, or to auto.",
            code="bad-setting",
        )
    settings = replace(settings, max_target_length=min(wanted, most))
    own = own_tokens(model, tokenizer)
    own.update(max_new_tokens=settings.max_target_length, num_beams=settings.num_beams)
    if settings.num_beams > 1:
        own.update(length_penalty=settings.length_penalty)
    if settings.no_repeat_ngram_size:
        own.update(no_repeat_ngram_size=settings.no_repeat_ngram_size)
    model.generation_config = own
    return settings


def keep_told(model: Any, folder: Path) -> None:
    """What the model was told, in the files of `folder`: a base that an adapter was merged into has its own words."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["task_specific_params"] = model.config.task_specific_params
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    model.generation_config.save_pretrained(folder)


def greedy(config: GenerationConfig) -> GenerationConfig:
    """The same without a search: what is written while training, when it must be quick."""
    return GenerationConfig(**{**config.to_diff_dict(), "num_beams": 1, "length_penalty": None})


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first
