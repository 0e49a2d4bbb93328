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
# Columns behind right n-grams: all of them, lengths of the text and of the nearest reference, any word, and the length
# of the shortest reference.
ALL, WRITTEN, REFERENCE, WORDS, SHORTEST = 4, 8, 9, 10, 11
BLEU_COLUMNS = 12
CHARACTER_ORDERS, BETA = 6, 2  # of chrF2


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

    @cached_property
    def counted(self) -> Counted:
        """What BLEU and chrF are made of."""
        return Counted.of(np.concatenate([self.bleu_counts, self.chrf_counts], axis=1), _figures, main=2)

    @cached_property
    def bleu_counts(self) -> Array:
        """[rows, 12]: right n-grams, all n-grams, lengths, and whether there is any word.

        Of several references an n-gram is right as often as any of them has it, and the length is the nearest one.
        """
        from sacrebleu.metrics import BLEU

        metric = BLEU(tokenize=self.tokenizer, effective_order=True)
        pairs = zip(self.predictions, self.references, strict=True)
        scores = (metric.sentence_score(text, right) for text, right in pairs)
        counts = [[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores]
        has_words = [any(text.strip() for text in row) for row in self.references]
        known = np.array(counts, dtype=np.float64)
        return np.column_stack([known, has_words, self._shortest(known[:, REFERENCE])])

    @cached_property
    def bleu(self) -> Mapping[str, Array]:
        """Of all rows: name: [1]."""
        return bleu_figures(self.bleu_counts.sum(axis=0)[None])

    @cached_property
    def row_chrf(self) -> Array:
        """[rows]: chrF of each by itself."""
        return _chrf_of(self.chrf_counts)

    @property
    def bleu_signature(self) -> str:
        """As sacrebleu writes it."""
        from sacrebleu.metrics import BLEU

        return self._signature(BLEU(tokenize=self.tokenizer, force=True))

    @property
    def chrf_signature(self) -> str:
        from sacrebleu.metrics import CHRF

        return self._signature(CHRF())

    @cached_property
    def chrf_counts(self) -> Array:
        """[rows, 18]: of each order the n-grams of characters that were said, those of the reference, and the right
        ones; of several references those of the one with the highest chrF.
        """
        from sacrebleu.metrics import CHRF

        # What sacrebleu adds up itself. Its public methods give the score of a row, and not what it is made of.
        counts = CHRF()._extract_corpus_statistics(list(self.predictions), self._streams(range(len(self))))
        return np.array(counts, dtype=np.float64).reshape(len(self), 3 * CHARACTER_ORDERS)

    def _shortest(self, nearest: Array) -> Array:
        """[rows]: tokens of the shortest reference of each; where there is one alone that is the nearest too."""
        if all(len(row) == 1 for row in self.references):
            return nearest
        tokenize = sacrebleu_tokenizer(self.tokenizer)
        return np.array([min(len(tokenize(text).split()) for text in row) for row in self.references], dtype=float)

    def _streams(self, places: Sequence[int]) -> list[list[str | None]]:
        """The first references of these rows, then the second ones …, as sacrebleu takes them."""
        rows = [self.references[place] for place in places]
        return [[row[n] if n < len(row) else None for row in rows] for n in range(max(map(len, rows), default=1))]

    def _signature(self, metric: Any) -> str:
        """One row of each number of references is enough to know it."""
        places = list({len(row): place for place, row in enumerate(self.references)}.values())
        metric.corpus_score([self.predictions[place] for place in places], self._streams(places))
        return str(metric.get_signature())


def signatures(predictions: Predictions) -> dict[str, str]:
    """How `bleu` and `chrf` were computed, as sacrebleu writes it, for a report."""
    return {"bleu": predictions.bleu_signature, "chrf": predictions.chrf_signature}


def row_scores(predictions: Predictions) -> tuple[str, Array]:
    """The metric that a row has by itself, and its value for each: [rows]."""
    return "chrf", predictions.row_chrf


def bleu_figures(sums: Array) -> Mapping[str, Array]:
    """BLEU of summed counts, where any row has a word: [draws, 12] -> name: [draws]."""
    from sacrebleu.metrics import BLEU

    rows = np.rint(sums).astype(int).tolist()
    smoothed = [
        BLEU.compute_bleu(row[:ALL], row[ALL:WRITTEN], row[WRITTEN], row[REFERENCE], smooth_method="exp").score
        for row in rows
    ]
    found = {"bleu": np.minimum(np.array(smoothed), 100.0)}  # it is above by rounding where all is right
    for order in ORDERS:
        unsmoothed = [_unsmoothed(row, order) for row in rows]
        found[f"bleu_{order}"] = np.minimum(np.array(unsmoothed) / 100, 1.0)
    return {name: np.where(sums[:, WORDS] > 0, values, np.nan) for name, values in found.items()}


def _unsmoothed(row: list[int], order: int) -> float:
    from sacrebleu.metrics import BLEU

    right, said = row[:order], row[ALL : ALL + order]
    lengths = {"sys_len": row[WRITTEN], "ref_len": row[SHORTEST]}
    found = BLEU.compute_bleu(right, said, **lengths, smooth_method="none", max_ngram_order=order)
    return float(found.score)


def _figures(sums: Array) -> Mapping[str, Array]:
    """The main ones first."""
    bleu, chrf = bleu_figures(sums[:, :BLEU_COLUMNS]), _chrf_of(sums[:, BLEU_COLUMNS:])
    return {"bleu": bleu["bleu"], "chrf": np.where(sums[:, WORDS] > 0, chrf, np.nan), **bleu}


def _chrf_of(sums: Array) -> Array:
    """sacrebleu's chrF2 of summed counts, [draws, 18] -> [draws].

    The mean precision and the mean recall, which weighs twice, of the orders of which there are n-grams on both sides.
    """
    said, there, right = (sums.reshape(len(sums), CHARACTER_ORDERS, 3)[:, :, column] for column in range(3))
    both = (said > 0) & (there > 0)
    orders = np.maximum(both.sum(axis=1), 1)
    precision, recall = (
        np.divide(right, n_grams, out=np.zeros(right.shape), where=both).sum(axis=1) / orders
        for n_grams in (said, there)
    )
    below = BETA**2 * precision + recall
    values = np.divide((1 + BETA**2) * precision * recall, below, out=np.zeros(len(sums)), where=below > 0)
    return np.asarray(np.minimum(100 * values, 100.0))


def _bleu(name: str, predictions: Predictions) -> float:
    return _known(predictions.bleu[name])


def _chrf(predictions: Predictions) -> float:
    has_words = predictions.bleu_counts[:, WORDS].any()
    return _known(_chrf_of(predictions.chrf_counts.sum(axis=0)[None]) if has_words else np.array([np.nan]))


def _known(value: Array) -> float:
    if np.isnan(value[0]):
        raise Undefined("the references are empty in all rows")
    return float(value[0])


BLEU_NAMES = ("bleu", *(f"bleu_{order}" for order in ORDERS))
METRICS = TaskMetrics[Predictions](TASK, {**{name: partial(_bleu, name) for name in BLEU_NAMES}, "chrf": _chrf})
score = METRICS.score
score_what_applies = METRICS.score_what_applies
