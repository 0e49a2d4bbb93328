"""Summarization: of a long text a short one is written, on any encoder-decoder or on two encoders joined to one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_serving.predictors.seq2seq.languages import languages_of, prefixes_of
from bedplate_trainers.messages import FinetuneRequest, FinetuneResult
from bedplate_trainers.parsing import AUTO
from bedplate_trainers.recipes.base import Prepared, run_recipe
from bedplate_trainers.recipes.writing import prepare_writer
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.writers import Told, has_codes

__all__ = ["prepare", "run"]

TASK = "summarization"


def run(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    return run_recipe(prepare, request, reporter, resume=resume)


def prepare(request: FinetuneRequest, reporter: Reporter) -> Prepared:
    return prepare_writer(request, reporter, told)


def told(model: Any, tokenizer: Any, settings: FinetuneSettings) -> Told:
    """The words that the family wants; where it has tokens of languages, one language on both sides unless two are
    given."""
    prefix, reason = settings.source_prefix, "as set"
    if prefix == AUTO:
        prefix = prefixes_of(model.config).get(TASK, "")
        reason = "the model's config has it" if prefix else "the model's config has none"
    words = Told(prefix=prefix, prefix_of=(TASK,), reason=reason)
    source, target = settings.source_lang, settings.target_lang
    if not has_codes(model, tokenizer):
        _refuse_languages(source or target)
        return words
    target = target or source or getattr(tokenizer, "tgt_lang", None) or tokenizer.src_lang
    languages = languages_of(tokenizer, model.config, model.generation_config)
    way = languages.direction(source or None, target, "")
    return replace(words, source_lang=way.source or "", target_lang=way.target or "", forced=way.forced)


def _refuse_languages(code: str) -> None:
    if code:
        raise Refused(
            f"The language {code!r} is given, and this model has no tokens of languages to be told it by.",
            hint="Leave source_lang and target_lang out.",
            code="unknown-language",
        )
