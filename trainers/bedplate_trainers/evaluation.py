"""Evaluation of a model on labeled rows, and of two on the same rows.

A model with a head answers through the predictor that also serves it. A base has nothing to answer with: it gets a
*probe*, a logistic regression on its frozen features, which learns from training data and is labeled so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_registry.tasks import architecture_of, get_task

from .data import Examples, check_pairs, read_examples
from .labels import LabelSet, label_names, learn_labels, some, sorted_labels
from .messages import EvaluateRequest
from .settings import EvaluateSettings

if TYPE_CHECKING:
    from .report import Judged

__all__ = ["EvaluateRequest", "evaluate", "has_head", "judge_model"]

TASK: Final = "text-classification"
# Rows scored between two reports of progress. They are sorted by length first, so little is padded all the same.
CHUNK_ROWS = 256
Scorer = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class _Rows:
    """What an evaluation is about."""

    test: Examples
    train: Examples | None


def evaluate(request: EvaluateRequest, reporter: Reporter) -> dict[str, Any]:
    """The report of the model, and of the one it is held against."""
    if get_task(request.task).name != TASK:
        raise Refused(f"{request.task} cannot be evaluated by this release.", code="no-recipe")
    settings = EvaluateSettings.from_mapping(request.settings, request.task)
    models = [(request.model_dir, request.model_derived)]
    if request.against_dir:
        models.append((request.against_dir, request.against_derived))
    _check_bases([folder for folder, _ in models], request)
    reporter.progress("load", 0, 1)
    rows = _read(request, settings)

    from .report import difference, make_report

    mine, *others = [_judge(folder, derived, rows, request.device, reporter) for folder, derived in models]
    report = make_report(mine, settings)
    if rows.train is not None:
        reporter.progress("baselines", 0, 1)
        report["baselines"] = _baselines(mine, rows.train, settings.seed, reporter)
    for other in others:
        report["against"] = make_report(other, settings)
        report["difference"] = difference(mine, other, settings)
    return report


def has_head(folder: Path) -> bool:
    """Whether the model in `folder` can answer by itself."""
    return get_task(TASK).fits(architecture_of(_config(folder)))


def judge_model(
    folder: Path,
    examples: Examples,
    device: str,
    reporter: Reporter,
    phase: str = "evaluate",
    derived: Path | None = None,
) -> Judged:
    """A model with a head on labeled rows; labels it does not have are refused by name."""
    from bedplate_serving.predictors import load_predictor

    predictor = load_predictor(folder, TASK, device=device, derived=derived)
    labels = LabelSet(predictor.labels, _config(folder).get("problem_type") == "multi_label_classification")
    examples = _in_words_of(labels, examples, "The data", reporter)
    _check_fit(labels, examples, "the model")
    return _score(examples, labels, "model", predictor.probabilities, reporter, phase)


def _judge(folder: Path, derived: Path | None, rows: _Rows, device: str, reporter: Reporter) -> Judged:
    if has_head(folder):
        return judge_model(folder, rows.test, device, reporter, derived=derived)
    assert rows.train is not None  # _check_bases
    return _judge_base(folder, rows.test, rows.train, device, reporter)


def _judge_base(folder: Path, test: Examples, train: Examples, device: str, reporter: Reporter) -> Judged:
    """The probe: what a linear model makes of the base's frozen features."""
    from bedplate_serving.predictors import load_predictor

    from .linear import fit_linear, linear_probabilities, targets_of

    labels = _learn(train)
    _check_fit(labels, test, "the training data")
    extractor = load_predictor(folder, None, device=device)
    features = _in_chunks(train, extractor.features, reporter, "features")
    reporter.progress("probe", 0, 1)
    model = fit_linear(features, targets_of(train, labels))

    def probabilities(items: Sequence[Any]) -> Any:
        return linear_probabilities(model, extractor.features(items), labels)

    return _score(test, labels, "probe", probabilities, reporter, "evaluate")


