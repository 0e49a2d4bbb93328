"""Rows of questions with their contexts and answers: read from a table, checked, refused by row number. No torch.

An answer stands in its context at `answer_start`, counted in Unicode code points. No answers at all (empty lists) mean
that the context does not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_registry.same_input import input_key
from bedplate_registry.tables import columns_of

from .messages import DataFile
from .rows import PlainRow, RowTable, read_table

__all__ = ["TASK", "QuestionRow", "QuestionRows", "RightAnswer", "read_questions"]

TASK: Final = "question-answering"
SHOWN_CHARACTERS = 40


class RightAnswer(NamedTuple):
    """`context[start:end] == text`"""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class QuestionRow(PlainRow):
    """A question and all its right answers. `row` counts from 1 in the file it came from."""

    row: int
    question: str
    context: str
    answers: tuple[RightAnswer, ...]

    @property
    def input(self) -> dict[str, str]:
        """As a predictor takes it."""
        return {"question": self.question, "context": self.context}

    @property
    def texts(self) -> tuple[str, ...]:
        """What any of is right to say; none where the context does not say."""
        return tuple(answer.text for answer in self.answers)

    @property
    def key(self) -> str:
        """Equal for inputs that differ at most in case and blanks."""
        return input_key(self.question, self.context)

    @property
    def labels(self) -> tuple[str, ...]:
        """A split is stratified by whether there is an answer."""
        return ("answer" if self.answers else "no answer",)


class QuestionRows(RowTable[QuestionRow]):
    """The rows of one file."""

    @cached_property
    def without_answer(self) -> int:
        return sum(not row.answers for row in self.rows)


def read_questions(
    file: DataFile, columns: Mapping[str, str], what: str, reporter: Reporter, *, learns: bool = True
) -> QuestionRows:
    """All rows of a file. `what` names the file in messages: "The training data".

    An answer that is not at its answer_start, and only once in its context, is taken from there; the reporter is told
    how many. Where nothing `learns` from the place, the nearest of several will do. Any other is refused. Raises
    Refused: bad-rows, no-rows.
    """
    mapping = map_columns(TASK, columns_of(file.path, file.format), columns)
    moved = 0

    def parse(number: int, picked: Mapping[str, Any]) -> QuestionRow:
        nonlocal moved
        row, count = _question(number, picked, learns)
        moved += count
        return row

    rows = QuestionRows(read_table(file, mapping, what, parse))
    if moved:
        found = (
            "Each is in its context once, and taken from there." if learns else "They are taken from the nearest place."
        )
        reporter.message(f"{what}: {moved} answers are not at their answer_start. {found}")
    return rows


def _question(number: int, picked: Mapping[str, Any], learns: bool) -> tuple[QuestionRow, int]:
    """The row, and how many of its answers are elsewhere than it says."""
    for name in ("question", "context"):
        if not picked[name].strip():
            raise Refused(f"has an empty {name}", code="bad-value")
    texts, starts = picked["answers"].get("text"), picked["answers"].get("answer_start")
    if not isinstance(texts, list | tuple) or not isinstance(starts, list | tuple):
        raise Refused("has answers that are not {text: […], answer_start: […]}", code="bad-value")
    if len(texts) != len(starts):
        raise Refused(f"has {len(texts)} texts of answers and {len(starts)} starts", code="bad-value")
    pairs = zip(texts, starts, strict=True)
    answers = tuple(_placed(text, start, picked["context"], learns) for text, start in pairs)
    moved = sum(answer.start != start for answer, start in zip(answers, starts, strict=True))
    return QuestionRow(number, picked["question"], picked["context"], answers), moved


def _placed(text: Any, start: Any, context: str, learns: bool) -> RightAnswer:
    if not isinstance(text, str) or not text.strip():
        raise Refused(f"has the answer {text!r:.40}, which is no text", code="bad-value")
    if isinstance(start, bool) or not isinstance(start, int):
        raise Refused(f"has the answer_start {start!r:.40}, which is no whole number", code="bad-value")
    if start >= 0 and context.startswith(text, start):
        return RightAnswer(text, start)
    places = [found.start() for found in re.finditer(f"(?={re.escape(text)})", context)]
    if not places or (learns and len(places) > 1):
        shown = repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")
        where = f"is in several places, and not at {start}" if places else "is not in the context"
        raise Refused(
            f"has the answer {shown}, which {where}",
            hint="bedplate datasets check --fix corrects what has one right place, and takes out the rest.",
            code="bad-value",
        )
    return RightAnswer(text, min(places, key=lambda place: abs(place - start)))
