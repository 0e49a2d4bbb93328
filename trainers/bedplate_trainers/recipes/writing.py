"""What summarization and translation have in common: a text is read and another one written.

read -> split -> tell the model -> tokenize -> train -> save -> write the test with the predictor that will serve it
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_trainers.messages import DataFile, FinetuneRequest
from bedplate_trainers.objectives import ClassLoss
from bedplate_trainers.parsing import AUTO
from bedplate_trainers.recipes.base import Prepared, make_plan, pad_multiple, resolve_for
from bedplate_trainers.seq2seq import WritingJudge, encode_pairs, target_lengths
from bedplate_trainers.sets import Sets, read_sets
from bedplate_trainers.settings import FinetuneSettings, Resolved
from bedplate_trainers.text_pairs import TextPairs, read_text_pairs
from bedplate_trainers.token_cache import TokenCache
from bedplate_trainers.writers import (
    Told,
    figures_of_writer,
    has_codes,
    keep_told,
    load_writer,
    reader_of,
    set_writing,
    tell,
)

__all__ = ["Teller", "prepare_writer"]

# What a model is to be told, of the model, its tokenizer and the settings. Raises Refused where they do not fit.
Teller = Callable[[Any, Any, FinetuneSettings], Told]


def prepare_writer(request: FinetuneRequest, reporter: Reporter, teller: Teller) -> Prepared:
    """From files to tensors. The same request gives the same result, in every process of a run."""
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    sets = _read_sets(request, settings, reporter)
    reporter.progress("load", 1, 3)
    model, tokenizer, is_joined = load_writer(request.model_dir, settings.seed)
    _check_adapter(settings, is_joined, has_codes(model, tokenizer))
    if is_joined:
        reporter.message(
            f"{model.config.encoder.model_type} is an encoder: it becomes both halves of an encoder-decoder. What"
            " connects them begins with random weights, so this wants more data and steps than a model that writes."
        )
    told = teller(model, tokenizer, settings)
    tell(model, tokenizer, told)
    reporter.progress("load", 2, 3)
    resolved = resolve_for(
        request,
        settings,
        figures_of_writer(model, tokenizer),
        len(sets.train),
        target_tokens=target_lengths(tokenizer, model, sets.train.rows),
    )
    values = set_writing(model, tokenizer, resolved.settings, is_asked=settings.max_target_length != AUTO)
    resolved = _with_told(replace(resolved, settings=values), told)
    reporter.progress("load", 3, 3)
    objective = ClassLoss(resolved.settings.label_smoothing_factor)
    encode = partial(
        encode_pairs,
        tokenizer,
        model,
        read=reader_of(model, tokenizer, request.task),
        settings=resolved.settings,
        reporter=reporter,
        multiple=pad_multiple(request),
        keep=TokenCache(request.work_dir, tokenizer, reporter).keep,
    )
    judge = None
    if held := sets.validation:
        rows = encode(held.rows)
        config = model.generation_config
        judge = WritingJudge(request.task, rows, held.rows, tokenizer, config, objective, resolved.settings)
    train = encode(sets.train.rows)
    plan = make_plan(request, resolved, model, train, judge, objective, [row.row for row in sets.train])
    return Prepared(plan, tokenizer, resolved, sets, settle=partial(keep_told, model))


def _check_adapter(settings: FinetuneSettings, is_joined: bool, speaks_by_tokens: bool) -> None:
    """An adapter has no place for what is new in a model, nor for what a tokenizer is set to."""
    if settings.apply_lora is True and is_joined:
        raise Refused(
            "What connects two encoders is new, and a LoRA would leave it as it began.",
            hint="Set apply_lora=false, or begin with an encoder-decoder.",
            code="bad-setting",
        )
    if settings.apply_lora is True and not settings.merge_lora_weights and speaks_by_tokens:
        raise Refused(
            "The languages are kept by the tokenizer, and an adapter has none of its own.",
            hint="Leave merge_lora_weights=false out.",
            code="bad-setting",
        )


def _read_sets(request: FinetuneRequest, settings: FinetuneSettings, reporter: Reporter) -> Sets[TextPairs]:
    def read(file: DataFile, what: str) -> TextPairs:
        return read_text_pairs(file, request.task, request.columns, what)

    sets = read_sets(request, settings, read, reporter)
    if several := sets.train.with_several:
        reporter.message(
            f"{several} of {len(sets.train)} rows to train on have several right texts. The first of them is learned;"
            " validation and test take all of theirs."
        )
    return sets


def _with_told(resolved: Resolved, told: Told) -> Resolved:
    """With what the model was told, in the words of the settings."""
    values = replace(
        resolved.settings,
        source_prefix=told.prefix,
        source_lang=told.source_lang or resolved.settings.source_lang,
        target_lang=told.target_lang or resolved.settings.target_lang,
    )
    reasons = resolved.reasons | ({"source_prefix": told.reason} if "source_prefix" in resolved.reasons else {})
    return replace(resolved, settings=values, reasons=reasons)
