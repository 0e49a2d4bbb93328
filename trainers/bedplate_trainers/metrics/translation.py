"""The metrics of translation, of the whole corpus, by sacrebleu.

    bleu              sacrebleu's BLEU, 0 to 100, exponential smoothing; its signature is part of a report
    bleu_1 … bleu_4   BLEU of n-grams up to 1 … 4, 0 to 1, unsmoothed, the shortest of several references deciding
                      what is too short: the definition of Hugging Face's `bleu`, which Azure takes too
    chrf              sacrebleu's chrF2, 0 to 100

Tokenizers are sacrebleu's: 13a, intl, zh (Chinese), char, none. chrF does not use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from bedplate_trainers.confidence import Counted

from .base import Lists, Scored, TaskMetrics, Undefined, check_choice
from .texts import TOKENIZERS, check_generated, sacrebleu_tokenizer

__all__ = [
    "METRICS",
    "TOKENIZERS",
    "Predictions",
    "bleu_figures",
    "row_scores",
    "score",
    "score_what_applies",
    "signatures",
]

TASK = "translation"
Array = np.ndarray[Any, Any]
ORDERS = (1, 2, 3, 4)
ALL, WRITTEN, REFERENCE, WORDS = 4, 8, 9, 10  # columns behind right n-grams: all of them, both lengths, any word


@dataclass(frozen=True)
class Predictions(Scored):
    """Texts beside the right ones, of which a row has one or more."""

    predictions: Sequence[str]
    references: Lists
    tokenizer: str = TOKENIZERS[0]

    def __post_init__(self) -> None:
        check_choice(self.tokenizer, TOKENIZERS, "BLEU tokenizer")
        object.__setattr__(self, "references", check_generated(self.predictions, self.references))

    def __len__(self) -> int:
        return len(self.references)

    @property
    def bleu_signature(self) -> str:
        """As sacrebleu writes it. One row of each number of references is enough to know it."""
        from sacrebleu.metrics import BLEU

        rows = {len(row): place for place, row in enumerate(self.references)}.values()
        return self._sacrebleu(BLEU(tokenize=self.tokenizer, force=True), list(rows))[1]

    @cached_property
    def counted(self) -> Counted:
        """Of each row its right n-grams, all n-grams, and lengths, and BLEU, which is made of their sums.

        Of several references an n-gram is right as often as any of them has it, and the length is the nearest one.
        """
        from sacrebleu.metrics import BLEU

        metric = BLEU(tokenize=self.tokenizer, effective_order=True)
        pairs = zip(self.predictions, self.references, strict=True)
        scores = (metric.sentence_score(text, right) for text, right in pairs)
        counts = [[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores]
        has_words = [any(text.strip() for text in row) for row in self.references]
        return Counted.of(np.column_stack([np.array(counts, dtype=np.float64), has_words]), bleu_figures)

    @cached_property
    def row_chrf(self) -> Array:
        """[rows]: chrF of each by itself."""
        from sacrebleu.metrics import CHRF

        metric, pairs = CHRF(), zip(self.predictions, self.references, strict=True)
        return np.array([metric.sentence_score(text, right).score for text, right in pairs])

    @cached_property
    def chrf(self) -> tuple[Any, str]:
        """sacrebleu's chrF score and its signature."""
        from sacrebleu.metrics import CHRF

        return self._sacrebleu(CHRF(), range(len(self)))

    @cached_property
    def shortest_length(self) -> int:
        """Tokens of the references, of each row the shortest."""
        if all(len(row) == 1 for row in self.references):
            return self.sums[REFERENCE]
        tokenize = sacrebleu_tokenizer(self.tokenizer)
        return sum(min(len(tokenize(text).split()) for text in row) for row in self.references)

    @cached_property
    def sums(self) -> list[int]:
        """What BLEU is made of, of all rows."""
        return [int(count) for count in np.rint(self.counted.total[0])]

    def _sacrebleu(self, metric: Any, places: Sequence[int]) -> tuple[Any, str]:
        """The score of these rows, and the signature."""
        rows = [self.references[place] for place in places]
        streams = [[row[n] if n < len(row) else None for row in rows] for n in range(max(map(len, rows)))]
        value = metric.corpus_score([self.predictions[place] for place in places], streams)
        return value, str(metric.get_signature())


def signatures(predictions: Predictions) -> dict[str, str]:
    """How `bleu` and `chrf` were computed, as sacrebleu writes it, for a report."""
    return {"bleu": predictions.bleu_signature, "chrf": predictions.chrf[1]}


def row_scores(predictions: Predictions) -> tuple[str, Array]:
    """The metric that a row has by itself, and its value for each: [rows]."""
    return "chrf", predictions.row_chrf


def bleu_figures(sums: Array) -> Mapping[str, Array]:
    """BLEU of summed counts, where any row has a word: [draws, 11] -> name: [draws]."""
    from sacrebleu.metrics import BLEU

    found = [
        BLEU.compute_bleu(row[:ALL], row[ALL:WRITTEN], row[WRITTEN], row[REFERENCE], smooth_method="exp").score
        if row[WORDS]
        else np.nan
        for row in np.rint(sums).astype(int).tolist()
    ]
    return {"bleu": np.minimum(np.array(found), 100.0)}  # it is above by rounding where all is right


def _check_words(predictions: Predictions) -> None:
    if not any(text.strip() for row in predictions.references for text in row):
        raise Undefined("the references are empty in all rows")


def _bleu(predictions: Predictions) -> float:
    _check_words(predictions)
    return predictions.counted.values["bleu"]


def _bleu_up_to(order: int, predictions: Predictions) -> float:
    from sacrebleu.metrics import BLEU

    _check_words(predictions)
    sums = predictions.sums
    found = BLEU.compute_bleu(
        sums[:order],
        sums[ALL : ALL + order],
        sums[WRITTEN],
        predictions.shortest_length,
        smooth_method="none",
        max_ngram_order=order,
    )
    return min(1.0, float(found.score) / 100)


def _chrf(predictions: Predictions) -> float:
    _check_words(predictions)
    return min(100.0, float(predictions.chrf[0].score))


METRICS = TaskMetrics[Predictions](
    TASK, {"bleu": _bleu, **{f"bleu_{order}": partial(_bleu_up_to, order) for order in ORDERS}, "chrf": _chrf}
)
score = METRICS.score
score_what_applies = METRICS.score_what_applies
