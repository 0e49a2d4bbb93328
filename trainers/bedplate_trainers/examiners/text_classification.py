"""Text classification: a classifier's probabilities on labeled rows, or those of a probe on a base's features.

A model with a head answers through the predictor that also serves it. A base has nothing to answer with: it gets a
*probe*, a logistic regression on its frozen features, which learns from training data and is labeled so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_serving.predictors.base import OnCut
from bedplate_trainers.data import check_pairs, read_examples
from bedplate_trainers.examiners.base import CutRows, Setup, chunks
from bedplate_trainers.examiners.class_report import Judged, difference, make_report
from bedplate_trainers.examiners.numbered import numbers_stand_for_names
from bedplate_trainers.examiners.said_labels import judged_of
from bedplate_trainers.labels import LabelSet, label_names, learn_labels, sorted_labels
from bedplate_trainers.latency import time_single
from bedplate_trainers.linear import baselines, fit_linear, linear_probabilities, targets_of
from bedplate_trainers.messages import DataFile
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.stored_rows import store

__all__ = ["Examiner"]

TASK: Final = "text-classification"
Scorer = Callable[[Sequence[Any], OnCut], Any]  # items as a predictor takes them -> a line of numbers for each


class Examiner:
    """examiners.base.Examiner for classifiers."""

    task: str = TASK

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def read(self, file: DataFile, what: str) -> Any:
        return read_examples(file, self._setup.columns, what, self._setup.settings.class_names)

    def judge(self, folder: Path, rows: Any, phase: str = "evaluate", derived: Path | None = None) -> Judged:
        """Labels that the model does not have are refused by name."""
        from bedplate_serving.predictors import load_predictor

        predictor: Any = load_predictor(folder, self.task, device=self._setup.device, derived=derived)
        many = _config(folder).get("problem_type") == "multi_label_classification"
        labels = LabelSet(predictor.labels, many)
        rows = _in_words_of(labels, rows, "The data", self._setup.reporter)
        _check_fit(labels, rows, "the model")
        self._positive(labels)
        return self._score(rows, labels, "model", predictor.probabilities, phase)

    def probe(self, folder: Path, rows: Any, train: Any) -> Judged:
        """What a linear model makes of the base's frozen features."""
        from bedplate_serving.predictors import load_predictor

        check_pairs({"The training data": train, "The data": rows})
        _check_kind(train, "The training data", rows, "the data")
        labels = _learn(train)
        _check_fit(labels, rows, "the training data")
        self._positive(labels)
        extractor = load_predictor(folder, None, device=self._setup.device)
        features = self._scores(train, extractor.features, "features")
        self._setup.reporter.progress("probe", 0, 1)
        model = fit_linear(features, targets_of(train, labels))

        def probabilities(items: Sequence[Any], on_cut: OnCut) -> Any:
            return linear_probabilities(model, extractor.features(items, on_cut), labels)

        return self._score(rows, labels, "probe", probabilities, "evaluate")

    def said(self, rows: Any, predicted: Sequence[Predicted]) -> Judged:
        """Known are the labels of the data, those of probabilities, and class_names."""
        judged = judged_of(rows, predicted, self._setup.settings.class_names)
        return replace(judged, positive=self._positive(judged.labels))

    def report(self, judged: Judged, columns: Columns | None = None) -> dict[str, Any]:
        return make_report(judged, self._setup.settings, columns, self.task)

    def rows_of(self, judged: Judged) -> Judged:
        return judged

    def difference(self, mine: Judged, other: Judged) -> dict[str, dict[str, float]]:
        return difference(mine, other, self._setup.settings)

    def baselines(self, mine: Judged, train: Any) -> dict[str, dict[str, float]]:
        """In the words of the model; a label that only the tested rows have is one that no baseline ever says."""
        if train is None:
            return {}
        reporter = self._setup.reporter
        _check_kind(train, "The training data", mine.examples, "the data")
        reporter.progress("baselines", 0, 1)
        if mine.kind == "model":
            train = _in_words_of(mine.labels, train, "The training data", reporter)
        tested = {name for row in mine.examples for name in row.labels}
        names = sorted_labels({*_learn(train).names, *tested})
        found = self.simple(train, mine.examples, LabelSet(names, train.multi_label))
        reporter.progress("baselines", 1, 1)
        return found

    def simple(self, train: Any, rows: Any, labels: LabelSet) -> dict[str, dict[str, float]]:
        """The metrics of what needs no model, by its name."""
        check_pairs({"The training data": train, "The data": rows})
        return baselines(train, rows, labels, self._setup.settings.seed)

    def items(self, rows: Any, chunk: list[Any]) -> list[Any]:
        """Rows as the predictor takes them."""
        return [row.input for row in chunk]

    def length(self, row: Any) -> int:
        """What rows are scored in the order of."""
        return len(row.text) + len(row.pair or "")

    def _score(self, rows: Any, labels: LabelSet, kind: str, scorer: Scorer, phase: str) -> Judged:
        start = time.perf_counter()
        probabilities = self._scores(rows, scorer, phase)
        seconds = time.perf_counter() - start
        most = self._setup.settings.latency_rows
        latency = time_single(rows.rows, lambda chunk: scorer(self.items(rows, chunk), _ignore), most)
        return Judged(kind, labels, rows, probabilities, seconds, latency, positive=self._positive(labels))

    def _positive(self, labels: LabelSet) -> int:
        """Asked before rows are scored as well: what is refused should be so at once."""
        return labels.positive(self._setup.settings.positive_label)

    def _scores(self, rows: Any, scorer: Scorer, phase: str) -> Any:
        """A line of numbers for each row, in their order. (An array for each would take more than the numbers.)"""
        found: Any = None
        cut = CutRows()

        def score(chunk: list[Any]) -> Any:
            return scorer(self.items(rows, chunk), cut.among(chunk))

        for places, said in chunks(rows.rows, self.length, score, self._setup.reporter, phase):
            if found is None:
                found = np.zeros((len(rows), np.shape(said)[1]), dtype=np.asarray(said).dtype)
            found[places] = said
        cut.tell(len(rows), self._setup.reporter)
        return found


def _ignore(place: int) -> None:
    """Rows that are timed were told of already."""


def _learn(train: Any) -> LabelSet:
    return learn_labels([row.labels for row in train], train.multi_label)


def _check_fit(labels: LabelSet, examples: Any, of: str) -> None:
    _check_kind(examples, "The data", labels, of)
    labels.check(examples.found_labels, "The data", of)


def _check_kind(examples: Any, what: str, labels: Any, of: str) -> None:
    if examples.multi_label != labels.multi_label:
        kinds = ("one label a row", "a list of labels a row")
        raise Refused(
            f"{what} has {kinds[examples.multi_label]}, and {of} has {kinds[labels.multi_label]}.",
            hint="Map another column to label, or take another model.",
            code="mixed-labels",
        )


def _in_words_of(labels: LabelSet, examples: Any, what: str, reporter: Reporter) -> Any:
    """With the names of the model where the data has their numbers."""
    found = {name for row in examples for name in row.labels}
    if not numbers_stand_for_names(labels.names, found, what, reporter):
        return examples
    rows = store(replace(row, labels=label_names(row.labels, labels.names)) for row in examples)
    return replace(examples, rows=rows)


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
