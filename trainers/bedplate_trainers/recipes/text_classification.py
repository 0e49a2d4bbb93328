"""Text classification: one text or a pair, one label a row or a list of them (multi-label).

read -> split -> tokenize -> train -> save -> test with the predictor that will serve the model -> baselines
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_trainers.data import Examples, check_pairs, read_examples
from bedplate_trainers.encoding import EncodedRows, encode_texts
from bedplate_trainers.labels import LabelSet, learn_labels
from bedplate_trainers.linear import baselines, targets_of
from bedplate_trainers.messages import AUTO, DataFile, FinetuneRequest, FinetuneResult
from bedplate_trainers.metrics.classification import Predictions, score
from bedplate_trainers.pretrained import (
    figures_of,
    load_classifier,
    load_tokenizer,
    packages,
    pick_device,
    pick_precision,
    quiet,
)
from bedplate_trainers.settings import EvaluateSettings, FinetuneSettings, Resolved, resolve
from bedplate_trainers.splits import overlap, split_off
from bedplate_trainers.training import Loss, Plan, Trained, train

__all__ = ["Prepared", "Sets", "prepare", "run"]

Array = np.ndarray[Any, Any]
FEWEST_TRAIN_ROWS = 10
# Scored at each evaluation while training; the report has them all.
RUNNING_METRICS = ("accuracy", "f1_score_macro")


@dataclass(frozen=True)
class Sets:
    """The rows, in their three parts, and the labels that the training rows have."""

    train: Examples
    validation: Examples | None
    test: Examples | None
    labels: LabelSet


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs."""

    sets: Sets
    tokenizer: Any
    plan: Plan
    resolved: Resolved


