"""How a model is told which languages to translate between. Every family has its own way:

mBART, M2M100, NLLB   a token of the language on either side      en_XX, en, eng_Latn    CodedLanguages
Marian, many targets  a mark before the text                      >>fra<<                MarkedLanguages
T5                    words before the text                       translate English to…  PrefixedLanguages
all others            trained for one direction                                          OneDirection
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bedplate_registry.errors import Refused, nearest

__all__ = ["Direction", "Languages", "direction_of", "languages_of", "prefixes_of", "summary_prefix"]

DIRECTION = re.compile(r"translation_([A-Za-z]{2,3}(?:_[A-Za-z]{2,4})?)_to_([A-Za-z]{2,3}(?:_[A-Za-z]{2,4})?)")
MARK = re.compile(r">>([^<>\s]+)<<")
ONE_LANGUAGE = re.compile(r"[a-z]{2}")
ANY_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[_-][A-Za-z]{2,4})?")
CODE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")


@dataclass(frozen=True, slots=True)
class Direction:
    """What two languages come to for one text."""

    prefix: str = ""  # stands before the text
    source: str | None = None  # the languages the tokenizer is set to
    target: str | None = None
    forced: tuple[tuple[str, int], ...] = ()  # tokens of the target, by their names in a GenerationConfig


class Languages(Protocol):
    """What a model can be told."""

    def direction(self, source: str | None, target: str | None, text: str) -> Direction:
        """Raises Refused: unknown-language, or no-language where the model needs one."""

    def example(self) -> tuple[str, str] | None:
        """Two languages that it knows, where it must be told."""


def languages_of(tokenizer: Any, config: Any, generation_config: Any) -> Languages:
    """What the files of a model say of its languages."""
    if codes := _coded(tokenizer):
        return CodedLanguages(tokenizer, codes, generation_config)
    own = prefixes_of(config).get("translation", "")  # of a model that was trained for one direction of several
    marks = [mark[1] for token in getattr(tokenizer, "supported_language_codes", ()) if (mark := MARK.fullmatch(token))]
    if marks:
        return MarkedLanguages(marks, getattr(tokenizer, "source_lang", None), own)
    prefixes = {pair: prefix for name, prefix in prefixes_of(config).items() if (pair := direction_of(name))}
    if prefixes:
        return PrefixedLanguages(prefixes, own)
    return OneDirection(getattr(tokenizer, "source_lang", None), getattr(tokenizer, "target_lang", None), own)


def prefixes_of(config: Any) -> dict[str, str]:
    """The words that a T5 wants before a text, by task."""
    tasks = getattr(config, "task_specific_params", None)
    found = {name: task.get("prefix") for name, task in (tasks or {}).items() if isinstance(task, Mapping)}
    return {name: prefix for name, prefix in found.items() if isinstance(prefix, str) and prefix}


def summary_prefix(prefixes: Mapping[str, str], text: str) -> str:
    """What stands before a text that is to be summarized, of the `prefixes_of` a model; a text may bring its own."""
    known = tuple(prefixes.values())
    return "" if known and text.startswith(known) else prefixes.get("summarization", "")


def direction_of(task: str) -> tuple[str, str] | None:
    """The languages in `translation_en_to_ro` or `translation_en_XX_to_ro_RO`."""
    found = DIRECTION.fullmatch(task)
    return (found[1], found[2]) if found else None


class CodedLanguages:
    """A token for each language: what the source begins or ends with, and what the target begins with."""

    def __init__(self, tokenizer: Any, codes: Mapping[str, int], generation_config: Any) -> None:
        # mBART's decoder starts with the language; with the others it comes after the start, as a first token forced.
        starts_with_it = type(tokenizer).__name__.startswith("MBartTokenizer")
        self._slot = "decoder_start_token_id" if starts_with_it else "forced_bos_token_id"
        self._codes = codes
        self._source = str(tokenizer.src_lang)
        own = getattr(generation_config, self._slot, None)
        self._own = next((code for code, token in codes.items() if token == own), None)
        self._target = None if self._own else getattr(tokenizer, "tgt_lang", None)
        self._asks = self._own is None and self._target is None

    def direction(self, source: str | None, target: str | None, text: str) -> Direction:
        spoken = _find("src_lang", source, self._codes) if source else self._source
        wanted = _find("tgt_lang", target, self._codes) if target else self._target
        if wanted is None and self._asks:
            raise _no_language(self._codes)
        forced = () if wanted is None else ((self._slot, self._codes[wanted]),)
        return Direction(source=spoken, target=wanted or self._own, forced=forced)

    def example(self) -> tuple[str, str] | None:
        target = next((code for code in self._codes if code.startswith("fr")), None)
        others = (code for code in self._codes if code != self._source)
        return (self._source, target or next(others, self._source)) if self._asks else None


class MarkedLanguages:
    """A mark before the text, which callers may also write themselves."""

    def __init__(self, codes: Iterable[str], source: str | None = None, own: str = "") -> None:
        self._codes = sorted(codes)
        self._source, self._own = source, own

    def direction(self, source: str | None, target: str | None, text: str) -> Direction:
        if source:
            self._check_source(source)
        if target:
            return Direction(prefix=f">>{_find('tgt_lang', target.strip('<>'), self._codes)}<< ")
        mark = MARK.match(text)
        if mark is None and self._own:
            return Direction(prefix=self._own)
        if mark is None:
            raise _no_language(self._codes)
        _find("The mark of the text", mark[1], self._codes)
        return Direction()

    def _check_source(self, source: str) -> None:
        """Against the model's own where that is one language (`en`) and not a family of them (`ROMANCE`, `gmq`)."""
        if ONE_LANGUAGE.fullmatch(self._source or ""):
            _find("src_lang", re.split("[_-]", source)[0], [str(self._source)])
        elif not ANY_LANGUAGE.fullmatch(source):
            raise Refused(
                f"src_lang is {source[:40]!r}, which is no code of a language.",
                hint="Give one such as en, eng or en_XX.",
                code="unknown-language",
            )

    def example(self) -> tuple[str, str] | None:
        source = self._source if ONE_LANGUAGE.fullmatch(self._source or "") else "en"
        return str(source), next((code for code in self._codes if code.startswith("fr")), self._codes[0])


