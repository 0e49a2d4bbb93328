"""Summaries on labeled rows: ROUGE, the rows with the lowest rougeL, and beside them the first sentences."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from bedplate_trainers.examiners.writing import WritingExaminer, Written
from bedplate_trainers.metrics.summarization import Predictions
from bedplate_trainers.text_pairs import TextPairs

__all__ = ["Examiner", "rouge_counts", "rouge_figures"]

Array = np.ndarray[Any, Any]
MEASURED = ("rouge1", "rouge2", "rougeL")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
LEAD = 3  # sentences, where no training summaries say how many


class Examiner(WritingExaminer):
    """examiners.base.Examiner for summaries."""

    task = "summarization"
    margin = 0.1  # of rougeL

    def counts(self, judged: Written) -> Array:
        return rouge_counts(judged.predictions)

    def figures(self, sums: Array) -> Mapping[str, Array]:
        return rouge_figures(sums)

    def row_scores(self, judged: Written) -> tuple[str, Array]:
        return "rougeL", judged.predictions.rows("rougeL")

    def without_model(self, rows: TextPairs, train: TextPairs | None) -> tuple[str, list[str]]:
        """The first sentences of the document, as many as training summaries have."""
        count = round(statistics.median(len(_sentences(row.target)) for row in train)) if train else LEAD
        return "lead", [" ".join(_sentences(row.source)[:count]) for row in rows]


def rouge_counts(predictions: Predictions) -> Array:
    """Of each row 1, and its F-measures: [rows, 4]."""
    scores = [predictions.rows(name) for name in MEASURED]
    return np.stack([np.ones(len(predictions)), *scores], axis=1)


def rouge_figures(sums: Array) -> Mapping[str, Array]:
    """Means over rows, of summed counts: [draws, 4] -> name: [draws]."""
    return {name: sums[:, 1 + place] / sums[:, 0] for place, name in enumerate(MEASURED)}


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]
