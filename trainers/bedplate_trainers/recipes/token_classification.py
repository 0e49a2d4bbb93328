"""Token classification: a tag for each word of a list of words.

read -> split -> tokenize into windows -> train -> save -> test with the predictor that will serve it -> baselines
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_trainers.encoding import EncodedRows, Vector
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.messages import DataFile, FinetuneRequest, FinetuneResult
from bedplate_trainers.metrics.token_classification import Predictions, score_what_applies
from bedplate_trainers.objectives import ClassLoss, balanced, mean_loss
from bedplate_trainers.plan import Objective, inputs_of, watched
from bedplate_trainers.pretrained import figures_of, load_classifier, load_tokenizer, set_padding
from bedplate_trainers.recipes.base import Prepared, make_plan, pad_multiple, resolve_for, run_recipe
from bedplate_trainers.sets import Sets, read_sets
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.tagged import OUTSIDE, TaggedRow, TaggedRows, are_numbers, entity_tags, learn_tags, read_tagged
from bedplate_trainers.token_cache import TokenCache
from bedplate_trainers.word_windows import WindowEncoder

__all__ = ["prepare", "run"]

# Scored at each evaluation while training; the report has them all.
RUNNING_METRICS = ("accuracy", "precision_score_micro", "recall_score_micro", "f1_score_micro")


def run(request: FinetuneRequest, reporter: Reporter, *, resume: bool) -> FinetuneResult | None:
    return run_recipe(prepare, request, reporter, resume=resume)


def prepare(request: FinetuneRequest, reporter: Reporter) -> Prepared:
    """From files to tensors. The same request gives the same result, in every process of a run."""
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    sets, labels = _read_sets(request, settings, reporter)
    reporter.progress("load", 1, 3)
    tokenizer = load_tokenizer(request.model_dir)
    model, labels = load_classifier(
        request.model_dir, labels, settings.seed, replace_head=settings.ignore_mismatched_sizes, task=request.task
    )
    set_padding(model, tokenizer)
    reporter.progress("load", 2, 3)
    resolved = resolve_for(request, settings, figures_of(model, tokenizer), len(sets.train), labels=len(labels.names))
    chosen = resolved.settings
    reporter.progress("load", 3, 3)
    limit = int(chosen.max_seq_length)
    tokenizer.model_max_length = limit  # the model is served in windows as long as those that it was trained on
    cache = TokenCache(request.work_dir, tokenizer, reporter)
    encoder = WindowEncoder(tokenizer, labels, limit, int(chosen.doc_stride), pad_multiple(request), cache.keep)
    encode = partial(encoder, reporter=reporter)
    objective = make_objective(sets.train, labels, chosen)
    judge = None
    if held := sets.validation:
        judge = _Judge(held.rows, encode(held), objective, labels, chosen)
    train = encode(sets.train)
    plan = make_plan(request, resolved, model, train, judge, objective, train.numbers)
    return Prepared(plan, tokenizer, resolved, sets, labels.names)


# --- rows


def _read_sets(
    request: FinetuneRequest, settings: FinetuneSettings, reporter: Reporter
) -> tuple[Sets[TaggedRows], LabelSet]:
    """The rows and the tags of those to train on; tags of other rows that these lack are refused."""

    def read(file: DataFile, what: str) -> TaggedRows:
        return read_tagged(file, request.columns, what, settings.class_names)

    sets = read_sets(request, settings, read, reporter)
    labels = learn_tags(sets.train)
    for name, held in sets.held.items():
        labels.check(held.found_labels, f"The {name} data", "the training data")
    if are_numbers(labels.names):
        reporter.message(
            "The tags are numbers without names; 0 counts as outside of all entities. Name them: class_names."
        )
    return sets, labels


# --- tensors


def make_objective(rows: TaggedRows, labels: LabelSet, settings: FinetuneSettings) -> Objective:
    """Cross entropy of the words, weighted by how rare a tag is, if so set."""
    weights = _weights(rows, labels) if settings.class_weights == "balanced" else None
    return ClassLoss(settings.label_smoothing_factor, weights)


def _weights(rows: TaggedRows, labels: LabelSet) -> torch.Tensor:
    index = labels.index
    return balanced(np.array([index[tag] for row in rows for tag in row.tags]), len(labels.names))


# --- figures


class _Judge:
    """Loss and a few metrics of the validation rows. What it predicts are windows, whose words are told apart."""

    def __init__(
        self,
        rows: Sequence[TaggedRow],
        windows: EncodedRows,
        objective: Objective,
        labels: LabelSet,
        settings: FinetuneSettings,
    ) -> None:
        wanted = settings.metric_for_best_model
        if wanted not in ("loss", "accuracy"):
            _check_entities(rows, wanted, labels)
        self._names = watched(RUNNING_METRICS, settings)
        index, self._tags = labels.index, entity_tags(labels.names)
        self._right = [np.array([index[tag] for tag in row.tags]) for row in rows]
        self._ends = np.cumsum([len(row) for row in self._right])[:-1]
        self._windows, self._objective = windows, objective
        self.lengths = windows.lengths

    def predict(self, model: Any, rows: Sequence[int], device: torch.device) -> list[Any]:
        """The logits of the words of each window, [words, tags]."""
        batch = self._windows.__getitems__(rows)
        logits = model(**inputs_of(batch, device)).logits.float().cpu()
        counted = batch["labels"] != ClassLoss.IGNORED
        return [one[words].numpy() for one, words in zip(logits, counted, strict=True)]

    def scores(self, predictions: Sequence[Any]) -> Mapping[str, float]:
        """Windows come in the order of their words, so all of them in a row are the words of all rows."""
        logits = np.concatenate(predictions)
        said = np.split(logits.argmax(axis=1), self._ends)
        found, _ = score_what_applies(Predictions(self._named(said), self._named(self._right)), self._names)
        return {"loss": mean_loss(self._objective, logits, torch.from_numpy(np.concatenate(self._right))), **found}

    def _named(self, rows: Sequence[Vector]) -> list[list[str]]:
        return [[self._tags[number] for number in row] for row in rows]


def _check_entities(rows: Sequence[TaggedRow], metric: str, labels: LabelSet) -> None:
    """Refused before training where no evaluation could ever give the metric."""
    outside = "0" if are_numbers(labels.names) else OUTSIDE
    if all(tag == outside for row in rows for tag in row.tags):
        raise Refused(
            f"The validation data has no entity in any row, so {metric} cannot choose the best model.",
            hint="Give validation rows with entities, or set metric_for_best_model to loss.",
            code="no-entities",
        )
