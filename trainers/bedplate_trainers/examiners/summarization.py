"""Summaries on labeled rows: ROUGE, the rows with the lowest rougeL, and beside them the first sentences."""

from __future__ import annotations

import re
import statistics

from bedplate_trainers.examiners.writing import WritingExaminer
from bedplate_trainers.text_pairs import TextPairs

__all__ = ["Examiner"]

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
LEAD = 3  # sentences, where no training summaries say how many


class Examiner(WritingExaminer):
    """examiners.base.Examiner for summaries."""

    task = "summarization"

    def without_model(self, rows: TextPairs, train: TextPairs | None) -> tuple[str, list[str]]:
        """The first sentences of the document, as many as training summaries have."""
        count = round(statistics.median(len(_sentences(row.target)) for row in train)) if train else LEAD
        return "lead", [" ".join(_sentences(row.source)[:count]) for row in rows]


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]
