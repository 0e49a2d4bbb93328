"""Question answering: the span of a context that answers a question, on any AutoModelForQuestionAnswering.

A long context is read in windows, each behind the question. A span's score is the probability of its first token as a
start times that of its last token as an end, each over all tokens of the whole context and one entry for "no answer"
(the first special token of the window that believes least in it). Over all windows, and not over each by itself:
otherwise a window without the answer, which must put its certainty somewhere, would outbid the one that holds it. So
spans are ranked by the sum of their logits, as SQuAD's own evaluation ranks them; a context of one window is scored as
transformers' former pipeline scored it.

A model that was fine-tuned here says in its config.json how it is to be asked (PARAMETERS_KEY): windows as it was
trained on, and whether and when it answers "there is none". These are the defaults of its parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.answer_search import Findings, find_answers
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.encoders.encoder import EncoderPredictor, Head
from bedplate_serving.predictors.encoders.question_windows import QUESTION_TOKENS, QuestionCut, QuestionCutter
from bedplate_serving.predictors.encoders.windows import WindowedEncoder, Windows, check_long_text
from bedplate_serving.predictors.parameters import Parameters, read_parameters
from bedplate_serving.predictors.text import kind_of, shown_key

__all__ = ["PARAMETERS_KEY", "FoundAnswer", "QuestionAnswerer", "QuestionParameters", "answers_of", "load"]

PARAMETERS_KEY = "bedplate_question_answering"  # of config.json
LEAST = 1e-300  # a probability that is as good as none
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
    ] = QUESTION_TOKENS
    handle_impossible_answer: Annotated[
        bool, Field(description="Whether the answer may be an empty one: the context does not say.")
    ] = False
    null_score_diff_threshold: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            description="By how much the logits of the empty answer must pass those of the best other to come first.",
        ),
    ] = 0.0
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
    cut: QuestionCut


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
        self._cutter = QuestionCutter(self._windowed.frame)
        self._own: Mapping[str, Any] = {}
        self.defaults = self._read_own(folder)
        self._own = self.defaults.model_dump()

    def _read_own(self, folder: Path) -> QuestionParameters:
        """The parameters that the model's config.json has, over our defaults. Raises Refused: bad-config."""
        own = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(PARAMETERS_KEY, {})
        try:
            if not isinstance(own, dict):
                raise Refused(f"it is {kind_of(own)}, not an object")
            return self.parameters(own)
        except Refused as error:
            raise Refused(
                f"The model's config.json has a {PARAMETERS_KEY} that is of no use: {error.message}",
                hint="Correct it there, or take it out.",
                code="bad-config",
            ) from error

    def parameters(self, raw: Mapping[str, Any]) -> QuestionParameters:
        given = {name: value for name, value in raw.items() if value is not None}
        wanted = read_parameters(QuestionParameters, {**self._own, **given}, self.task)
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
        return QuestionItem(question, context, parameters or self.defaults)

    def encode(self, items: Sequence[QuestionItem]) -> list[QuestionWindows]:
        questions = self._windowed.tokenize([item.question for item in items])
        contexts = self._windowed.tokenize([item.context for item in items])
        return [self._windows(*one) for one in zip(items, questions, contexts, strict=True)]

    def _windows(self, item: QuestionItem, question: Any, context: Any) -> QuestionWindows:
        wanted = item.parameters
        cut = self._cutter.cut(
            question,
            context,
            item.context,
            limit=wanted.max_seq_len or min(USUAL_WINDOW, self.context_length),
            stride=wanted.doc_stride,
            asked=wanted.max_question_len,
            align=wanted.align_to_words,
        )
        windows = list(self._cutter.windows(question, context, cut))
        length = sum(window.length for window in windows)
        return QuestionWindows(length=length, truncated=cut.is_cut, windows=windows, item=item, cut=cut)

    def forward(self, batch: Sequence[QuestionWindows]) -> list[list[FoundAnswer]]:
        """Whole answers, the best first: the search is work, too."""
        answers = []
        for one, rows in zip(batch, self._windowed.run(batch), strict=True):
            wanted = one.item.parameters
            logits = [window.astype(np.float64) for window in rows]
            found = find_answers(one.cut, logits, longest=wanted.max_answer_len, keep=wanted.top_k)
            answers.append(answers_of(one.item.context, found, wanted))
        return answers

    def answer(self, raw: list[FoundAnswer], parameters: QuestionParameters | None = None) -> Answer:
        return raw[0] if (parameters or self.defaults).top_k == 1 else raw

    def azure_answer(self, answers: Sequence[Answer], parameters: QuestionParameters) -> list[str]:
        """`["John"]`: the text of the best answer to each question."""
        return [_best(answer)["answer"] for answer in answers]

    def weigh_no_answer(self, items: Sequence[Any]) -> list[tuple[str, float]]:
        """Of each question the best answer that is not empty, and by how much the logits of the empty one pass its:
        what `null_score_diff_threshold` is held against. ("", infinity) where the context has no other answer.
        """
        empty_first = {"handle_impossible_answer": True, "null_score_diff_threshold": -1e9, "top_k": 2}
        weighed = []
        for answers in self.predict(items, empty_first):
            none, best = answers[0], answers[1] if len(answers) > 1 else None
            logits = [math.log(max(one["score"], LEAST)) for one in (none, best) if one]
            weighed.append((best["answer"], logits[0] - logits[1]) if best else ("", math.inf))
        return weighed

    def sample(self) -> Question:
        return {"question": "Where do I live?", "context": "My name is Sarah and I live in London."}

    def output_columns(self, parameters: QuestionParameters) -> tuple[str, ...]:
        columns = ("answer", "score", "start", "end")
        return columns if parameters.top_k == 1 else (*columns, "predictions")

    def output_row(self, answer: Answer, parameters: QuestionParameters) -> dict[str, Any]:
        row: dict[str, Any] = {**_best(answer)}
        return row if parameters.top_k == 1 else row | {"predictions": answer}


def answers_of(context: str, found: Findings, wanted: QuestionParameters) -> list[FoundAnswer]:
    """The best first, the empty one among them where it is wanted; at least one, if only that."""
    logits = [logit for _, logit in found.spans]
    answers: list[FoundAnswer] = [
        {"answer": context[slice(*span)], "score": found.probability(logit), "start": span.start, "end": span.end}
        for span, logit in found.spans
    ]
    if wanted.handle_impossible_answer or not answers:
        place = sum(logit >= found.none - wanted.null_score_diff_threshold for logit in logits)
        answers.insert(place, {"answer": "", "score": found.probability(found.none), "start": 0, "end": 0})
    return answers[: wanted.top_k]


def _best(answer: Answer) -> FoundAnswer:
    return answer[0] if isinstance(answer, list) else answer
