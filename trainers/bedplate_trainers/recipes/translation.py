"""Translation: a text is written in another language, on any encoder-decoder or on two encoders joined to one.

Languages are settings, apart from the names of columns. A family is told them in its own way (bedplate_serving's
seq2seq/languages.py), and the trained model keeps them: whoever calls it need not say them again.
"""

from __future__ import annotations

from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_serving.predictors.seq2seq.languages import direction_of, languages_of, prefixes_of
from bedplate_trainers.messages import FinetuneRequest, FinetuneResult
from bedplate_trainers.parsing import AUTO
from bedplate_trainers.recipes.base import Prepared, run_recipe
from bedplate_trainers.recipes.writing import prepare_writer
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.writers import Told, has_codes

__all__ = ["prepare", "run"]

TASK = "translation"


def run(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    return run_recipe(prepare, request, reporter, resume=resume)


def prepare(request: FinetuneRequest, reporter: Reporter) -> Prepared:
    return prepare_writer(request, reporter, told)


def told(model: Any, tokenizer: Any, settings: FinetuneSettings) -> Told:
    """The two languages, by tokens, by a mark or by words, as the family has it."""
    source, target, prefix = settings.source_lang, settings.target_lang, settings.source_prefix
    if has_codes(model, tokenizer) and prefix not in ("", AUTO):
        raise Refused(
            f"source_prefix is {prefix!r}, and this model is told languages by tokens.",
            hint="Leave it out; give source_lang and target_lang.",
            code="bad-setting",
        )
    pair = f"{TASK}_{source}_to_{target}"
    prefix_of = (TASK, pair) if direction_of(pair) else (TASK,)
    if prefix != AUTO and not has_codes(model, tokenizer):
        return Told(prefix=prefix, prefix_of=prefix_of, reason="as set")
    languages = languages_of(tokenizer, model.config, model.generation_config)
    try:
        way = languages.direction(source or None, target or None, "")
    except Refused as error:  # callers of a served model give them by other names
        raise Refused(_as_set(error.message), hint=_as_set(error.hint), code=error.code) from error
    return Told(
        prefix=way.prefix,
        prefix_of=prefix_of,
        source_lang=way.source or "",
        target_lang=way.target or "",
        forced=way.forced,
        reason=_reason(way.prefix, prefixes_of(model.config)),
    )


def _reason(prefix: str, known: dict[str, str]) -> str:
    if prefix:
        return "the model is told the direction so"
    pairs = [" to ".join(pair) for name in known if (pair := direction_of(name))]
    if pairs:
        return f"without source_lang and target_lang there are none; the model knows {', '.join(pairs)}"
    return "the model wants no words before a text"


def _as_set(text: str) -> str:
    return text.replace("src_lang", "source_lang").replace("tgt_lang", "target_lang")
