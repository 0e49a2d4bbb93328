"""Linear classifiers to measure a fine-tuned model against: TF-IDF on words, and the probe on a base's features."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from .data import Example, Examples
from .labels import LabelSet
from .metrics.classification import Predictions, score

__all__ = ["BASELINE_METRICS", "baselines", "fit_linear", "linear_probabilities", "majority", "targets_of"]

Array = np.ndarray[Any, Any]


class Labeled(Protocol):
    """A row of any task that has labels."""

    @property
    def labels(self) -> tuple[str, ...]: ...


BASELINE_METRICS = ("accuracy", "f1_score_macro")
# More rows hardly change a linear model on words, and fitting grows with them.
MOST_ROWS = 50_000
TFIDF_C, PROBE_C = 10.0, 1.0


def targets_of(examples: Iterable[Labeled], labels: LabelSet) -> Array:
    """Label numbers [rows], or 0 and 1 [rows, labels] where a row may have several."""
    index = labels.index
    if not labels.multi_label:
        return np.array([index[row.labels[0]] for row in examples], dtype=np.int64)
    rows = list(examples)
    hot = np.zeros((len(rows), len(index)), dtype=np.int64)
    for place, row in enumerate(rows):
        hot[place, [index[name] for name in row.labels]] = 1
    return hot


def baselines(train: Examples, test: Examples, labels: LabelSet, seed: int) -> dict[str, dict[str, float]]:
    """What one gets for next to nothing: always the most frequent label, and words with a linear model."""
    targets = targets_of(test, labels)
    said = {"majority": majority(train, len(test), labels), "tfidf": _tfidf(train, test, labels, seed)}
    return {name: score(Predictions(values, targets), BASELINE_METRICS) for name, values in said.items()}


def majority(train: Iterable[Labeled], rows: int, labels: LabelSet) -> Array:
    """The most frequent label (or set of labels) of the training rows, for every row."""
    most, _ = Counter(tuple(sorted(row.labels)) for row in train).most_common(1)[0]
    said = np.zeros((rows, len(labels.names)))
    said[:, [labels.index[name] for name in most]] = 1.0
    return said


def _tfidf(train: Examples, test: Examples, labels: LabelSet, seed: int) -> Array:
    rows = _sample(train.rows, seed)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        words = vectors.fit_transform([_joined(row) for row in rows])
    except ValueError:  # no word in any row: there is nothing to learn from
        return majority(train, len(test), labels)
    model = fit_linear(words, targets_of(rows, labels), TFIDF_C)
    return linear_probabilities(model, vectors.transform([_joined(row) for row in test]), labels)


def fit_linear(features: Any, targets: Array, strength: float = PROBE_C) -> Any:
    """A logistic regression; one per label where a row may have several."""
    model: Any = LogisticRegression(C=strength, max_iter=1000)
    if targets.ndim == 2:
        model = OneVsRestClassifier(model)
    with warnings.catch_warnings():
        # Not at the very optimum, or a label that all rows or none have: both are good enough for a yardstick.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        warnings.filterwarnings("ignore", message="Label not .* is present in all training examples")
        return model.fit(features, targets)


def linear_probabilities(model: Any, features: Any, labels: LabelSet) -> Array:
    """[rows, labels] in the order of the label set; labels the model never saw get 0."""
    found = np.asarray(model.predict_proba(features), dtype=np.float64)
    if labels.multi_label:
        return found
    said = np.zeros((len(found), len(labels.names)))
    said[:, np.asarray(model.classes_)] = found
    return said


def _sample(rows: Sequence[Example], seed: int) -> Sequence[Example]:
    if len(rows) <= MOST_ROWS:
        return rows
    places = np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)
    return [rows[place] for place in sorted(places)]


def _joined(row: Example) -> str:
    return row.text if row.pair is None else f"{row.text} {row.pair}"