class PrefixedLanguages:
    """Words before the text: those of the model's config. Without languages they are its own, if it was trained for one
    direction, or none: a model that was trained further may know other words.
    """

    def __init__(self, prefixes: Mapping[tuple[str, str], str], own: str = "") -> None:
        self._prefixes, self._own = prefixes, own

    def direction(self, source: str | None, target: str | None, text: str) -> Direction:
        if source is None and target is None:
            return _with_prefix(self._own, text)
        wanted = _find("tgt_lang", target, {pair[1] for pair in self._prefixes}) if target else None
        found = [pair for pair in self._prefixes if wanted in (None, pair[1])]
        spoken = _find("src_lang", source, {pair[0] for pair in found}) if source else None
        found = [pair for pair in found if spoken in (None, pair[0])]
        if len(found) != 1:
            raise _no_language([f"{one} to {other}" for one, other in self._prefixes])
        return _with_prefix(self._prefixes[found[0]], text)

    def example(self) -> tuple[str, str] | None:
        return next(iter(self._prefixes))


class OneDirection:
    """Nothing to choose. Languages may be given where the model names its own."""

    def __init__(self, source: str | None, target: str | None, own: str = "") -> None:
        self._known, self._own = {"src_lang": source, "tgt_lang": target}, own

    @property
    def has_names(self) -> bool:
        return all(self._known.values())

    def direction(self, source: str | None, target: str | None, text: str) -> Direction:
        for name, given in (("src_lang", source), ("tgt_lang", target)):
            known = self._known[name]
            if given and known:
                _find(name, re.split("[_-]", given)[0], [known])
            elif given:
                raise Refused(
                    f"{name} is {given[:40]!r}, but this model translates in one direction and does not say which.",
                    hint="Leave src_lang and tgt_lang out.",
                    code="unknown-language",
                )
        return _with_prefix(self._own, text)

    def example(self) -> tuple[str, str] | None:
        return None


def _with_prefix(prefix: str, text: str) -> Direction:
    return Direction(prefix="" if text.startswith(prefix) else prefix)


def _coded(tokenizer: Any) -> dict[str, int]:
    """The codes of the languages that the tokenizer has tokens of."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    given = getattr(tokenizer, "lang_code_to_id", None)
    if not given:
        codes = [token for token in tokenizer.all_special_tokens if CODE.fullmatch(token)]
        given = {code: tokenizer.convert_tokens_to_ids(code) for code in codes}
    return {code: number for code, number in given.items() if number not in (None, tokenizer.unk_token_id)}


def _find(name: str, code: str, known: Collection[str]) -> str:
    """The code as the model spells it; a short one (`en`) where only one known code starts so (`en_XX`)."""
    folded = code.casefold().replace("-", "_")
    for fits in (lambda one: one == code, lambda one: one.casefold() == folded):
        if found := next(filter(fits, known), None):
            return found
    starts = [one for one in known if one.casefold().startswith(f"{folded}_")]
    if len(starts) == 1:
        return starts[0]
    said = f"{name} is {code[:40]!r}, a language that this model does not know."
    hint = "" if len(code) < 4 else nearest(code, starts or known)  # two or three letters are near to everything
    raise Refused(
        said, hint=hint if 0 < len(hint) < 200 else f"It knows {_some(starts or known)}.", code="unknown-language"
    )


def _no_language(known: Collection[str]) -> Refused:
    return Refused(
        "This model translates between several languages and was not told which.",
        hint=f"Give src_lang and tgt_lang; it knows {_some(known)}.",
        code="no-language",
    )


def _some(codes: Collection[str]) -> str:
    shown = sorted(codes)
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
