"""Inputs that were seen before. Of each only a hash is kept: some 150 bytes a row, however long the texts are."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from bedplate_registry.cells import listed

from .marks import Mark, Values

__all__ = ["Repeats", "answer_of", "in_order"]

# How an answer that differs is called: of those with labels one is wrong, the others may have several good ones.
_LABELED = ("text-classification", "token-classification", "image-classification")
_ANSWERS = ("tags", "summary", "target", "completion", "answer")
MEASURED_ON = ("test", "validation")


class Repeats:
    """Of the splits that are measured on are seen first, so that the row to take out is always the later one."""

    def __init__(self, task: str) -> None:
        self._other_answer = "conflicting-labels" if task in _LABELED else "repeated-input"
        self._places: dict[int, int] = {}  # the hash of an input -> where in the arrays below
        self._rows, self._splits, self._answers = array("Q"), array("B"), array("Q")
        self._names: list[str] = []

    def look(self, split: str, row: int, input: str, answer: str) -> Mark | None:
        """What is to be said of a row, given those before it. One that is good is remembered."""
        if split not in self._names:
            self._names.append(split)
        at, said, number = _hash(input), _hash(answer), self._names.index(split)
        place = self._places.get(at)
        if place is None:
            self._places[at] = len(self._rows)
            self._rows.append(row)
            self._splits.append(number)
            self._answers.append(said)
            return None
        before, where = self._rows[place], self._names[self._splits[place]]
        if where != split:
            return Mark("leak", detail=f"it is row {before} of {where}", drops=True)
        if self._answers[place] == said:
            return Mark("duplicate", detail=f"it is row {before} again", drops=True)
        return Mark(self._other_answer, detail=f"row {before} has another")


def in_order(splits: Sequence[str]) -> list[str]:
    """Those that are measured on first."""
    return sorted(splits, key=lambda name: MEASURED_ON.index(name) if name in MEASURED_ON else len(MEASURED_ON))


def answer_of(task: str, values: Values) -> str:
    """What a row says is right, as one text: equal where two rows say the same."""
    answers = values.get("answers")
    if isinstance(answers, dict):
        return repr(sorted({str(text) for text in answers["text"]}))
    if "label" in values:
        label = values["label"]
        return repr(sorted({str(name) for name in (label if isinstance(label, list) else [label])}))
    return repr([listed(value) for key, value in values.items() if key in _ANSWERS])


def _hash(text: str) -> int:
    """64 bits: that any two of a million inputs share one has a chance of one in forty million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
