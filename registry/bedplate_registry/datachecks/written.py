"""Texts that are to be written: summaries, translations, completions, and words behind a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from bedplate_registry.cells import listed
from bedplate_registry.same_input import input_key

from .marks import Mark, Values
from .report import Collector, SplitFacts

__all__ = ["PAIRS", "WrittenCheck"]

PAIRS = {
    "summarization": ("document", "summary"),
    "translation": ("source", "target"),
    "text-generation": ("prompt", "completion"),
}
EXTREME_RATIO = 9  # what is usual where translations are cleaned; here of characters
SHORT_CHARACTERS = 20  # below, a ratio says nothing
MASKS = ("[MASK]", "<mask>")  # of BERT and RoBERTa, and of nearly all others


class WrittenCheck:
    """Summarization, translation, text generation and fill-mask."""

    def __init__(self, task: str) -> None:
        self._task = task

    def look(self, facts: SplitFacts, row: int, values: Values) -> Iterator[Mark]:
        if self._task == "fill-mask":
            if values.get("answer") is not None and not any(mask in values["text"] for mask in MASKS):
                yield Mark("no-mask", "text")
            return
        given, written = PAIRS[self._task]
        if written not in values:
            return
        found = (self._mark(written, values[given], target) for target in listed(values[written]))
        yield from islice(filter(None, found), 1)

    def end(self, splits: Mapping[str, SplitFacts], collector: Collector) -> None:
        return

    def _mark(self, written: str, source: str, target: str) -> Mark | None:
        """What is odd about a text and one that is to be written of it."""
        if input_key(source) == input_key(target):
            return Mark("copy", written)
        if self._task == "summarization" and len(target) > len(source):
            return Mark("summary-longer-than-document", written, f"{len(target)} and {len(source)} characters")
        short, long = sorted((len(source), len(target)))
        if self._task == "translation" and long >= SHORT_CHARACTERS and long > EXTREME_RATIO * short:
            return Mark("extreme-ratio", written, f"{len(source)} and {len(target)} characters")
        return None
