"""Which rows are longer than a model reads. How many tokens a text has is told by whoever has the model's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from bedplate_registry.tasks import get_task

from .marks import Values

__all__ = ["Measure", "Truncation"]

CHUNK_ROWS = 256
WINDOWED = "question-answering"


class Measure(Protocol):
    """Counts tokens as a model's own tokenizer does, with those that it adds."""

    @property
    def limit(self) -> int:
        """How many the model reads."""

    def count(self, inputs: Sequence[Any]) -> Sequence[int]:
        """Of each input: a text, a pair of texts, or a list of words."""


class Truncation:
    """Rows wait here until there are enough of them to be tokenized together."""

    def __init__(self, task: str, measure: Measure) -> None:
        self.code = "windowed" if task == WINDOWED else "truncated"
        self._keys = [key.name for key in get_task(task).inputs if key.kind in ("text", "list") and key.name != "id"]
        self._measure = measure
        self._rows: list[tuple[str, int]] = []
        self._inputs: list[Any] = []
        self.rows = self.long = self.longest = 0

    def add(self, split: str, row: int, values: Values) -> Iterator[tuple[str, int, str]]:
        """The rows that turned out to be too long: split, row, in words."""
        parts = [values[key] for key in self._keys if key in values]
        self._rows.append((split, row))
        self._inputs.append(tuple(parts) if len(parts) > 1 else parts[0])
        if len(self._rows) >= CHUNK_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[str, int, str]]:
        """Those that still waited."""
        counts = self._measure.count(self._inputs) if self._inputs else ()
        for (split, row), tokens in zip(self._rows, counts, strict=True):
            self.rows += 1
            self.longest = max(self.longest, tokens)
            if tokens > self._measure.limit:
                self.long += 1
                yield split, row, f"{tokens} tokens"
        self._rows, self._inputs = [], []

    @property
    def message(self) -> str:
        """The share, for the finding."""
        share = f"{self.long} of {self.rows} rows ({self.long / max(self.rows, 1):.1%})"
        limit = f"the {self._measure.limit} tokens that the model reads"
        return f"{share} have more than {limit}; the longest has {self.longest}."
