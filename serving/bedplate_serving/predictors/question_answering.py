"""Question answering: the span of a context that answers a question, on any AutoModelForQuestionAnswering.

A long context is read in windows, each behind the question. A span's score is the probability of its first token as a
start times that of its last token as an end, each over all tokens of the whole context and one entry for "no answer"
(the first special token of the window that believes least in it). Over all windows, and not over each by itself:
otherwise a window without the answer, which must put its certainty somewhere, would outbid the one that holds it. So
spans are ranked by the sum of their logits, as SQuAD's own evaluation ranks them; a context of one window is scored as
transformers' former pipeline scored it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.encoders.encoder import EncoderPredictor, Head, Window
from bedplate_serving.predictors.encoders.windows import Span, WindowedEncoder, Windows, check_long_text, ranges, snip
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.text import shown_key

__all__ = ["QuestionAnswerer", "QuestionParameters", "load"]

Rows = np.ndarray[Any, Any]

USUAL_WINDOW = 384  # tokens; what models for SQuAD were trained with
IGNORED_KEYS = ("answers", "id")  # of a mapped row


def _starts_and_ends(output: Any) -> Any:
    import torch

    return torch.stack((output.start_logits, output.end_logits), dim=-1)


HEAD = Head("AutoModelForQuestionAnswering", "tokens", _starts_and_ends, task="question-answering")


class QuestionParameters(Parameters):
    top_k: Annotated[int, Field(ge=1, le=100, description="How many answers; more than one makes it a list.")] = 1
    doc_stride: Annotated[
        int,
        Field(ge=0, description="How many tokens two windows of a long context share, at most half of a window."),
    ] = 128
    max_answer_len: Annotated[int, Field(ge=1, le=512, description="The longest answer, in tokens.")] = 15
    max_seq_len: Annotated[
        int | None,
        Field(ge=8, description="Tokens in a window, the question included; 384, or the model's context if smaller."),
    ] = None
    max_question_len: Annotated[
        int, Field(ge=1, description="Tokens of the question that are read, at most half of a window.")
    ] = 64
    handle_impossible_answer: Annotated[
        bool, Field(description="Whether the answer may be an empty one: the context does not say.")
    ] = False
    align_to_words: Annotated[bool, Field(description="Whether answers begin and end with whole words.")] = True


class Question(TypedDict):
    question: str
    context: str


class FoundAnswer(TypedDict):
    """`start` and `end` in Unicode code points of the context; an empty answer where it does not say."""

    answer: str
    score: float
    start: int
    end: int


Answer = FoundAnswer | list[FoundAnswer]


class QuestionItem(NamedTuple):
    question: str
    context: str
    parameters: QuestionParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionWindows(Windows):
    item: QuestionItem
    encoding: Any  # of the whole context
    parts: Sequence[Span]  # the tokens of the context in each window


def load(
    folder: Path, *, device: str = "auto", threads: int | None = None, derived: Path | None = None
) -> QuestionAnswerer:
    return QuestionAnswerer(folder, device, threads, derived)


class QuestionAnswerer(EncoderPredictor):
    """The predictor of the task question-answering; see base.Predictor for what each method promises."""

    task = "question-answering"
    parameters_type = QuestionParameters
    input_type = Question
    answer_type = Answer

    def __init__(
        self, folder: Path, device: str = "auto", threads: int | None = None, derived: Path | None = None
    ) -> None:
        self._windowed = WindowedEncoder(folder, HEAD, device, threads, derived, texts=2)
        self._stand_on(self._windowed.encoder)

    def parameters(self, raw: Mapping[str, Any]) -> QuestionParameters:
        wanted = read_parameters(QuestionParameters, raw, self.task)
        if (wanted.max_seq_len or 0) > self.context_length:
            detail = f"max_seq_len is {wanted.max_seq_len}; this model reads at most {self.context_length} tokens."
            raise Refused(detail, code="bad-parameter")
        return wanted

    def parse(self, item: Any, parameters: QuestionParameters | None = None) -> QuestionItem:
        if isinstance(item, QuestionItem):
            return item
        if not isinstance(item, dict):
            what = "a list" if isinstance(item, list) else "null" if item is None else type(item).__name__
            raise ItemError(f'must be {{"question": …, "context": …}}, not {what}')
        if unknown := sorted(set(map(str, item)) - {"question", "context", *IGNORED_KEYS}):
            raise ItemError(f"has the unknown key {shown_key(unknown[0])}; it takes 'question' and 'context'")
        for key in ("question", "context"):
            if key not in item:
                raise ItemError(f"has no {key!r}")
        question, context = (check_long_text(item[key], key) for key in ("question", "context"))
        return QuestionItem(question, context, parameters or DEFAULT)

    def encode(self, items: Sequence[QuestionItem]) -> list[QuestionWindows]:
        questions = self._windowed.tokenize([item.question for item in items])
        contexts = self._windowed.tokenize([item.context for item in items])
        return [self._windows(*one) for one in zip(items, questions, contexts, strict=True)]

    def _windows(self, item: QuestionItem, question: Any, context: Any) -> QuestionWindows:
        frame, wanted = self._windowed.frame, item.parameters
        size = (wanted.max_seq_len or min(USUAL_WINDOW, self.context_length)) - frame.size
        asked = question.ids[: min(wanted.max_question_len, size // 2)]
        room = size - len(asked)
        parts = ranges(len(context.ids), room, min(wanted.doc_stride, room // 2))
        windows = [self._window(asked, context.ids[part.start : part.end]) for part in parts]
        return QuestionWindows(
            length=sum(window.length for window in windows),
            truncated=len(asked) < len(question.ids),
            windows=windows,
            item=item,
            encoding=context,
            parts=parts,
        )

    def _window(self, question: Sequence[int], context: Sequence[int]) -> Window:
        """Of each window are read: the token that says "no answer", where there is one, then the context."""
        frame = self._windowed.frame
        start, last = frame.lead + len(question), frame.size + len(question) + len(context) - 1
        none = [0] if frame.opens else [last] if frame.closes else []
        return frame.window(question, context, take=[*none, *range(start, start + len(context))])

    def forward(self, batch: Sequence[QuestionWindows]) -> list[list[FoundAnswer]]:
        """Whole answers, the best first: the search is work, too."""
        return [
            _read(one, [window.astype(np.float64) for window in rows])
            for one, rows in zip(batch, self._windowed.run(batch), strict=True)
        ]

    def answer(self, raw: list[FoundAnswer], parameters: QuestionParameters | None = None) -> Answer:
        return raw[0] if (parameters or DEFAULT).top_k == 1 else raw

    def azure_answer(self, answers: Sequence[Answer], parameters: QuestionParameters) -> list[str]:
        """`["John"]`: the text of the best answer to each question."""
        return [_best(answer)["answer"] for answer in answers]

    def sample(self) -> Question:
        return {"question": "Where do I live?", "context": "My name is Sarah and I live in London."}

    def output_columns(self, parameters: QuestionParameters) -> tuple[str, ...]:
        columns = ("answer", "score", "start", "end")
        return columns if parameters.top_k == 1 else (*columns, "predictions")

    def output_row(self, answer: Answer, parameters: QuestionParameters) -> dict[str, Any]:
        row: dict[str, Any] = {**_best(answer)}
        return row if parameters.top_k == 1 else row | {"predictions": answer}


DEFAULT = QuestionParameters()


def _best(answer: Answer) -> FoundAnswer:
    return answer[0] if isinstance(answer, list) else answer


def _read(encoded: QuestionWindows, rows: Sequence[Rows]) -> list[FoundAnswer]:
    """The best answers in the logits of the windows; at least one, if only "no answer"."""
    wanted = encoded.item.parameters
    logits = [window[len(window) - (part.end - part.start) :] for window, part in zip(rows, encoded.parts, strict=True)]
    none = _no_answer(rows, logits)
    total = _total(logits, encoded.parts, none)
    keep = 20 * wanted.top_k + 100  # of all windows: many spans become one answer when they are aligned to words
    answers = _distinct(encoded, _best_of_all(logits, encoded.parts, wanted.max_answer_len, keep), total)
    if wanted.handle_impossible_answer or not answers:
        answers.append({"answer": "", "score": _probability(none.sum(), total), "start": 0, "end": 0})
        answers.sort(key=lambda answer: -answer["score"])
    return answers[: wanted.top_k]


def _no_answer(rows: Sequence[Rows], logits: Sequence[Rows]) -> Rows:
    """What stands before the context's logits in the window that believes least in it; models without a special token
    never say it.
    """
    said = [window[0] for window, context in zip(rows, logits, strict=True) if len(window) > len(context)]
    return min(said, key=lambda row: float(row.sum())) if said else np.full(2, -np.inf)


def _total(logits: Sequence[Rows], parts: Sequence[Span], none: Rows) -> float:
    """The logarithm of what all starts times all ends weigh. A token in two windows counts once, as its larger."""
    largest = np.full((parts[-1].end + 1, 2), -np.inf)
    largest[-1] = none
    for window, part in zip(logits, parts, strict=True):
        place = slice(part.start, part.end)
        largest[place] = np.maximum(largest[place], window)
    highest = largest.max(axis=0)
    return float((highest + np.log(np.exp(largest - highest).sum(axis=0))).sum())


def _probability(logit: float, total: float) -> float:
    return float(np.exp(logit - total))


def _best_of_all(
    logits: Sequence[Rows], parts: Sequence[Span], longest: int, keep: int
) -> list[tuple[float, int, int]]:
    """(sum of logits, first token, last token) of the `keep` best spans, the best first; a span that two windows hold
    counts once for each.
    """
    best = np.empty((0, 3))
    for window, part in zip(logits, parts, strict=True):
        found = _best_spans(window, longest, keep) + np.array((0, part.start, part.start))
        best = np.concatenate([best, found])
        if len(best) > keep:
            best = best[np.argpartition(-best[:, 0], keep - 1)[:keep]]
    order = np.lexsort((best[:, 2], best[:, 1], -best[:, 0]))
    return [(score, int(first), int(last)) for score, first, last in best[order].tolist()]


def _best_spans(logits: Rows, longest: int, keep: int) -> Rows:
    """[spans, 3]: sum of logits, first and last token, of spans of at most `longest` tokens with the largest sums."""
    longest = min(longest, len(logits))
    if not longest:
        return np.empty((0, 3))
    ends = np.concatenate([logits[:, 1], np.full(longest - 1, -np.inf)])
    sums = (logits[:, 0, None] + np.lib.stride_tricks.sliding_window_view(ends, longest)).ravel()
    best = np.argpartition(-sums, keep)[:keep] if keep < len(sums) else np.arange(len(sums))
    best = best[sums[best] > -np.inf]
    return np.stack([sums[best], best // longest, best // longest + best % longest], axis=1)


def _distinct(encoded: QuestionWindows, spans: Sequence[tuple[float, int, int]], total: float) -> list[FoundAnswer]:
    """The first of the spans, each piece of text once."""
    context, wanted = encoded.item.context, encoded.item.parameters
    offsets = _word_offsets(encoded.encoding) if wanted.align_to_words else encoded.encoding.offsets
    answers: dict[Span, FoundAnswer] = {}
    for logit, first, last in spans:
        span = snip(context, offsets[first][0], offsets[last][1])
        if span not in answers and span.start < span.end:
            text = context[span.start : span.end]
            answers[span] = {
                "answer": text,
                "score": _probability(logit, total),
                "start": span.start,
                "end": span.end,
            }
            if len(answers) == wanted.top_k:
                break
    return list(answers.values())


def _word_offsets(encoding: Any) -> list[tuple[int, int]]:
    """For each token where its word starts and ends. (A token of no word is one by itself.)"""
    offsets = encoding.offsets
    words: list[tuple[int, int]] = []
    for word, group in groupby(enumerate(encoding.word_ids), key=lambda one: one[1]):
        places = [place for place, _ in group]
        whole = (offsets[places[0]][0], offsets[places[-1]][1])
        words.extend(offsets[place] if word is None else whole for place in places)
    return words