def run(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    start = time.perf_counter()
    prepared = prepare(request, reporter)
    trained = train(prepared.plan, reporter, resume=resume)
    if not trained.is_writer:
        return None

    reporter.progress("save", 0, 1)
    prepared.plan.model.save_pretrained(request.output_dir)
    prepared.tokenizer.save_pretrained(request.output_dir)
    reporter.progress("save", 1, 1)
    metrics, report = _judge(prepared, request, reporter)
    return _result(prepared, trained, metrics, report, time.perf_counter() - start)


def prepare(request: FinetuneRequest, reporter: Reporter) -> Prepared:
    """From files to tensors. The same request gives the same result, in every process of a run."""
    quiet()
    reporter.progress("load", 0, 3)
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    sets = _read_sets(request, settings, reporter)
    reporter.progress("load", 1, 3)
    tokenizer = load_tokenizer(request.model_dir)
    model, labels = load_classifier(
        request.model_dir, sets.labels, settings.seed, replace_head=settings.ignore_mismatched_sizes
    )
    sets = replace(sets, labels=labels)
    reporter.progress("load", 2, 3)
    device = pick_device(request.device)
    resolved = resolve(
        settings,
        figures_of(model, tokenizer),
        len(sets.train),
        device,
        labels=len(labels.names),
        processes=request.processes,
    )
    resolved = _with_precision(resolved, device)
    reporter.progress("load", 3, 3)
    plan = Plan(
        model=model,
        train=_encode(tokenizer, sets.train, sets.labels, resolved.settings, device, reporter),
        validation=_encode(tokenizer, sets.validation, sets.labels, resolved.settings, device, reporter)
        if sets.validation is not None
        else None,
        loss=make_loss(sets.train, labels, resolved.settings),
        scores=_running_scores(labels, resolved.settings),
        settings=resolved.settings,
        work_dir=request.work_dir,
        device=device,
        processes=request.processes,
    )
    return Prepared(sets, tokenizer, plan, resolved)


# --- rows


def _read_sets(request: FinetuneRequest, settings: FinetuneSettings, reporter: Reporter) -> Sets:
    """Reads what is given and splits off the rest; labels of other rows that the training rows lack are refused."""

    def read(file: DataFile, what: str) -> Examples:
        return read_examples(file, request.columns, what, settings.class_names)

    rest = read(request.train, "The training data")
    test = read(request.test, "The test data") if isinstance(request.test, DataFile) else None
    validation = read(request.validation, "The validation data") if isinstance(request.validation, DataFile) else None
    files = {"The training data": rest, "The validation data": validation, "The test data": test}
    check_pairs({what: rows for what, rows in files.items() if rows is not None})
    count = len(rest)  # fractions are of all rows, whichever part is split off first
    if request.test == AUTO:
        rest, test = _split(rest, settings.test_fraction, settings, "test", reporter)
    if request.validation == AUTO:
        fraction = settings.validation_fraction * count / len(rest)
        rest, validation = _split(rest, fraction, settings, "validation", reporter)
    _check_enough(rest)
    labels = learn_labels([row.labels for row in rest], rest.multi_label)
    for name, held in (("validation", validation), ("test", test)):
        if held is not None:
            _check_held(name, held, rest, labels, reporter)
    return Sets(rest, validation, test, labels)


def _split(
    rows: Examples, fraction: float, settings: FinetuneSettings, purpose: str, reporter: Reporter
) -> tuple[Examples, Examples | None]:
    split = split_off(rows, fraction, settings.split_seed, purpose)
    if not split.held.rows:
        reporter.message(f"{len(rows)} rows are too few to split off any for {purpose}: it is left out.")
        return rows, None
    return split.train, split.held


def _check_enough(rows: Examples) -> None:
    if len(rows) < FEWEST_TRAIN_ROWS:
        raise Refused(
            f"There are {len(rows)} rows to train on; at least {FEWEST_TRAIN_ROWS} are needed.",
            hint="Add rows, or give --validation and --test as files.",
            code="too-few-rows",
        )


def _check_held(name: str, held: Examples, rest: Examples, labels: LabelSet, reporter: Reporter) -> None:
    if held.multi_label != labels.multi_label:
        raise Refused(
            f"The {name} data and the training data differ: lists of labels in one, single labels in the other.",
            hint="Map the same kind of column to label in both.",
            code="mixed-labels",
        )
    labels.check(held.found_labels, f"The {name} data", "the training data")
    if twins := overlap(held, rest):
        reporter.message(f"{twins} of {len(held)} {name} rows have an input that the training rows have too.")


# --- tensors


def _encode(
    tokenizer: Any, rows: Examples, labels: LabelSet, settings: FinetuneSettings, device: str, reporter: Reporter
) -> EncodedRows:
    targets = targets_of(rows, labels)
    if labels.multi_label:
        targets = targets.astype(np.float32)
    multiple = 8 if device == "cuda" else 1  # tensor cores
    return encode_texts(tokenizer, rows.rows, targets, int(settings.max_seq_length), reporter, multiple)


def make_loss(rows: Examples, labels: LabelSet, settings: FinetuneSettings) -> Loss:
    """Cross entropy, or binary cross entropy per label; weighted by how rare a label is, if so set."""
    smoothing = settings.label_smoothing_factor
    weights = _balanced(rows, labels) if settings.class_weights == "balanced" else None

    def single(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        weight = None if weights is None else weights.to(logits.device)
        return functional.cross_entropy(logits, targets, weight=weight, label_smoothing=smoothing)

    def several(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        weight = None if weights is None else weights.to(logits.device)
        smooth = targets * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weight)

    return several if labels.multi_label else single


def _balanced(rows: Examples, labels: LabelSet) -> torch.Tensor:
    """rows / (labels x rows of that label); with several labels a row, rows without over rows with."""
    targets = targets_of(rows, labels)
    if labels.multi_label:
        having = np.maximum(targets.sum(axis=0), 1)
        return torch.tensor((len(targets) - having) / having, dtype=torch.float32)
    having = np.bincount(targets, minlength=len(labels.names))
    return torch.tensor(len(targets) / (len(labels.names) * having), dtype=torch.float32)


def _with_precision(resolved: Resolved, device: str) -> Resolved:
    precision, reason = pick_precision(resolved.settings.precision, device)
    reasons = resolved.reasons | ({"precision": reason} if "precision" in resolved.reasons else {})
    return Resolved(replace(resolved.settings, precision=precision), reasons)


# --- figures


def _running_scores(labels: LabelSet, settings: FinetuneSettings) -> Any:
    wanted = settings.metric_for_best_model
    names = tuple(dict.fromkeys((*RUNNING_METRICS, *(() if wanted == "loss" else (wanted,)))))

    def scores(logits: Array, targets: Array) -> Mapping[str, float]:
        return score(Predictions(_probabilities(logits, labels.multi_label), targets.astype(np.int64)), names)

    return scores


def _probabilities(logits: Array, multi_label: bool) -> Array:
    values = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    return np.asarray((values.sigmoid() if multi_label else values.softmax(dim=1)).numpy())


def _judge(
    prepared: Prepared, request: FinetuneRequest, reporter: Reporter
) -> tuple[dict[str, float], dict[str, Any] | None]:
    """Validation metrics and the test report, by the saved model and the predictor that will serve it."""
    from bedplate_trainers.evaluation import judge_model
    from bedplate_trainers.metrics.classification import score_what_applies
    from bedplate_trainers.report import make_report

    sets, metrics, report = prepared.sets, dict[str, float](), None
    device = prepared.plan.device
    if sets.validation is not None:
        judged = judge_model(request.output_dir, sets.validation, device, reporter)
        metrics, _ = score_what_applies(judged.predictions)
    if sets.test is not None:
        judged = judge_model(request.output_dir, sets.test, device, reporter, "test")
        report = make_report(judged, EvaluateSettings())
        reporter.progress("baselines", 0, 1)
        report["baselines"] = baselines(sets.train, sets.test, sets.labels, prepared.plan.settings.seed)
        reporter.progress("baselines", 1, 1)
    return metrics, report


def _result(
    prepared: Prepared, trained: Trained, metrics: dict[str, float], report: dict[str, Any] | None, seconds: float
) -> FinetuneResult:
    sets = prepared.sets
    return FinetuneResult(
        metrics=metrics,
        report=report,
        baselines=report["baselines"] if report else {},
        labels=sets.labels.names,
        steps=trained.steps,
        best_step=trained.best_step,
        epochs=trained.epochs,
        train_rows=len(sets.train),
        validation_rows=_count(sets.validation),
        test_rows=_count(sets.test),
        seconds=round(seconds, 3),
        samples_per_second=round(trained.samples_per_second, 2),
        resolved=prepared.resolved.to_json(),
        packages=packages(),
    )


def _count(rows: Examples | None) -> int:
    return len(rows) if rows is not None else 0
