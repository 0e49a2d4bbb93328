"""Fill-mask: the likeliest words in the place of a mask, on any AutoModelForMaskedLM.

Scores are probabilities over the whole vocabulary, with `targets` too. Only masked tokens pass through the matrix of
the vocabulary. Of a text beyond the model's context the parts around its masks are read, those near to each other in
one part, and `truncated` is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on

from bedplate_registry.errors import Refused
from bedplate_registry.inspection import read_config
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.class_scores import scores_of
from bedplate_serving.predictors.encoders.encoder import EncoderPredictor, Head
from bedplate_serving.predictors.encoders.windows import WindowedEncoder, Windows, check_long_text
from bedplate_serving.predictors.filled_text import FilledText
from bedplate_serving.predictors.mask_parts import MaskedPart, around, neighbors
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.text import check_text, keys_of, kind_of, shown_key

__all__ = ["MaskFiller", "MaskParameters", "load"]

Rows = np.ndarray[Any, Any]

HEAD = Head("AutoModelForMaskedLM", "tokens", lambda output: output.logits, task="fill-mask")
ALIASES = ("[MASK]", "<mask>")  # either means the model's own mask
MAX_MASKS = 64  # in one text: each is a row as long as the vocabulary
MAX_FILLINGS = 2000  # of all masks of a text: each holds the text once more
FILLINGS_A_TOKEN = 16  # that are written in the time a small encoder takes for one token of a text
IGNORED_KEYS = ("answer",)  # of a mapped row


class MaskParameters(Parameters):
    top_k: Annotated[int, Field(ge=1, le=1000, description="How many words for each mask, the likeliest first.")] = 5
    targets: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            max_length=1000,
            fail_fast=True,
            description="The only words that are looked at, each one token of the model, as its vocabulary has it: "
            "models that tell a word by the blank in front of it (RoBERTa) take it with that blank.",
        ),
    ] = None


@dataclass(frozen=True)
class Wanted:
    """The parameters, with the targets as token ids."""

    top_k: int
    target_ids: tuple[int, ...] | None

    @property
    def count(self) -> int:
        """Of fillings for each mask."""
        return self.top_k if self.target_ids is None else min(self.top_k, len(self.target_ids))


class MaskedText(TypedDict):
    text: str


class Filling(TypedDict):
    score: float
    token: int
    token_str: str
    sequence: str  # the text that was read, with this word in the mask's place


Answer = list[Filling] | list[list[Filling]]


class MaskedItem(NamedTuple):
    text: str  # with the model's own mask tokens
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedWindows(Windows):
    wanted: Wanted
    parts: Sequence[MaskedPart]  # one for each window; every mask is in one of them


def load(folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None) -> MaskFiller:
    return MaskFiller(folder, device, threads, derived)


class MaskFiller(EncoderPredictor):
    """The predictor of the task fill-mask; see base.Predictor for what each method promises."""

    task = "fill-mask"
    parameters_type = MaskParameters
    input_type = str | MaskedText
    answer_type = Answer

    def __init__(
        self, folder: Path, device: str = "auto", threads: int | None = None, derived: Path | None = None
    ) -> None:
        self._windowed = WindowedEncoder(folder, HEAD, device, threads, derived)
        encoder = self._windowed.encoder
        self._stand_on(encoder)
        self._room = encoder.context_length - self._windowed.frame.size
        self._tokenizer = self._windowed.tokenizer
        self.mask_token = self._checked_mask(encoder.mask_token, read_config(folder).get("vocab_size"))
        assert encoder.mask_token_id is not None  # else it was refused
        self.mask_token_id = encoder.mask_token_id

    def _checked_mask(self, token: str | None, vocabulary: Any) -> str:
        """Raises Refused: no-mask."""
        number = self._windowed.encoder.mask_token_id
        if token is None or number is None or number not in self._tokenizer.encode(token).ids:
            raise Refused("The model's tokenizer has no mask token, so it cannot be asked to fill one.", code="no-mask")
        if isinstance(vocabulary, int) and number >= vocabulary:
            raise Refused(
                f"The mask token of the model's tokenizer, {token[:40]!r}, is not one of the {vocabulary} that the "
                "model knows.",
                hint="Correct mask_token in tokenizer_config.json.",
                code="no-mask",
            )
        return token

    def parameters(self, raw: Mapping[str, Any]) -> Wanted:
        read = read_parameters(MaskParameters, raw, self.task)
        return Wanted(read.top_k, None if read.targets is None else self._target_ids(read.targets))

    def _target_ids(self, targets: Sequence[str]) -> tuple[int, ...]:
        """Each as it stands in the vocabulary, else as the one token that it is read as."""
        return tuple(sorted({self._target_id(target) for target in targets}))

    def _target_id(self, target: str) -> int:
        known: int | None = self._tokenizer.token_to_id(target)
        if known is not None:
            return known
        encoding = self._tokenizer.encode(check_text(target[:200], "targets"), add_special_tokens=False)
        if len(encoding.ids) != 1:
            pieces = ", ".join(encoding.tokens[:8]) or "nothing"
            detail = f"targets holds {target[:100]!r}, which is not one token of this model: it reads it as {pieces}."
            hint = f"Give {encoding.tokens[0]!r} or another single token." if encoding.tokens else ""
            raise Refused(detail, hint=hint, code="bad-parameter")
        return int(encoding.ids[0])

    def parse(self, item: Any, parameters: Wanted | None = None) -> MaskedItem:
        if isinstance(item, MaskedItem):
            return item
        text = self._with_own_masks(check_long_text(_text(item), "text"))
        count = text.count(self.mask_token)
        if not count:
            raise ItemError(f"has no mask: put {self.mask_token} where the word is missing")
        if count > MAX_MASKS:
            raise ItemError(f"has {count} masks; at most {MAX_MASKS} are filled in one text")
        wanted = parameters or DEFAULT
        if count * wanted.count > MAX_FILLINGS:
            raise ItemError(f"has {count} masks, which with top_k {wanted.top_k} are more than {MAX_FILLINGS} answers")
        return MaskedItem(text, wanted)

    def _with_own_masks(self, text: str) -> str:
        for alias in ALIASES:
            text = text if alias == self.mask_token else text.replace(alias, self.mask_token)
        return text

    def encode(self, items: Sequence[MaskedItem]) -> list[MaskedWindows]:
        """Raises ItemError where the tokenizer sees no mask."""
        encodings = self._windowed.tokenize([item.text for item in items])
        return [self._windows(item, encoding.ids) for item, encoding in zip(items, encodings, strict=True)]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text as the model reads them, without special ones; a mask is a `mask_token_id`."""
        return [list(found.ids) for found in self._windowed.tokenize([self._with_own_masks(text) for text in texts])]

    def probabilities(self, rows: Sequence[Sequence[int]]) -> list[Rows]:
        """Of each row of `tokens`, what the model says of its masks: [masks, vocabulary]. Raises ItemError."""
        found = self._windowed.run([self._windows(MaskedItem("", DEFAULT), ids) for ids in rows])
        return [scores_of(np.concatenate(parts), "softmax") for parts in found]

    def is_cut(self, row: Sequence[int]) -> bool:
        """Whether of a row of `tokens` only what is around its masks is read."""
        return len(row) > self._room

    def word(self, token: int) -> str:
        """One token as a text."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False)).strip()

    def _windows(self, item: MaskedItem, ids: Sequence[int]) -> MaskedWindows:
        frame, found = self._windowed.frame, [place for place, token in enumerate(ids) if token == self.mask_token_id]
        if not found:  # a tokenizer may read a mask within a word as something else
            raise ItemError(f"has no mask that the tokenizer reads as one: put blanks around {self.mask_token}")
        parts = []
        for masks in neighbors(found, self._room):
            span = around(masks, len(ids), self._room)
            parts.append(MaskedPart(ids[span.start : span.end], [mask - span.start for mask in masks]))
        windows = [frame.window(part.ids, take=[mask + frame.lead for mask in part.masks]) for part in parts]
        return MaskedWindows(
            length=sum(window.length for window in windows) + len(found) * item.wanted.count // FILLINGS_A_TOKEN,
            truncated=len(ids) > self._room,
            windows=windows,
            wanted=item.wanted,
            parts=parts,
        )

    def forward(self, batch: Sequence[MaskedWindows]) -> list[Answer]:
        """Whole answers: looking through a vocabulary is work, too."""
        return [self._read(one, rows) for one, rows in zip(batch, self._windowed.run(batch), strict=True)]

    def _read(self, encoded: MaskedWindows, rows: Sequence[Rows]) -> Answer:
        is_single = sum(len(part.masks) for part in encoded.parts) == 1
        fillings = [
            self._fillings(part, mask, _top(scores_of(row, "softmax"), encoded.wanted), is_single)
            for part, masked in zip(encoded.parts, rows, strict=True)
            for mask, row in zip(part.masks, masked, strict=True)
        ]
        return fillings[0] if is_single else fillings

    def _fillings(
        self, part: MaskedPart, mask: int, found: Sequence[tuple[int, float]], is_single: bool
    ) -> list[Filling]:
        """`sequence` is what was read, as the tokenizer writes it; other masks stay."""
        text = FilledText(part.ids, mask, partial(self._tokenizer.decode, skip_special_tokens=is_single))
        return [
            {
                "score": score,
                "token": token,
                "token_str": self._tokenizer.decode([token], skip_special_tokens=False),
                "sequence": text.having(token),
            }
            for token, score in found
        ]

    def answer(self, raw: Answer, parameters: Wanted | None = None) -> Answer:
        return raw

    def azure_answer(self, answers: Sequence[Answer], parameters: Wanted) -> list[str]:
        """`["capital"]`: the likeliest word of each text; those of several masks with commas between them."""
        return [",".join(filling["token_str"].strip() for filling in _likeliest(answer)) for answer in answers]

    def sample(self) -> str:
        return f"Paris is the {self.mask_token} of France."

    def output_columns(self, parameters: Wanted) -> tuple[str, ...]:
        return ("token", "score", "predictions")

    def output_row(self, answer: Answer, parameters: Wanted) -> dict[str, Any]:
        """Of several masks `token` holds the words with commas between them and `score` the product of their scores;
        `predictions` is a list for each mask. (So a column is of one kind, whatever the row.)
        """
        best = _likeliest(answer)
        return {
            "token": ",".join(filling["token_str"].strip() for filling in best),
            "score": math.prod(filling["score"] for filling in best),
            "predictions": answer if isinstance(answer[0], list) else [answer],
        }


DEFAULT = Wanted(MaskParameters().top_k, None)


def _text(item: Any) -> Any:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        raise ItemError(f"must be a string with a mask in it, not {kind_of(item)}")
    if "text" not in item:
        raise ItemError(f'has no "text"; it holds {keys_of(item)}')
    if unknown := sorted(set(map(str, item)) - {"text", *IGNORED_KEYS}):
        raise ItemError(f"has the unknown key {shown_key(unknown[0])}; it takes 'text'")
    return item["text"]


def _top(scores: Rows, wanted: Wanted) -> list[tuple[int, float]]:
    """(token id, probability) of the likeliest, of all or of the targets."""
    ids = np.arange(len(scores)) if wanted.target_ids is None else np.asarray(wanted.target_ids)
    among = scores[ids]
    count = min(wanted.top_k, len(ids))
    best = np.argpartition(-among, count - 1)[:count]
    best = best[np.argsort(-among[best], kind="stable")]
    return [(int(ids[place]), float(among[place])) for place in best]


def _likeliest(answer: Answer) -> list[Filling]:
    """The first filling of each mask."""
    return [one[0] if isinstance(one, list) else one for one in (answer if isinstance(answer[0], list) else answer[:1])]
