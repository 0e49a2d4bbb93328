"""The metrics of question answering by the rules of SQuAD 2.0, from 0 to 100.

Before two answers are compared they are put in lower case, punctuation of ASCII is taken out, then the words a, an and
the, and blanks are made single. `exact_match` asks whether they are then the same, `f1_score` is the F1 of the words
they share. Of several right answers the best counts. The empty text is the answer "there is none": it is right, with
100 in both, exactly where a question has no answer. `has_answer_*` and `no_answer_*` are the means over the questions
with and without one.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from .base import Lists, Scored, TaskMetrics, Undefined, alternatives, check_rows, check_texts

__all__ = ["METRICS", "Predictions", "normalize", "score", "score_what_applies"]

TASK = "question-answering"
Array = np.ndarray[Any, Any]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Predictions(Scored):
    """The answers that were given, "" for none, beside the right ones of each row: none, one or several."""

    predictions: Sequence[str]
    references: Lists

    def __post_init__(self) -> None:
        check_rows(self.predictions, self.references)
        check_texts(([text] for text in self.predictions), "predicted answer")
        object.__setattr__(self, "references", alternatives(self.references))

    def __len__(self) -> int:
        return len(self.references)

    @cached_property
    def exact_match(self) -> Array:
        """1 or 0 for each row."""
        return self._best(lambda said, right: float(said == right))

    @cached_property
    def f1_score(self) -> Array:
        """From 0 to 1 for each row."""
        return self._best(_f1)

    @cached_property
    def has_answer(self) -> Array:
        """Whether each row's question has an answer."""
        return np.array([bool(right) for right in self.references], dtype=bool)

    def _best(self, compare: Callable[[str, str], float]) -> Array:
        pairs = zip(self.predictions, self.references, strict=True)
        return np.array([max(compare(normalize(said), answer) for answer in _answers(right)) for said, right in pairs])


@lru_cache(maxsize=65536)
def normalize(answer: str) -> str:
    """The words of an answer that count, with one blank between them."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def _answers(right: Sequence[str]) -> list[str]:
    """Normalized; an answer of which nothing is left is none, and a question without any wants the empty text."""
    return [answer for answer in map(normalize, right) if answer] or [""]


def _f1(said: str, right: str) -> float:
    """Of the words of two normalized answers."""
    mine, theirs = said.split(), right.split()
    if not mine or not theirs:
        return float(mine == theirs)
    shared = (Counter(mine) & Counter(theirs)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(mine), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def _mean(name: str, part: str, predictions: Predictions) -> float:
    scores: Array = getattr(predictions, name)
    if part:
        chosen = predictions.has_answer == (part == "has_answer_")
        if not chosen.any():
            raise Undefined(f"every question has {'no answer' if part == 'has_answer_' else 'an answer'}")
        scores = scores[chosen]
    return 100 * float(scores.mean())


METRICS = TaskMetrics[Predictions](
    TASK,
    {
        f"{part}{name}": partial(_mean, name, part)
        for part in ("", "has_answer_", "no_answer_")
        for name in ("exact_match", "f1_score")
    },
)
score = METRICS.score
score_what_applies = METRICS.score_what_applies
