"""Tagged words as the windows that a model trains on: each word is labeled once, in the window where it has most around
it, at its first token. All other tokens are only there to be read.

They are cut as those of the predictor that serves the model (predictors/encoders/windows.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.encoders.windows import Frame, ranges, shares
from bedplate_serving.predictors.encoders.words import WordTokenizer, WordTokens

from .encoding import CHUNK_ROWS, EncodedRows, Keep, Tokens, Vector, library_tokenizer, made_anew
from .labels import LabelSet
from .objectives import ClassLoss
from .tagged import TaggedRow, TaggedRows

__all__ = ["WindowEncoder"]

MIN_ROOM = 4  # tokens of a text in a window


class WindowEncoder:
    """Makes windows of at most `limit` tokens, of which each shares `stride` with the one before it."""

    def __init__(
        self,
        tokenizer: Any,
        labels: LabelSet,
        limit: int,
        stride: int,
        multiple: int = 1,
        keep: Keep = made_anew,
    ) -> None:
        """`tokenizer` is of transformers, and not changed. Raises Refused: no-fast-tokenizer, bad-setting."""
        backend = library_tokenizer(tokenizer)
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._words, self._frame = WordTokenizer(backend), Frame(backend, wants_type_ids=self._has_type_ids)
        self._room, self._stride = limit - self._frame.size, stride
        if self._room < MIN_ROOM or stride > self._room // 2:
            raise _bad_window(limit, stride, self._frame.size)
        self._index = labels.index
        self._pads = {"input_ids": tokenizer.pad_token_id or 0, "labels": ClassLoss.IGNORED}
        if self._has_type_ids:
            self._pads["token_type_ids"] = tokenizer.pad_token_type_id
        self._multiple, self._pads_left = multiple, tokenizer.padding_side == "left"
        self._keep, self._about = keep, ("words", limit, stride, labels.names)

    def __call__(self, rows: TaggedRows, reporter: Reporter) -> EncodedRows:
        """The windows of all rows, in their order. The labels that are not ignored are those of the words in theirs."""
        tokens = dict(self._keep(rows.rows, self._about, partial(self._tokens, rows, reporter)))
        (numbers,) = tokens.pop("numbers")
        return EncodedRows(tokens, {}, self._pads, self._multiple, pads_left=self._pads_left, numbers=numbers.tolist())

    def _tokens(self, rows: TaggedRows, reporter: Reporter) -> Tokens:
        columns: dict[str, list[Vector]] = {name: [] for name in self._pads}
        numbers: list[int] = []
        for at in range(0, len(rows), CHUNK_ROWS):
            chunk = rows.rows[at : at + CHUNK_ROWS]
            for row, tokens in zip(chunk, self._words([row.tokens for row in chunk]), strict=True):
                self._add(columns, row, tokens)
                numbers += [row.row] * (len(columns["labels"]) - len(numbers))
            reporter.progress("tokenize", at + len(chunk), len(rows), "rows")
        return columns | {"numbers": [np.asarray(numbers)]}

    def _add(self, columns: dict[str, list[Vector]], row: TaggedRow, tokens: WordTokens) -> None:
        targets = np.full(len(tokens.ids), ClassLoss.IGNORED, dtype=np.int32)
        targets[tokens.first_places] = [self._index[tag] for tag in row.tags]
        try:
            spans = ranges(len(tokens.ids), self._room, self._stride)
        except ItemError as error:
            raise Refused(
                f"Row {row.row} {error.message}.",
                hint="Divide such rows, or raise max_seq_length.",
                code="bad-rows",
            ) from error
        for span, own in zip(spans, shares(spans), strict=True):
            labels = targets[own.start : own.end]
            if (labels == ClassLoss.IGNORED).all():  # the middle of a very long word
                continue
            window = self._frame.window(tokens.ids[span.start : span.end])
            labeled = np.full(window.length, ClassLoss.IGNORED, dtype=np.int32)
            first = self._frame.lead + own.start - span.start
            labeled[first : first + len(labels)] = labels
            columns["labels"].append(labeled)
            columns["input_ids"].append(np.asarray(window.ids, dtype=np.int32))
            if window.type_ids is not None:
                columns["token_type_ids"].append(np.asarray(window.type_ids, dtype=np.int32))


def _bad_window(limit: int, stride: int, special: int) -> Refused:
    room = max(limit - special, 0)
    return Refused(
        f"max_seq_length is {limit}, which leaves {room} tokens beside the special ones, and doc_stride is {stride}.",
        hint=f"Windows need at least {MIN_ROOM} tokens of the text, and share at most half of them.",
        code="bad-setting",
    )
