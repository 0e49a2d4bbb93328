"""A question and its context as windows, the way models for SQuAD are trained and served.

[CLS] question [SEP] t0 t1 t2 t3 t4 [SEP]
[CLS] question [SEP] t3 t4 t5 t6 t7 [SEP]          each shares tokens with the one before it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from bedplate_serving.predictors.encoders.encoder import Window
from bedplate_serving.predictors.encoders.windows import Frame, Span, ranges

__all__ = ["QUESTION_TOKENS", "QuestionCut", "QuestionCutter"]

Rows = np.ndarray[Any, Any]

QUESTION_TOKENS = 64  # that are read of a question, where nothing else is said


@dataclass(frozen=True, slots=True)
class QuestionCut:
    """What has to be known of the windows of one question to find its answer in their logits."""

    context: str
    asked: int  # tokens of the question
    is_cut: bool  # whether the question had more
    parts: Sequence[Span]  # the tokens of the context in each window
    offsets: Rows  # [tokens of the context, 2], where in the context each begins and ends


class QuestionCutter:
    """Cuts contexts. `frame` is of a pair of texts."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def cut(
        self, question: Any, context: Any, text: str, *, limit: int, stride: int, asked: int, align: bool
    ) -> QuestionCut:
        """`question` and `context` are encodings (of the library tokenizers) without special tokens, the latter of
        `text`. Windows have at most `limit` tokens and share `stride`; of the question at most `asked` are read. Either
        is at most half of what a window holds. With `align` every token has the ends of its whole word.

        Raises ItemError where there would be too many windows.
        """
        size = limit - self._frame.size
        count = min(len(question.ids), asked, size // 2)
        room = size - count
        parts = ranges(len(context.ids), room, min(stride, room // 2))
        offsets = list(_word_offsets(context)) if align else context.offsets
        pairs = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
        return QuestionCut(text, count, count < len(question.ids), parts, pairs)

    def windows(self, question: Any, context: Any, cut: QuestionCut) -> Iterator[Window]:
        """Of each window are taken: the token that says "no answer", where there is one, then those of the context."""
        asked = question.ids[: cut.asked]
        for part in cut.parts:
            none, first = self.none_place(cut, part), self.first_place(cut)
            take = [*([] if none is None else [none]), *range(first, first + part.end - part.start)]
            yield self._frame.window(asked, context.ids[part.start : part.end], take=take)

    def first_place(self, cut: QuestionCut) -> int:
        """Where in a window the context begins."""
        return self._frame.lead + cut.asked

    def none_place(self, cut: QuestionCut, part: Span) -> int | None:
        """Where in a window the token is that says "no answer": the first one or the last one, if that is special."""
        if self._frame.opens:
            return 0
        return self._frame.size + cut.asked + part.end - part.start - 1 if self._frame.closes else None


def _word_offsets(encoding: Any) -> Iterator[tuple[int, int]]:
    """For each token where its word starts and ends. (A token of no word is one by itself.)"""
    offsets = encoding.offsets
    for word, group in groupby(enumerate(encoding.word_ids), key=lambda one: one[1]):
        places = [place for place, _ in group]
        whole = (offsets[places[0]][0], offsets[places[-1]][1])
        yield from (offsets[place] if word is None else whole for place in places)
