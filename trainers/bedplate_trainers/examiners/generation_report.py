"""The report on a model that writes texts: how likely the right ones were to it, and what it wrote beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from bedplate_trainers.comparison import difference_of
from bedplate_trainers.confidence import Counted
from bedplate_trainers.examiners.base import report_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.metrics.of_task import signatures_of
from bedplate_trainers.metrics.summarization import rouge_figures
from bedplate_trainers.metrics.text_generation import METRICS, Predictions, score
from bedplate_trainers.metrics.translation import bleu_figures
from bedplate_trainers.metrics.written import tokenizer_for
from bedplate_trainers.prompts import PromptRows
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.shown import WORST_ROWS, shown_text
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.slices import slices_of
from bedplate_trainers.stored_rows import take

__all__ = ["Judged", "Likelihood", "difference", "make_report"]

TASK = "text-generation"
Array = np.ndarray[Any, Any]
ROUGE_COLUMNS = 6


@dataclass(frozen=True)
class Likelihood:
    """The natural logarithm of the probability of a row's right text, and its tokens."""

    logarithm: float
    tokens: int


@dataclass(frozen=True)
class Judged:
    """What a model wrote of each row and how likely the right texts were to it; either may be missing.

    It fulfills judged.JudgedRows.
    """

    kind: str  # model | predictions
    rows: PromptRows
    texts: Sequence[str] | None
    likelihoods: Sequence[Likelihood] | None
    seconds: float
    latency: Mapping[str, float] | None = None
    tokenizers: tuple[str, str] | None = None  # of ROUGE and BLEU; else those for the script of the references

    @cached_property
    def predictions(self) -> Predictions:
        known, references = self.likelihoods, self.references
        rouge, bleu = self.tokenizers or (tokenizer_for(task, references) for task in ("summarization", "translation"))
        return Predictions(
            self.texts or (),
            references,
            None if known is None else [one.logarithm for one in known],
            None if known is None else [one.tokens for one in known],
            rouge,
            bleu,
        )

    @property
    def references(self) -> list[str]:
        return [] if self.texts is None else [row.completion or "" for row in self.rows]

    @property
    def applicable(self) -> list[str]:
        """The metrics that these rows can have."""
        names = [name for name in METRICS.functions if name != "perplexity"] if self.texts is not None else []
        return ["perplexity", *names] if self.likelihoods is not None else names

    @cached_property
    def counted(self) -> Counted:
        return self.count(with_likelihoods=self.likelihoods is not None)

    def count(self, *, with_likelihoods: bool) -> Counted:
        """Log-likelihoods and tokens, then what ROUGE and BLEU are made of, as far as they are known."""
        columns = []
        if with_likelihoods:
            known = self.likelihoods or ()
            columns.append(np.array([[one.logarithm, one.tokens] for one in known], dtype=np.float64))
        if self.texts is not None:
            columns += [self.predictions.summaries.counted.counts, self.predictions.translations.bleu_counts]
        return Counted.of(np.concatenate(columns, axis=1), partial(_figures, with_likelihoods))

    @property
    def numbers(self) -> Iterator[int]:
        return (row.row for row in self.rows)

    @property
    def lengths(self) -> Array:
        return np.fromiter((len(row.prompt) for row in self.rows), dtype=np.int64)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        return {}

    @property
    def margin(self) -> float:
        """Of rougeL, or of the mean log-probability of a token."""
        return 0.1

    def part(self, places: Array) -> Judged:
        texts = None if self.texts is None else take(self.texts, places)
        likelihoods = None if self.likelihoods is None else take(self.likelihoods, places)
        tokenizers = (self.predictions.rouge_tokenizer, self.predictions.bleu_tokenizer)
        return replace(self, rows=self.rows.take(places), texts=texts, likelihoods=likelihoods, tokenizers=tokenizers)

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        return METRICS.score_what_applies(self.predictions, names)[0]

    @cached_property
    def row_scores(self) -> tuple[str, Array]:
        """What a row has by itself: rougeL, or the mean log-probability of a token of its right text."""
        if self.texts is not None:
            return "rougeL", self.predictions.summaries.rows("rougeL")
        known = self.likelihoods or ()
        return "log_probability", np.array([one.logarithm / max(one.tokens, 1) for one in known])

    def row_predictions(self) -> Iterator[RowPrediction]:
        for place, row in enumerate(self.rows):
            said, score = None if self.texts is None else self.texts[place], float(self.row_scores[1][place])
            yield RowPrediction(row.row, {"prompt": row.prompt}, row.completion, said, score, None)


def make_report(judged: Judged, settings: EvaluateSettings, columns: Columns | None = None) -> dict[str, Any]:
    """The report of one model."""
    if settings.metrics:
        metrics, missing = score(judged.predictions, settings.metrics), dict[str, str]()
    else:
        metrics, missing = METRICS.score_what_applies(judged.predictions, judged.applicable)
    tokens = {"tokens": sum(one.tokens for one in judged.likelihoods)} if judged.likelihoods is not None else {}
    return report_of(
        TASK,
        kind=judged.kind,
        rows=len(judged.rows),
        seconds=judged.seconds,
        metrics=metrics,
        missing=missing,
        worst=_worst(judged),
        **tokens,
        signatures=signatures_of(TASK, judged.predictions),
        confidence=judged.counted.intervals(settings.confidence_draws, settings.seed, metrics),
        slices=slices_of(judged, settings, columns or {}),
        latency=judged.latency,
    )


def difference(mine: Judged, other: Judged, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """How far `mine` is from `other` on the same rows, in what is known of both."""
    both = mine.likelihoods is not None and other.likelihoods is not None
    counted = mine.count(with_likelihoods=both), other.count(with_likelihoods=both)
    return difference_of(mine, other, TASK, settings, counted)


def _figures(has_likelihoods: bool, sums: Array) -> dict[str, Array]:
    found: dict[str, Array] = {}
    if has_likelihoods:
        with np.errstate(over="ignore"):
            found["perplexity"] = np.exp(-sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan))
        sums = sums[:, 2:]
    if sums.shape[1]:
        found |= rouge_figures(sums[:, :ROUGE_COLUMNS])
        found |= bleu_figures(sums[:, ROUGE_COLUMNS:])
    return found


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """The rows that score lowest by themselves."""
    name, scores = judged.row_scores
    rows = list(judged.row_predictions())
    return [_worst_row(rows[int(place)], name) for place in np.argsort(scores, kind="stable")[:WORST_ROWS]]


def _worst_row(row: RowPrediction, name: str) -> dict[str, Any]:
    texts = {"prompt": row.inputs["prompt"], "completion": row.target, "predicted": row.predicted}
    shown = {key: shown_text(text) for key, text in texts.items() if text is not None}
    return {"row": row.row, **shown, name: round(row.score or 0.0, 6)}
