"""Token classification: a tagger's tags for given words, by the predictor that also serves it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_trainers.examiners.base import Setup, in_chunks
from bedplate_trainers.examiners.numbered import numbers_stand_for_names
from bedplate_trainers.examiners.tag_report import Judged, difference, make_report
from bedplate_trainers.labels import LabelSet, label_names
from bedplate_trainers.latency import time_single
from bedplate_trainers.messages import DataFile
from bedplate_trainers.metrics.token_classification import Predictions, score_what_applies
from bedplate_trainers.predicted import Predicted
from bedplate_trainers.slice_columns import Columns
from bedplate_trainers.stored_rows import store
from bedplate_trainers.tagged import TaggedRow, TaggedRows, read_tagged, sorted_tags

__all__ = ["Examiner"]

TASK: Final = "token-classification"
BASELINE_METRICS = ("accuracy", "precision_score_micro", "recall_score_micro", "f1_score_micro")
Tags = list[list[str]]


class Examiner:
    """examiners.base.Examiner for taggers."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def read(self, file: DataFile, what: str) -> TaggedRows:
        return read_tagged(file, self._setup.columns, what, self._setup.settings.class_names)

    def judge(self, folder: Path, rows: TaggedRows, phase: str = "evaluate", derived: Path | None = None) -> Judged:
        """Tags that the model does not have are refused by name."""
        from bedplate_serving.predictors import load_predictor
        from bedplate_serving.predictors.token_classification import TokenClassifier

        predictor = load_predictor(folder, TASK, device=self._setup.device, derived=derived)
        assert isinstance(predictor, TokenClassifier)
        labels = LabelSet(predictor.labels, multi_label=False)
        rows = _in_words_of(labels, rows, "The data", self._setup.reporter)
        labels.check(rows.found_labels, "The data", "the model")

        def tag(chunk: list[Any]) -> Sequence[Any]:
            return predictor.tag_words([row.tokens for row in chunk])

        start = time.perf_counter()
        found = in_chunks(rows.rows, lambda row: len(row.tokens), tag, self._setup.reporter, phase)
        seconds = time.perf_counter() - start
        latency = time_single(rows.rows, tag, self._setup.settings.latency_rows)
        tags, confidence = (store(one[key] for one in found) for key in ("tags", "scores"))
        return Judged(labels, rows, tags, confidence, seconds, latency)

    def probe(self, folder: Path, rows: TaggedRows, train: TaggedRows) -> Judged:
        raise NotImplementedError(f"{TASK} has no probe: examiners.PROBED")

    def said(self, rows: TaggedRows, predicted: Sequence[Predicted]) -> Judged:
        """Known are the tags of the data, and class_names."""
        names = self._setup.settings.class_names
        labels = LabelSet(sorted_tags({*(tag for row in rows for tag in row.labels), *names}), False)
        tags = [_said(row, one, labels, names) for row, one in zip(rows, predicted, strict=True)]
        return Judged(labels, rows, tags, None, 0.0)

    def report(self, judged: Judged, columns: Columns | None = None) -> dict[str, Any]:
        return make_report(judged, self._setup.settings, columns)

    def rows_of(self, judged: Judged) -> Judged:
        return judged

    def difference(self, mine: Judged, other: Judged) -> dict[str, dict[str, float]]:
        return difference(mine, other, self._setup.settings)

    def baselines(self, mine: Judged, train: TaggedRows | None) -> dict[str, dict[str, float]]:
        """`majority` says the commonest tag of all words, `word` the commonest of each word that training rows have."""
        if train is None:
            return {}
        reporter = self._setup.reporter
        reporter.progress("baselines", 0, 1)
        train = _in_words_of(mine.labels, train, "The training data", reporter)
        commonest, by_word = _commonest_tags(train)
        said: dict[str, Tags] = {
            "majority": [[commonest] * len(row.tokens) for row in mine.rows],
            "word": [[by_word.get(token, commonest) for token in row.tokens] for row in mine.rows],
        }
        found = {
            name: score_what_applies(Predictions(mine.for_metrics(tags), mine.references), BASELINE_METRICS)[0]
            for name, tags in said.items()
        }
        reporter.progress("baselines", 1, 1)
        return found


def _said(row: TaggedRow, one: Predicted, labels: LabelSet, class_names: Sequence[str]) -> list[str]:
    """The tags of one row. Raises Refused, which names it."""
    if not isinstance(one.value, list) or len(one.value) != len(row.tokens):
        given = f"{len(one.value)} tags" if isinstance(one.value, list) else "no list of tags"
        raise one.refused(f"has {given} for {len(row.tokens)} tokens", "Give one tag for each token.")
    try:
        tags = [label_names(tag, class_names)[0] for tag in one.value]
    except Refused as problem:
        raise one.refused(problem.message, problem.hint) from problem
    for tag in tags:
        one.check_known(tag, labels.names, "tag")
    return tags


def _commonest_tags(train: TaggedRows) -> tuple[str, dict[str, str]]:
    """Over all words, and of each word; of equally common ones the first."""
    every, by_word = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for row in train:
        every.update(row.tags)
        for token, tag in zip(row.tokens, row.tags, strict=True):
            by_word[token][tag] += 1
    return every.most_common(1)[0][0], {word: tags.most_common(1)[0][0] for word, tags in by_word.items()}


def _in_words_of(labels: LabelSet, rows: TaggedRows, what: str, reporter: Reporter) -> TaggedRows:
    """With the names of the model where the data has their numbers."""
    found = {tag for row in rows for tag in row.labels}
    if not numbers_stand_for_names(labels.names, found, what, reporter):
        return rows
    names = {tag: label_names(tag, labels.names)[0] for tag in found}
    return TaggedRows(store(replace(row, tags=tuple(names[tag] for tag in row.tags)) for row in rows))
