"""Question answering: the span of a context that answers a question, on any AutoModelForQuestionAnswering.

A long context is read in windows, each behind the question. A span's score is the probability of its first token as a
start times that of its last token as an end, each over all tokens of the whole context and one entry for "no answer"
(the first special token of the window that believes least in it). Over all windows, and not over each by itself:
otherwise a window without the answer, which must put its certainty somewhere, would outbid the one that holds it. So
spans are ranked by the sum of their logits, as SQuAD's own evaluation ranks them; a context of one window is scored as
transformers' former pipeline scored it.
"""

from __future__ import annotations

import unicodedata
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
from bedplate_serving.predictors.encoders.windows import Span, WindowedEncoder, Windows, check_long_text, ranges
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.text import kind_of, shown_key

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
            raise ItemError(f'must be {{"question": …, "context": …}}, not {kind_of(item)}')
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
    wanted, context = encoded.item.parameters, encoded.item.context
    logits = [window[len(window) - (part.end - part.start) :] for window, part in zip(rows, encoded.parts, strict=True)]
    none = _no_answer(rows, logits)
    total = _total(logits, encoded.parts, none)
    answers: list[FoundAnswer] = [
        {"answer": context[slice(*span)], "score": _probability(logit, total), "start": span.start, "end": span.end}
        for span, logit in _best_of_all(encoded, logits)
    ]
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


class Edges(NamedTuple):
    """Of each token, or of each place in a text: where an answer starts that begins there, and where one ends."""

    starts: Rows
    bare_ends: Rows
    ends: Rows  # with the accents that follow


def _best_of_all(encoded: QuestionWindows, logits: Sequence[Rows]) -> list[tuple[Span, float]]:
    """The pieces of the context with the largest sums of logits, the best first, each once: many spans of tokens are
    one piece when they are aligned to words, and a span may lie in two windows.
    """
    wanted = encoded.item.parameters
    edges = _edges(encoded)
    best: dict[Span, float] = {}
    for window, part in zip(logits, encoded.parts, strict=True):
        own = Edges(*(edge[part.start : part.end] for edge in edges))
        # The best of all are among the best of their windows.
        for span, logit in _best_spans(window, own, wanted.max_answer_len, wanted.top_k):
            best[span] = max(logit, best.get(span, -np.inf))
    return sorted(best.items(), key=lambda one: (-one[1], one[0]))[: wanted.top_k]


def _best_spans(logits: Rows, edges: Edges, longest: int, keep: int) -> list[tuple[Span, float]]:
    """The `keep` best pieces that begin and end with tokens of one window, at most `longest` of them; each once."""
    longest = min(longest, len(logits))
    if not longest:
        return []
    padded = np.concatenate([logits[:, 1], np.full(longest - 1, -np.inf)])
    sums = (logits[:, 0, None] + np.lib.stride_tricks.sliding_window_view(padded, longest)).ravel()
    for most in (20 * keep + 100, len(sums)):  # nearly always enough, and all, of which few may be left
        order = np.argpartition(-sums, most)[:most] if most < len(sums) else np.arange(len(sums))
        order = order[np.argsort(-sums[order], kind="stable")]
        found = _distinct(order, longest, sums, edges)[:keep]
        if len(found) == keep:
            break
    return found


def _distinct(order: Rows, longest: int, sums: Rows, edges: Edges) -> list[tuple[Span, float]]:
    """The pieces of these places in `sums`, in their order, each once."""
    order = order[sums[order] > -np.inf]  # not beyond the window's end
    first, last = order // longest, order // longest + order % longest
    is_piece = edges.starts[first] < edges.bare_ends[last]  # not blanks alone
    order, starts, ends = order[is_piece], edges.starts[first[is_piece]], edges.ends[last[is_piece]]
    _, unique = np.unique(starts * (int(edges.ends.max()) + 1) + ends, return_index=True)
    chosen = np.sort(unique)
    spans = map(Span, starts[chosen].tolist(), ends[chosen].tolist())
    return list(zip(spans, sums[order[chosen]].tolist(), strict=True))


def _edges(encoded: QuestionWindows) -> Edges:
    offsets = encoded.encoding.offsets
    if encoded.item.parameters.align_to_words:
        offsets = _word_offsets(encoded.encoding)
    pairs = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    places = _snipped(encoded.item.context)
    return Edges(places.starts[pairs[:, 0]], places.bare_ends[pairs[:, 1]], places.ends[pairs[:, 1]])


def _snipped(text: str) -> Edges:
    """For each place in the text, its end among them, as windows.snip would have it. (Step by step it would take hours
    through a million blanks that are a token each.)
    """
    places = np.arange(len(text) + 1)
    is_blank = np.array([character.isspace() for character in text], dtype=bool)
    is_accent = np.array([bool(unicodedata.combining(character)) for character in text], dtype=bool)
    starts = np.minimum.accumulate(np.where(np.append(is_blank, False), len(text), places)[::-1])[::-1]
    ends = np.maximum.accumulate(np.where(np.insert(is_blank, 0, False), 0, places))
    behind = np.minimum.accumulate(np.where(np.append(is_accent, False), len(text), places)[::-1])[::-1]
    return Edges(starts, ends, behind[ends])


def _word_offsets(encoding: Any) -> list[tuple[int, int]]:
    """For each token where its word starts and ends. (A token of no word is one by itself.)"""
    offsets = encoding.offsets
    words: list[tuple[int, int]] = []
    for word, group in groupby(enumerate(encoding.word_ids), key=lambda one: one[1]):
        places = [place for place, _ in group]
        whole = (offsets[places[0]][0], offsets[places[-1]][1])
        words.extend(offsets[place] if word is None else whole for place in places)
    return words
