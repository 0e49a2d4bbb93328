"""The metrics of summarization: ROUGE by the rouge-score library, from 0 to 1, the mean over rows of the F-measure.

`rougeL` takes a text as one sequence, `rougeLsum` each of its lines as a sentence. Of several references the best F
counts, for each metric by itself. Tokenizers:

    rouge_stemmer   rouge-score's, words longer than three letters cut by Porter's stemmer: as papers report it
    rouge           the same without the stemmer
    intl, zh, char  sacrebleu's, for other languages, in lower case and without punctuation

The first two read the letters a to z and digits only, so a text in another script has no word for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from bedplate_trainers.confidence import Counted

from .base import Lists, Scored, TaskMetrics, Undefined, check_choice
from .texts import check_generated, sacrebleu_tokenizer

__all__ = [
    "METRICS",
    "TOKENIZERS",
    "Predictions",
    "rouge_figures",
    "row_scores",
    "score",
    "score_what_applies",
    "signatures",
]

TASK = "summarization"
Array = np.ndarray[Any, Any]
NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
TOKENIZERS = ("rouge_stemmer", "rouge", "intl", "zh", "char")


@dataclass(frozen=True)
class Predictions(Scored):
    """Texts beside the right ones, of which a row has one or more."""

    predictions: Sequence[str]
    references: Lists
    tokenizer: str = TOKENIZERS[0]

    def __post_init__(self) -> None:
        check_choice(self.tokenizer, TOKENIZERS, "ROUGE tokenizer")
        object.__setattr__(self, "references", check_generated(self.predictions, self.references))

    def __len__(self) -> int:
        return len(self.references)

    @cached_property
    def counted(self) -> Counted:
        """Of each row its F-measures, and the metrics, which are their means."""
        counts = np.column_stack([np.ones(len(self)), self._has_words, self._measures])
        return Counted.of(counts, rouge_figures)

    @property
    def _has_words(self) -> Array:
        """Whether any reference of each row has a token, [rows]."""
        tokenizer, found = _Tokenizer(self.tokenizer), self.rows("rouge1") > 0
        for place in np.flatnonzero(~found).tolist():
            found[place] = any(tokenizer.tokenize(text) for text in self.references[place])
        return found

    def rows(self, name: str) -> Array:
        """The F-measure of each row, [rows]; `name` is one of the metrics."""
        return self._measures[:, NAMES.index(name)]

    @cached_property
    def _measures(self) -> Array:
        """[rows, 4]: all metrics at once, as to find the words takes long."""
        from rouge_score.rouge_scorer import RougeScorer

        # Of one sentence rougeL and rougeLsum are the same, and they take the longest by far.
        names = NAMES if self._has_lines else NAMES[:-1]
        scorer = RougeScorer(list(names), tokenizer=_Tokenizer(self.tokenizer))
        pairs = zip(self.predictions, self.references, strict=True)
        scores = (scorer.score_multi(right, said) for said, right in pairs)
        found = np.array([[one[name].fmeasure for name in names] for one in scores], dtype=np.float64)
        return found if self._has_lines else found[:, [0, 1, 2, 2]]

    @cached_property
    def _has_lines(self) -> bool:
        return any("\n" in text for row in (self.predictions, *self.references) for text in row)


class _Tokenizer:
    """What rouge-score asks for words."""

    def __init__(self, name: str) -> None:
        self.tokenize = _rouge_words(name == "rouge_stemmer") if name.startswith("rouge") else _other_words(name)


def _rouge_words(stemmed: bool) -> Callable[[str], list[str]]:
    from rouge_score.tokenize import tokenize

    stemmer = _stemmer() if stemmed else None
    return lambda text: list(tokenize(text, stemmer))


def _other_words(name: str) -> Callable[[str], list[str]]:
    tokenize = sacrebleu_tokenizer(name)
    return lambda text: [word for word in tokenize(text.lower()).split() if any(map(str.isalnum, word))]


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    """Porter's, which remembers: stemming is most of the work otherwise."""
    from nltk.stem.porter import PorterStemmer

    stemmer = PorterStemmer()
    stemmer.stem = lru_cache(maxsize=1 << 18)(stemmer.stem)
    return stemmer


def signatures(predictions: Predictions) -> dict[str, str]:
    """How ROUGE was computed, for a report."""
    return {
        "rouge": f"nrefs:{_references(predictions)}|tok:{predictions.tokenizer}|rouge-score:{version('rouge-score')}"
    }


def _references(predictions: Predictions) -> str:
    counts = {len(row) for row in predictions.references}
    return str(counts.pop()) if len(counts) == 1 else "var"


def row_scores(predictions: Predictions) -> tuple[str, Array]:
    """The metric that a row has by itself, and its value for each: [rows]."""
    return "rougeL", predictions.rows("rougeL")


def rouge_figures(sums: Array) -> Mapping[str, Array]:
    """Means over rows, where any row has a word: [draws, 6] -> name: [draws]."""
    rows = np.where(sums[:, 1] > 0, sums[:, 0], np.nan)
    return {name: sums[:, 2 + place] / rows for place, name in enumerate(NAMES)}


def _rouge(name: str, predictions: Predictions) -> float:
    if name not in predictions.counted.values:
        raise Undefined(f"no reference has a word for the tokenizer {predictions.tokenizer!r}; another may read them")
    return predictions.counted.values[name]


METRICS = TaskMetrics[Predictions](TASK, {name: partial(_rouge, name) for name in NAMES})
score = METRICS.score
score_what_applies = METRICS.score_what_applies