def _baselines(mine: Judged, train: Examples, seed: int, reporter: Reporter) -> dict[str, dict[str, float]]:
    """In the words of the model; a label that only the tested rows have is one that no baseline ever says."""
    from .linear import baselines

    if mine.kind == "model":
        train = _in_words_of(mine.labels, train, "The training data", reporter)
    tested = {name for row in mine.examples for name in row.labels}
    names = sorted_labels({*_learn(train).names, *tested})
    return baselines(train, mine.examples, LabelSet(names, train.multi_label), seed)


def _score(examples: Examples, labels: LabelSet, kind: str, scorer: Scorer, reporter: Reporter, phase: str) -> Judged:
    from .report import Judged

    start = time.perf_counter()
    probabilities = _in_chunks(examples, scorer, reporter, phase)
    return Judged(kind, labels, examples, probabilities, time.perf_counter() - start)


def _in_chunks(examples: Examples, scorer: Scorer, reporter: Reporter, phase: str) -> Any:
    """Scores of all rows, in their order."""
    import numpy as np

    rows = examples.rows
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].text) + len(rows[place].pair or ""))
    found = []
    for at in range(0, len(order), CHUNK_ROWS):
        chunk = order[at : at + CHUNK_ROWS]
        found.append(scorer([rows[place].input for place in chunk]))
        reporter.progress(phase, at + len(chunk), len(order), "rows")
    scores = np.concatenate(found)
    return scores[np.argsort(order)]


def _read(request: EvaluateRequest, settings: EvaluateSettings) -> _Rows:
    test = read_examples(request.data, request.columns, "The data", settings.class_names)
    if request.train is None:
        return _Rows(test, None)
    train = read_examples(request.train, request.columns, "The training data", settings.class_names)
    check_pairs({"The training data": train, "The data": test})
    _check_kind(train, "The training data", test, "the data")
    return _Rows(test, train)


def _learn(train: Examples) -> LabelSet:
    return learn_labels([row.labels for row in train], train.multi_label)


def _check_bases(folders: Sequence[Path], request: EvaluateRequest) -> None:
    for folder in folders:
        if request.train is None and not has_head(folder):
            raise Refused(
                "The model is a base: it has no head to answer with, so there is nothing to evaluate as it is.",
                hint="Give training data with --train: a probe on its frozen features is then evaluated.",
                code="base-needs-training-data",
            )


def _check_fit(labels: LabelSet, examples: Examples, of: str) -> None:
    _check_kind(examples, "The data", labels, of)
    labels.check(examples.found_labels, "The data", of)


def _check_kind(examples: Examples, what: str, labels: LabelSet | Examples, of: str) -> None:
    if examples.multi_label != labels.multi_label:
        kinds = ("one label a row", "a list of labels a row")
        raise Refused(
            f"{what} has {kinds[examples.multi_label]}, and {of} has {kinds[labels.multi_label]}.",
            hint="Map another column to label, or take another model.",
            code="mixed-labels",
        )


def _in_words_of(labels: LabelSet, examples: Examples, what: str, reporter: Reporter) -> Examples:
    """Data that numbers its labels from 0, for a model that names them: number n is the model's n-th."""
    found = {name for row in examples for name in row.labels}
    if not found or found & set(labels.names) or not all(name.isdecimal() for name in found):
        return examples
    if max(map(int, found)) >= len(labels.names):
        return examples
    if "0" not in found:
        raise _not_from_zero(labels, found, what)
    names = some([f"{number} {name}" for number, name in enumerate(labels.names)])
    reporter.message(f"{what} numbers its labels; the model's names were taken in order: {names}.")
    rows = tuple(replace(row, labels=label_names(row.labels, labels.names)) for row in examples)
    return replace(examples, rows=rows)


def _not_from_zero(labels: LabelSet, found: Iterable[str], what: str) -> Refused:
    """Ratings from 1 to 4 would all be read one too high."""
    return Refused(
        f"{what} has the labels {some(sorted_labels(found))} and no 0, and the model has names for its labels.",
        hint=f"Known labels: {some(labels.names)}. If the numbers count from 0, say so: class_names with these labels.",
        code="unknown-label",
    )


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
