"""Questions as the windows that a model trains on and is judged by, cut as the predictor that serves it cuts them.

The target of a window is where the answer's first and last tokens are. A window that does not hold the whole answer
points to the token that says "no answer". Of several right answers the first one is learned: the others are mostly the
same in other words, and a question must not count more because more people answered it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.encoders.question_windows import QUESTION_TOKENS, QuestionCut, QuestionCutter
from bedplate_serving.predictors.encoders.windows import MIN_ROOM, Frame, Span

from .encoding import CHUNK_ROWS, Batch, EncodedRows, Keep, Tokens, Vector, library_tokenizer, made_anew
from .objectives import SpanLoss
from .questions import QuestionRow, QuestionRows, RightAnswer

__all__ = ["EncodedQuestions", "QuestionEncoder", "WindowRows"]

NO_TARGET = SpanLoss.IGNORED


class WindowRows(EncodedRows):
    """Windows, with targets that follow where padding stands in front."""

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        batch = super().__getitems__(rows)
        if not self.pads_left:
            return batch
        padding = batch["input_ids"].shape[1] - batch["attention_mask"].sum(dim=1)
        for name in ("start_positions", "end_positions"):
            batch[name] = batch[name] + padding * (batch[name] != NO_TARGET)
        return batch


@dataclass(frozen=True)
class EncodedQuestions:
    """Windows, those of a question after each other: those of question n from firsts[n] to firsts[n + 1]."""

    windows: WindowRows
    cuts: Sequence[QuestionCut]
    firsts: Vector
    cutter: QuestionCutter

    @property
    def lengths(self) -> Vector:
        """Tokens of all windows of each question."""
        sums = np.concatenate([[0], np.cumsum(self.windows.lengths)])
        return np.asarray(sums[self.firsts[1:]] - sums[self.firsts[:-1]])

    def windows_of(self, question: int) -> range:
        return range(self.firsts[question], self.firsts[question + 1])

    def taken(self, question: int, logits: Sequence[Vector]) -> list[Vector]:
        """Of the logits of each window, [its tokens, 2], what a search for the answer takes."""
        cut, found = self.cuts[question], []
        for part, window in zip(cut.parts, logits, strict=True):
            none, first = self.cutter.none_place(cut, part), self.cutter.first_place(cut)
            places = [*([] if none is None else [none]), *range(first, first + part.end - part.start)]
            found.append(window[places])
        return found


@dataclass
class _Target:
    """Of one question: its answer's tokens in the context, None where it has none."""

    tokens: Span | None

    def places(self, cutter: QuestionCutter, cut: QuestionCut, part: Span) -> tuple[int, int]:
        """Where in a window the answer is, from its first token to its last one."""
        if self.tokens is not None and part.start <= self.tokens.start and self.tokens.end <= part.end:
            shift = cutter.first_place(cut) - part.start
            return self.tokens.start + shift, self.tokens.end - 1 + shift
        none = cutter.none_place(cut, part)
        return (NO_TARGET, NO_TARGET) if none is None else (none, none)

    def fits(self, cut: QuestionCut) -> bool:
        """Whether some window holds all of it."""
        own = self.tokens
        return own is None or any(part.start <= own.start and own.end <= part.end for part in cut.parts)


