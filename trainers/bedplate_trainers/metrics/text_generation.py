"""The metrics of text generation: perplexity of the right texts, and ROUGE and BLEU of those that were written.

`perplexity` is exp of the negative log-likelihood of all right tokens divided by their number, so a long row weighs
more than a short one.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused

from . import summarization, translation
from .base import Lists, Scored, TaskMetrics, Undefined, check_choice, check_rows

__all__ = ["METRICS", "Predictions", "score", "score_what_applies", "signatures"]

TASK = "text-generation"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions(Scored):
    """Texts beside the right ones, or how likely the right ones are, or both.

    log_likelihoods: natural logarithm of each right text's probability, [rows]; token_counts: its tokens, [rows].
    """

    predictions: Sequence[str] = ()
    references: Lists = ()
    log_likelihoods: Array | Sequence[float] | None = None
    token_counts: Array | Sequence[int] | None = None
    rouge_tokenizer: str = summarization.TOKENIZERS[0]
    bleu_tokenizer: str = translation.TOKENIZERS[0]

    def __post_init__(self) -> None:
        check_rows(self.predictions, self.references)
        check_choice(self.rouge_tokenizer, summarization.TOKENIZERS, "ROUGE tokenizer")
        check_choice(self.bleu_tokenizer, translation.TOKENIZERS, "BLEU tokenizer")
        counts, likelihoods = _length(self.token_counts), _length(self.log_likelihoods)
        if counts != likelihoods:
            raise Refused(
                f"There are {likelihoods} log-likelihoods and {counts} token counts.",
                hint="Give both for each row.",
                code="bad-rows",
            )

    def __len__(self) -> int:
        return max(len(self.predictions), _length(self.log_likelihoods))

    @cached_property
    def summaries(self) -> summarization.Predictions:
        self._check_texts()
        return summarization.Predictions(self.predictions, self.references, self.rouge_tokenizer)

    @cached_property
    def translations(self) -> translation.Predictions:
        self._check_texts()
        return translation.Predictions(self.predictions, self.references, self.bleu_tokenizer)

    def _check_texts(self) -> None:
        if not len(self.predictions):
            raise Undefined("no texts were written")


def _length(column: Sized | None) -> int:
    return 0 if column is None else len(column)


def signatures(predictions: Predictions) -> dict[str, str]:
    """How ROUGE and BLEU were computed, for a report."""
    if not len(predictions.predictions):
        return {}
    return {**summarization.signatures(predictions.summaries), "bleu": predictions.translations.bleu_signature}


def _perplexity(predictions: Predictions) -> float:
    if predictions.log_likelihoods is None or predictions.token_counts is None:
        raise Undefined("the likelihoods of the right texts are not known")
    likelihoods, counts = np.asarray(predictions.log_likelihoods, float), np.asarray(predictions.token_counts, float)
    bad = np.flatnonzero(~np.isfinite(likelihoods))
    if len(bad):
        raise Undefined(f"row {bad[0] + 1} has the log-likelihood {likelihoods[bad[0]]}")
    if not counts.sum() > 0:
        raise Undefined("the right texts have no tokens")
    with np.errstate(over="ignore"):
        return float(np.exp(-likelihoods.sum() / counts.sum()))


def _rouge(name: str, predictions: Predictions) -> float:
    return summarization.METRICS.functions[name](predictions.summaries)


def _bleu(name: str, predictions: Predictions) -> float:
    return translation.METRICS.functions[name](predictions.translations)


METRICS = TaskMetrics[Predictions](
    TASK,
    {
        "perplexity": _perplexity,
        **{name: partial(_rouge, name) for name in summarization.METRICS.functions},
        **{name: partial(_bleu, name) for name in translation.METRICS.functions if name != "chrf"},
    },
)
score = METRICS.score
score_what_applies = METRICS.score_what_applies
