"""Token classification: the entities in a text, or a tag for each given word, on any AutoModelForTokenClassification.

A text is answered with its entities, as transformers' own pipeline finds them. Words (`{"tokens": […]}`) are answered
with a tag for each of them beside the entities, and are never divided: their offsets count in the words joined by one
space each. Long texts are read in windows; every token is tagged once, where it has most text around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, cast

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on

from bedplate_serving.predictors.base import ItemError, predict_sorted
from bedplate_serving.predictors.class_scores import scores_of
from bedplate_serving.predictors.encoders.encoder import EncoderPredictor, Head
from bedplate_serving.predictors.encoders.windows import (
    Span,
    WindowedEncoder,
    Windows,
    check_long_text,
    ranges,
    shares,
    snip,
)
from bedplate_serving.predictors.encoders.words import WordTokenizer, WordTokens
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.text import keys_of, kind_of, shown_key

__all__ = ["Entity", "TaggedWords", "TokenClassifier", "TokenParameters", "load"]

Strategy = Literal["none", "simple", "first", "average", "max"]
Rows = np.ndarray[Any, Any]

HEAD = Head("AutoModelForTokenClassification", "tokens", lambda output: output.logits, task="token-classification")
LABEL_KEYS = ("tags",)


class TokenParameters(Parameters):
    aggregation_strategy: Annotated[
        Strategy,
        Field(
            description="How tokens become entities. none: each token by itself; simple: neighbors of one label "
            "together; first, average, max: as simple, of whole words, each tagged by its first token, by the mean of "
            "its tokens, or by the surest of them. Words given as `tokens` are never divided: there simple is first."
        ),
    ] = "simple"
    ignore_labels: Annotated[
        list[str], Field(max_length=1000, fail_fast=True, description="Labels that are left out of the entities.")
    ] = Field(default=["O"])
    stride: Annotated[
        int | None,
        Field(
            ge=0,
            description="Tokens that two windows of a long text share: at most half of a window, by default a quarter.",
        ),
    ] = None


class AzureParameters(TokenParameters):
    """Azure's callers get a tag for each word, so their texts are split into words at blanks."""


class WordList(TypedDict):
    """A text that is split into words already."""

    tokens: list[str]


class Entity(TypedDict):
    """`start` and `end` in Unicode code points; `entity` and `index` where nothing was grouped, else `entity_group`."""

    entity_group: NotRequired[str]
    entity: NotRequired[str]
    index: NotRequired[int]
    score: float
    word: str
    start: int
    end: int
    first_word: NotRequired[int]  # of given words, counted from 0
    last_word: NotRequired[int]


class TaggedWords(TypedDict):
    """The answer to given words."""

    tags: list[str]
    scores: list[float]
    entities: list[Entity]


Answer = list[Entity] | TaggedWords


class TokenItem(NamedTuple):
    text: str  # of words: joined by one space each
    words: Sequence[str] | None
    parameters: TokenParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWindows(Windows):
    item: TokenItem
    encoding: Any  # of the whole text; of words, WordTokens


class Unit(NamedTuple):
    """What gets one label: a token, or a word."""

    label: str
    score: float
    span: Span
    place: int  # of the token in its text, special tokens counted; of the word among the words


def load(
    folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None
) -> TokenClassifier:
    return TokenClassifier(folder, device, threads, derived)