class QuestionEncoder:
    """Makes windows of at most `limit` tokens, of which each shares `stride` with the one before it."""

    def __init__(self, tokenizer: Any, limit: int, stride: int, multiple: int = 1, keep: Keep = made_anew) -> None:
        """`tokenizer` is of transformers, and not changed. Raises Refused: no-fast-tokenizer, bad-setting."""
        self._backend = library_tokenizer(tokenizer)
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        frame = Frame(self._backend, 2, wants_type_ids=self._has_type_ids)
        if limit - frame.size < MIN_ROOM:
            raise Refused(
                f"max_seq_length is {limit}, of which {frame.size} are special tokens.",
                hint=f"Set it to {frame.size + MIN_ROOM} or more.",
                code="bad-setting",
            )
        self._limit, self._stride, self._keep = limit, stride, keep
        self._cutter = QuestionCutter(frame)
        self._can_say_none = frame.opens or frame.closes
        self._pads = {"input_ids": tokenizer.pad_token_id or 0}
        if self._has_type_ids:
            self._pads["token_type_ids"] = tokenizer.pad_token_type_id
        self._multiple, self._pads_left = multiple, tokenizer.padding_side == "left"

    def to_learn(self, rows: QuestionRows, reporter: Reporter) -> WindowRows:
        """All windows that have a target; the reporter is told what is cut and what has to be left out."""
        if rows.without_answer and not self._can_say_none:
            raise Refused(
                f"{rows.without_answer} questions have no answer, and this model has no token that says so.",
                hint="Take them out, or choose a model whose tokenizer puts a special token first or last.",
                code="bad-rows",
            )
        about = ("questions", self._limit, self._stride)
        return self._windows(self._keep(rows.rows, about, partial(self._tokens_to_learn, rows, reporter)))

    def to_judge(self, rows: QuestionRows, reporter: Reporter) -> EncodedQuestions:
        """All windows of all questions."""
        tokens, cuts, firsts = self._encode(rows, reporter, learns=False)
        return EncodedQuestions(self._windows(tokens), cuts, firsts, self._cutter)

    def _windows(self, tokens: Tokens) -> WindowRows:
        columns = dict(tokens)
        (numbers,), (starts, ends) = columns.pop("numbers"), columns.pop("targets")
        named = {"start_positions": starts, "end_positions": ends}
        sides = {"pads_left": self._pads_left, "numbers": numbers.tolist()}
        return WindowRows(columns, named, self._pads, self._multiple, **sides)

    def _tokens_to_learn(self, rows: QuestionRows, reporter: Reporter) -> Tokens:
        return self._encode(rows, reporter, learns=True)[0]

    def _encode(
        self, rows: QuestionRows, reporter: Reporter, *, learns: bool
    ) -> tuple[Tokens, list[QuestionCut], Vector]:
        """The windows, how each question was cut (where they do not learn), and EncodedQuestions.firsts."""
        columns: dict[str, list[Vector]] = {name: [] for name in self._pads}
        targets, cuts, counts, numbers = list[tuple[int, int]](), list[QuestionCut](), [0], list[int]()
        shortened = left_out = 0
        for at in range(0, len(rows), CHUNK_ROWS):
            chunk = rows.rows[at : at + CHUNK_ROWS]
            questions = self._tokenize([row.question for row in chunk])
            contexts = self._tokenize([row.context for row in chunk])
            for row, question, context in zip(chunk, questions, contexts, strict=True):
                cut, target = self._cut(row, question, context), _target(row, context)
                shortened += cut.is_cut
                if learns and not target.fits(cut):
                    left_out += 1
                    continue
                places = [target.places(self._cutter, cut, part) for part in cut.parts]
                for window, pair in zip(self._cutter.windows(question, context, cut), places, strict=True):
                    if not learns or pair[0] != NO_TARGET:
                        self._add(columns, window)
                        targets.append(pair)
                        numbers.append(row.row)
                if not learns:
                    cuts.append(cut)
                counts.append(len(targets))
            reporter.progress("tokenize", at + len(chunk), len(rows), "rows")
        if learns:
            _tell(reporter, shortened, left_out, len(rows))
        if not targets:
            raise Refused("No answer fits into a window.", hint="Raise max_seq_length, or doc_stride.", code="no-rows")
        starts, ends = np.asarray(targets, dtype=np.int64).T.copy()
        tokens: Tokens = {**columns, "targets": [starts, ends], "numbers": [np.asarray(numbers)]}
        return tokens, cuts, np.asarray(counts)

    def _tokenize(self, texts: Sequence[str]) -> list[Any]:
        return list(self._backend.encode_batch(list(texts), add_special_tokens=False))

    def _cut(self, row: QuestionRow, question: Any, context: Any) -> QuestionCut:
        limits = {"limit": self._limit, "stride": self._stride, "asked": QUESTION_TOKENS}
        try:
            return self._cutter.cut(question, context, row.context, **limits, align=True)
        except ItemError as error:
            raise Refused(
                f"Row {row.row} {error.message}.",
                hint="Divide such contexts, or raise max_seq_length.",
                code="bad-rows",
            ) from error

    def _add(self, columns: dict[str, list[Vector]], window: Any) -> None:
        columns["input_ids"].append(np.asarray(window.ids, dtype=np.int32))
        if window.type_ids is not None:
            columns["token_type_ids"].append(np.asarray(window.type_ids, dtype=np.int32))


def _target(row: QuestionRow, context: Any) -> _Target:
    return _Target(_tokens_of(row, row.answers[0], context) if row.answers else None)


def _tokens_of(row: QuestionRow, answer: RightAnswer, context: Any) -> Span:
    """The tokens that have some of the answer in them."""
    offsets = np.asarray(context.offsets, dtype=np.int64).reshape(-1, 2)
    own = np.flatnonzero((offsets[:, 0] < answer.end) & (offsets[:, 1] > answer.start))
    if not len(own):
        raise Refused(
            f"Row {row.row} has the answer {answer.text!r:.40}, in which the model's tokenizer sees nothing.",
            hint="Correct such rows, or take them out.",
            code="bad-rows",
        )
    return Span(int(own[0]), int(own[-1]) + 1)


def _tell(reporter: Reporter, shortened: int, left_out: int, count: int) -> None:
    if shortened:
        reporter.message(
            f"Of {shortened} of {count} questions only the beginning is read: {QUESTION_TOKENS} tokens, or half of a"
            " window. So it is where the model is served, unless a request says otherwise."
        )
    if left_out:
        reporter.message(
            f"{left_out} of {count} questions are left out of training: their answers are in no window as a whole."
            " Raise doc_stride or max_seq_length to have them in."
        )
