"""Text classification: one text or a pair, one label a row or a list of them (multi-label).

read -> split -> tokenize -> train -> save -> test with the predictor that will serve the model -> baselines
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_trainers.data import Examples, check_pairs, read_examples
from bedplate_trainers.encoding import EncodedRows, encode_texts
from bedplate_trainers.labels import LabelSet, learn_labels
from bedplate_trainers.linear import targets_of
from bedplate_trainers.messages import DataFile, FinetuneRequest, FinetuneResult
from bedplate_trainers.metrics.classification import Predictions, score
from bedplate_trainers.objectives import ClassLoss, LabelsLoss, balanced, mean_loss
from bedplate_trainers.plan import Objective, inputs_of, watched
from bedplate_trainers.pretrained import figures_of, load_classifier, load_tokenizer, set_padding
from bedplate_trainers.recipes.base import Prepared, make_plan, pad_multiple, resolve_for, run_recipe
from bedplate_trainers.sets import Sets, read_sets
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.token_cache import TokenCache

__all__ = ["prepare", "run"]

# Scored at each evaluation while training; the report has them all.
RUNNING_METRICS = ("accuracy", "f1_score_macro")


def run(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    return run_recipe(prepare, request, reporter, resume=resume)


def prepare(request: FinetuneRequest, reporter: Reporter) -> Prepared:
    """From files to tensors. The same request gives the same result, in every process of a run."""
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    sets, labels = _read_sets(request, settings, reporter)
    reporter.progress("load", 1, 3)
    tokenizer = load_tokenizer(request.model_dir)
    model, labels = load_classifier(
        request.model_dir, labels, settings.seed, replace_head=settings.ignore_mismatched_sizes
    )
    set_padding(model, tokenizer)
    reporter.progress("load", 2, 3)
    resolved = resolve_for(request, settings, figures_of(model, tokenizer), len(sets.train), labels=len(labels.names))
    reporter.progress("load", 3, 3)
    tokenizer.model_max_length = int(resolved.settings.max_seq_length)  # served, texts are cut where they were here
    cache = TokenCache(request.work_dir, tokenizer, reporter)
    encode = partial(_encode, tokenizer, labels, reporter, pad_multiple(request), cache)
    objective = make_objective(sets.train, labels, resolved.settings)
    train = encode(sets.train)
    judge = _Judge(encode(sets.validation), objective, labels, resolved.settings) if sets.validation else None
    plan = make_plan(request, resolved, model, train, judge, objective, [row.row for row in sets.train])
    return Prepared(plan, tokenizer, resolved, sets, labels.names)


# --- rows


def _read_sets(
    request: FinetuneRequest, settings: FinetuneSettings, reporter: Reporter
) -> tuple[Sets[Examples], LabelSet]:
    """The rows and the labels of those to train on; labels of other rows that these lack are refused."""

    def read(file: DataFile, what: str) -> Examples:
        return read_examples(file, request.columns, what, settings.class_names)

    sets = read_sets(request, settings, read, reporter, check_pairs)
    labels = learn_labels([row.labels for row in sets.train], sets.train.multi_label)
    for name, held in sets.held.items():
        _check_held(name, held, labels)
    return sets, labels


def _check_held(name: str, held: Examples, labels: LabelSet) -> None:
    if held.multi_label != labels.multi_label:
        raise Refused(
            f"The {name} data and the training data differ: lists of labels in one, single labels in the other.",
            hint="Map the same kind of column to label in both.",
            code="mixed-labels",
        )
    labels.check(held.found_labels, f"The {name} data", "the training data")


# --- tensors


def _encode(
    tokenizer: Any, labels: LabelSet, reporter: Reporter, multiple: int, cache: TokenCache, rows: Examples
) -> EncodedRows:
    targets = targets_of(rows, labels)
    if labels.multi_label:
        targets = targets.astype(np.float32)
    return encode_texts(tokenizer, rows.rows, targets, tokenizer.model_max_length, reporter, multiple, cache.keep)


def make_objective(rows: Examples, labels: LabelSet, settings: FinetuneSettings) -> Objective:
    """Cross entropy, or binary cross entropy per label; weighted by how rare a label is, if so set."""
    weights = _weights(rows, labels) if settings.class_weights == "balanced" else None
    kind = LabelsLoss if labels.multi_label else ClassLoss
    return kind(settings.label_smoothing_factor, weights)


def _weights(rows: Examples, labels: LabelSet) -> torch.Tensor:
    """Of each label; with several labels a row, rows without it over rows with."""
    targets = targets_of(rows, labels)
    if not labels.multi_label:
        return balanced(targets, len(labels.names))
    having = np.maximum(targets.sum(axis=0), 1)
    lacking = np.maximum(len(targets) - having, 1)  # a label that all rows have is learned all the same
    return torch.tensor(lacking / having, dtype=torch.float32)


# --- figures


class _Judge:
    """Loss and a few metrics of the validation rows."""

    def __init__(self, rows: EncodedRows, objective: Objective, labels: LabelSet, settings: FinetuneSettings) -> None:
        self._names = watched(RUNNING_METRICS, settings)
        self._rows, self._objective, self._many = rows, objective, labels.multi_label
        self.lengths = rows.lengths
        # What these rows give no value is refused now, and not after an epoch.
        self._score(np.full((len(rows), len(labels.names)), 1 / len(labels.names)))

    def predict(self, model: Any, rows: Sequence[int], device: torch.device) -> list[Any]:
        """The logits of each row."""
        logits = model(**inputs_of(self._rows.__getitems__(rows), device)).logits
        return [*logits.float().cpu().numpy()]

    def scores(self, predictions: Sequence[Any]) -> Mapping[str, float]:
        logits = np.stack(predictions)
        found = self._score(_probabilities(logits, self._many))
        return {"loss": mean_loss(self._objective, logits, self._rows.targets["labels"]), **found}

    def _score(self, probabilities: Any) -> dict[str, float]:
        targets = self._rows.targets["labels"].numpy().astype(np.int64)
        return score(Predictions(probabilities, targets), self._names)


def _probabilities(logits: Any, multi_label: bool) -> Any:
    values = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    return np.asarray((values.sigmoid() if multi_label else values.softmax(dim=1)).numpy())