class TokenClassifier(EncoderPredictor):
    """The predictor of the task token-classification; see base.Predictor for what each method promises."""

    task = "token-classification"
    parameters_type = TokenParameters
    input_type = str | WordList
    answer_type = Answer

    def __init__(
        self, folder: Path, device: str = "auto", threads: int | None = None, derived: Path | None = None
    ) -> None:
        self._windowed = WindowedEncoder(folder, HEAD, device, threads, derived)
        encoder = self._windowed.encoder
        self._stand_on(encoder)
        self.labels = encoder.labels
        self._room = encoder.context_length - self._windowed.frame.size
        self._prefix = getattr(self._windowed.tokenizer.model, "continuing_subword_prefix", None)
        self._tokenize_words = WordTokenizer(self._windowed.tokenizer)

    def parameters(self, raw: Mapping[str, Any]) -> TokenParameters:
        return read_parameters(TokenParameters, raw, self.task)

    def parse(self, item: Any, parameters: TokenParameters | None = None) -> TokenItem:
        if isinstance(item, TokenItem):
            return item
        wanted = parameters or DEFAULT
        content = _content(item)
        if isinstance(content, list):
            return _words_item(content, wanted)
        text = check_long_text(content, "text")
        return (
            _words_item(text.split(), wanted) if isinstance(wanted, AzureParameters) else TokenItem(text, None, wanted)
        )

    def encode(self, items: Sequence[TokenItem]) -> list[TokenWindows]:
        texts = iter(self._windowed.tokenize([item.text for item in items if item.words is None]))
        lists = iter(self._tokenize_words([item.words for item in items if item.words is not None]))
        return [self._windows(item, next(texts) if item.words is None else next(lists)) for item in items]

    def _windows(self, item: TokenItem, encoding: Any) -> TokenWindows:
        ids, frame = encoding.ids, self._windowed.frame
        given = item.parameters.stride
        stride = self.context_length // 4 if given is None else min(given, self._room // 2)
        parts = ranges(len(ids), self._room, stride)
        windows = [
            frame.window(ids[part.start : part.end], take=_places(own, frame.lead - part.start))
            for part, own in zip(parts, shares(parts), strict=True)
        ]
        return TokenWindows(
            length=sum(window.length for window in windows), windows=windows, item=item, encoding=encoding
        )

    def forward(self, batch: Sequence[TokenWindows]) -> list[Answer]:
        """Whole answers: reading them out of the logits is work, too."""
        return [self._read(one, rows) for one, rows in zip(batch, self._windowed.run(batch), strict=True)]

    def _read(self, encoded: TokenWindows, rows: Sequence[Rows]) -> Answer:
        item, scores = encoded.item, scores_of(np.concatenate(rows), "softmax")
        if item.words is None:
            return self._entities(item, self._units(item, encoding=encoded.encoding, scores=scores))
        units = self._tagged_words(item, encoded.encoding, scores)
        tags, values = [unit.label for unit in units], [unit.score for unit in units]
        return {"tags": tags, "scores": values, "entities": self._entities(item, units)}

    def _units(self, item: TokenItem, encoding: Any, scores: Rows) -> list[Unit]:
        """The tokens of a text, or its words where the strategy goes by words."""
        strategy, offsets, lead = item.parameters.aggregation_strategy, encoding.offsets, self._windowed.frame.lead
        if strategy in ("none", "simple"):
            groups: Iterable[Span] = (Span(place, place + 1) for place in range(len(offsets)))
            strategy = "first"
        else:
            groups = _words_of(item.text, encoding, self._prefix)
        return [
            Unit(
                *self._label(scores[group.start : group.end], strategy),
                Span(offsets[group.start][0], offsets[group.end - 1][1]),
                group.start + lead,
            )
            for group in groups
        ]

    def _tagged_words(self, item: TokenItem, tokens: WordTokens, scores: Rows) -> list[Unit]:
        """One for each given word."""
        words, firsts = cast(Sequence[str], item.words), tokens.first_places
        units, start = [], 0
        for index, (word, first, end) in enumerate(zip(words, firsts, [*firsts[1:], len(scores)], strict=True)):
            label = self._label(scores[first:end], item.parameters.aggregation_strategy)
            units.append(Unit(*label, Span(start, start + len(word)), index))
            start += len(word) + 1
        return units

    def _label(self, scores: Rows, strategy: Strategy) -> tuple[str, float]:
        """The label of the tokens of a word, and how sure it is."""
        if strategy == "average":
            row = scores.mean(axis=0)
        else:
            row = scores[scores.max(axis=1).argmax()] if strategy == "max" else scores[0]
        best = int(row.argmax())
        return self.labels[best], float(row[best])

    def _entities(self, item: TokenItem, units: Sequence[Unit]) -> list[Entity]:
        ignored = item.parameters.ignore_labels
        if item.parameters.aggregation_strategy == "none":
            found = [_single(item, unit) for unit in units if unit.label not in ignored]
        else:
            found = [_grouped(item, group) for group in _groups(units) if _kind(group) not in ignored]
        return [entity for entity in found if entity["word"]]  # a blank may be a token of its own

    def answer(self, raw: Answer, parameters: TokenParameters | None = None) -> Answer:
        return raw

    def tag_words(self, rows: Sequence[Sequence[str]]) -> list[TaggedWords]:
        """A tag for each word of each row (of at least one), whatever it holds. Raises ItemError: too many windows."""
        items = [TokenItem(" ".join(words), words, DEFAULT) for words in rows]
        return [cast(TaggedWords, answer) for answer in predict_sorted(self, items)]

    def azure_parameters(self, raw: Mapping[str, Any]) -> TokenParameters:
        return read_parameters(AzureParameters, raw, self.task)

    def azure_answer(self, answers: Sequence[Answer], parameters: TokenParameters) -> list[list[str]]:
        """`[["O", "B-PER"]]`: a list of tags for each text, one for each word of it. (Azure prints the inner list
        into a string; here it is JSON.)
        """
        return [cast(TaggedWords, answer)["tags"] for answer in answers]

    def sample(self) -> str:
        return "My name is Sarah and I live in London."

    def output_columns(self, parameters: TokenParameters) -> tuple[str, ...]:
        return ("tags", "entities")

    def output_row(self, answer: Answer, parameters: TokenParameters) -> dict[str, Any]:
        if isinstance(answer, list):
            return {"tags": None, "entities": answer}
        return {"tags": answer["tags"], "entities": answer["entities"]}


