"""Answers that are parts of their contexts: the text at answer_start is the text of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .marks import Mark, Values
from .report import Collector, SplitFacts

__all__ = ["AnswerCheck"]

SHOWN_CHARACTERS = 40


class AnswerCheck:
    """Question answering."""

    def __init__(self) -> None:
        self._questions = self._without = 0

    def look(self, facts: SplitFacts, row: int, values: Values) -> Iterator[Mark]:
        answers = values.get("answers")
        if answers is None:
            return
        self._questions += 1
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list):
            yield Mark("wrong-type", "answers", "it is not {text: […], answer_start: […]}")
        elif len(texts) != len(starts):
            yield Mark("length-mismatch", "answers", f"{len(texts)} texts, {len(starts)} starts", drops=True)
        elif not texts:
            self._without += 1
            yield Mark("no-answer", "answers")
        elif problem := _problem(texts, starts):
            yield problem
        else:
            yield from _misplaced(values["context"], answers)

    def end(self, splits: Mapping[str, SplitFacts], collector: Collector) -> None:
        if self._without:
            share = f"{self._without} of {self._questions} questions ({self._without / self._questions:.1%})"
            collector.say("no-answer", "answers", f"{share} have no answer.")


def _problem(texts: list[Any], starts: list[Any]) -> Mark | None:
    if not all(isinstance(text, str) for text in texts):
        return Mark("wrong-type", "answers", "a text is no text")
    if not all(isinstance(start, int) and not isinstance(start, bool) for start in starts):
        return Mark("wrong-type", "answers", "an answer_start is no whole number")
    return None if all(text.strip() for text in texts) else Mark("wrong-type", "answers", "a text is empty")


def _misplaced(context: str, answers: dict[str, Any]) -> Iterator[Mark]:
    """One mark for each kind of problem that a row has; each carries the repair of all answers of the row."""
    right: list[tuple[str, int]] = []
    moved, lost = list[str](), list[str]()
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        if start >= 0 and context.startswith(text, start):
            right.append((text, start))
        elif (place := _nearest(context, text, start)) >= 0:
            right.append((text, place))
            several = "" if context.find(text) == context.rfind(text) else ", the nearest of several places"
            moved.append(f"{_short(text)} is at {place}, not at {start}{several}")
        else:
            lost.append(f"{_short(text)} is not in the context")
    kept = {"text": [text for text, _ in right], "answer_start": [start for _, start in right]}
    values = {"answers": {**answers, **kept}}
    if moved:
        yield Mark("answer-mismatch", "answers", "; ".join(moved), values=values)
    if lost:
        yield Mark("answer-not-in-context", "answers", "; ".join(lost), drops=not right, values=values)


def _nearest(context: str, text: str, start: int) -> int:
    """Where the text is in the context, as near to `start` as can be; -1 where it is nowhere."""
    start = min(max(start, 0), len(context))
    after, before = context.find(text, start), context.rfind(text, 0, start + len(text) - 1)
    if after < 0 or before < 0:
        return max(after, before)
    return before if start - before <= after - start else after


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")
