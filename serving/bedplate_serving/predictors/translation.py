"""Translation: a text in one language in, the same in another out, on any encoder-decoder (languages.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.seq2seq.languages import OneDirection, direction_of, languages_of
from bedplate_serving.predictors.seq2seq.predictor import CutShort, Seq2SeqItem, Seq2SeqPredictor, text_of
from bedplate_serving.predictors.seq2seq.settings import Seq2SeqParameters

__all__ = ["TranslationParameters", "Translator", "load"]

LANGUAGE_KEYS = (("src_lang", "source_lang"), ("tgt_lang", "target_lang"))


class TranslationParameters(Seq2SeqParameters):
    src_lang: Annotated[
        str | None, Field(description="The language of the text, in the model's own codes. Also: source_lang.")
    ] = None
    tgt_lang: Annotated[
        str | None, Field(description="The language to translate into, in the model's own codes. Also: target_lang.")
    ] = None


class Text(TypedDict):
    """A text by the name of its column; languages of its own go before those of the parameters."""

    source: str
    src_lang: NotRequired[str | None]
    tgt_lang: NotRequired[str | None]


class Translation(TypedDict):
    translation_text: str
    finish_reason: NotRequired[CutShort]


def load(folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None) -> Translator:
    """`derived` is for encoders: nothing is kept there."""
    return Translator(folder, device, threads)


class Translator(Seq2SeqPredictor):
    """The predictor of the task translation; see base.Predictor for what each method promises."""

    task = "translation"
    parameters_type = TranslationParameters
    input_type = str | Text
    answer_type = Translation
    answer_key, column = "translation_text", "translation"

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None) -> None:
        super().__init__(folder, device, threads)
        engine = self._engine
        self._languages = languages_of(engine.tokenizer, engine.config, engine.generation_config)

    def parameters(self, raw: Mapping[str, Any]) -> Any:
        wanted: TranslationParameters = super().parameters(_named_alike(raw))
        if wanted.tgt_lang:
            self._languages.direction(wanted.src_lang, wanted.tgt_lang, "")
        return wanted

    def azure_parameters(self, raw: Mapping[str, Any]) -> Any:
        """`task_type` holds the languages. A model of one unnamed direction was deployed for it: nothing to choose."""
        task_type = raw.get("task_type")
        others = {name: value for name, value in raw.items() if name != "task_type"}
        if task_type in (None, "translation"):
            return self.parameters(others)
        pair = direction_of(task_type) if isinstance(task_type, str) else None
        if pair is None:
            raise Refused(
                f"task_type is {str(task_type)[:80]!r}; it must be of the form translation_en_to_ro, or "
                "translation_en_XX_to_ro_RO.",
                code="bad-parameter",
            )
        if isinstance(self._languages, OneDirection) and not self._languages.has_names:
            return self.parameters(others)
        return self.parameters({"src_lang": pair[0], "tgt_lang": pair[1], **others})

    def parse(self, item: Any, parameters: Any = None) -> Seq2SeqItem:
        if isinstance(item, Seq2SeqItem):
            return item
        wanted: TranslationParameters = parameters or DEFAULT
        text = text_of(item, ("source", "text", "input_string"), ignored=("target", "src_lang", "tgt_lang"))
        source, target = _languages_of_item(item, wanted)
        try:
            way = self._languages.direction(source, target, text)
        except Refused as error:
            raise ItemError(f"{error.message} {error.hint}".strip()) from error
        return self._item(way.prefix + text, wanted, way.source, **dict(way.forced))

    def sample(self) -> Any:
        """With languages of its own where the model must be told."""
        text = "My card is lost, please help."
        pair = self._languages.example()
        return text if pair is None else {"source": text, "src_lang": pair[0], "tgt_lang": pair[1]}


DEFAULT = TranslationParameters()


def _languages_of_item(item: Any, wanted: TranslationParameters) -> tuple[str | None, str | None]:
    """A row's own go before those of the parameters; an empty cell of a file is none."""
    own = item if isinstance(item, dict) else {}
    given = own.get("src_lang"), own.get("tgt_lang")
    shared = wanted.src_lang, wanted.tgt_lang
    found = tuple(other if one in (None, "") else one for one, other in zip(given, shared, strict=True))
    if not all(code is None or isinstance(code, str) for code in found):
        raise ItemError("src_lang and tgt_lang must be strings")
    return found[0], found[1]


def _named_alike(raw: Mapping[str, Any]) -> dict[str, Any]:
    """source_lang and target_lang by the names that the Hub's task page has for them."""
    found = dict(raw)
    for name, alias in LANGUAGE_KEYS:
        given = found.pop(alias, None)
        if given is not None and found.setdefault(name, given) not in (None, given):
            raise Refused(f"{name} and {alias} differ: {found[name]!r}, {given!r}.", code="bad-parameter")
        if given is not None:
            found[name] = given
    return found