DEFAULT = TokenParameters()


def _content(item: Any) -> str | list[Any]:
    """The text, or the list of words, of what a caller or a mapped row holds."""
    if isinstance(item, dict):
        key = next((key for key in ("tokens", "text", "input_string") if key in item), None)
        if key is None:
            raise ItemError(f'has no "tokens"; it holds {keys_of(item)}')
        if unknown := sorted(set(map(str, item)) - {key, *LABEL_KEYS}):
            raise ItemError(f"has the unknown key {shown_key(unknown[0])} beside {key!r}")
        item = item[key]
        if key == "tokens" and not isinstance(item, list):
            raise ItemError("tokens must be a list of words")
        if key == "tokens":
            return cast(list[Any], item)
    if isinstance(item, list):  # a list around one text: an Azure sample sends it so
        return item[0] if len(item) == 1 and isinstance(item[0], str) and " " in item[0].strip() else item
    if not isinstance(item, str):
        raise ItemError(f'must be a string, or words as {{"tokens": […]}}, not {kind_of(item)}')
    return item


def _words_item(words: list[Any], parameters: TokenParameters) -> TokenItem:
    for index, word in enumerate(words):
        if not isinstance(word, str):
            raise ItemError(f"tokens[{index}] must be a string, not {kind_of(word)}")
    return TokenItem(check_long_text(" ".join(words), "tokens"), words, parameters)


def _words_of(text: str, encoding: Any, prefix: str | None) -> Iterator[Span]:
    """Ranges of tokens that are words: by the tokenizer's mark of what goes on (BERT's ##) where it has one, else
    whatever stands between blanks, which is all there is to go by.
    """
    start, last_end = 0, 0
    for place, (token, (begin, end)) in enumerate(zip(encoding.tokens, encoding.offsets, strict=True)):
        goes_on = token.startswith(prefix) if prefix else begin < last_end or not _is_at_blank(text, begin)
        if place and not goes_on:
            yield Span(start, place)
            start = place
        last_end = end
    if encoding.tokens:
        yield Span(start, len(encoding.tokens))


def _is_at_blank(text: str, place: int) -> bool:
    return any(character.isspace() for character in text[max(place - 1, 0) : place + 1])


def _places(own: Span, shift: int) -> list[int]:
    return list(range(own.start + shift, own.end + shift))


def _tag(label: str) -> tuple[bool, str]:
    """Whether the label begins an entity, and of what kind."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _groups(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Neighbors of one kind, parted where a label says that another entity begins."""
    group: list[Unit] = []
    for unit in units:
        begins, kind = _tag(unit.label)
        if group and (begins or kind != _tag(group[-1].label)[1]):
            yield group
            group = []
        group.append(unit)
    if group:
        yield group


def _kind(group: Sequence[Unit]) -> str:
    return group[0].label.split("-", 1)[-1]


def _single(item: TokenItem, unit: Unit) -> Entity:
    start, end = snip(item.text, *unit.span)
    word = item.text[start:end]
    return {"entity": unit.label, "score": unit.score, "index": unit.place, "word": word, "start": start, "end": end}


def _grouped(item: TokenItem, group: Sequence[Unit]) -> Entity:
    start, end = snip(item.text, group[0].span.start, group[-1].span.end)
    entity: Entity = {
        "entity_group": _kind(group),
        "score": sum(unit.score for unit in group) / len(group),
        "word": item.text[start:end],
        "start": start,
        "end": end,
    }
    if item.words is not None:
        entity |= {"first_word": group[0].place, "last_word": group[-1].place}
    return entity
