"""Labels and probabilities of a plain file of predictions, as those of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.class_report import Judged
from bedplate_trainers.labels import LabelSet, label_names, sorted_labels
from bedplate_trainers.metrics.classification import predict
from bedplate_trainers.predicted import Predicted

__all__ = ["judged_of"]

Array = np.ndarray[Any, Any]


def judged_of(rows: Any, predicted: Sequence[Predicted], class_names: Sequence[str]) -> Judged:
    """`rows` are data.Examples or pictures.Pictures. Raises Refused, which names the row with a label unlike those."""
    has_chances = predicted[0].probabilities is not None
    chances = {name for one in predicted for name in one.probabilities or ()}
    names = sorted_labels({*(name for row in rows for name in row.labels), *chances, *class_names})
    labels = LabelSet(names, rows.multi_label)
    said = np.stack([_row(labels, one, class_names) for one in predicted])
    scores = [one.score for one in predicted]
    sure = None if has_chances or None in scores else np.array(scores, dtype=np.float64)
    return Judged("predictions", labels, rows, said, 0.0, labels_only=not has_chances, given_sureness=sure)


def _row(labels: LabelSet, one: Predicted, class_names: Sequence[str]) -> Array:
    """What was said of one row, [labels]: its probabilities, or 1 for what was said."""
    said = None if one.value is None else _said(labels, one, class_names)
    if one.probabilities is None:
        return np.array([float(name in (said or ())) for name in labels.names])
    chances = np.array([one.probabilities.get(name, 0.0) for name in labels.names])
    if not labels.multi_label and not chances.sum() > 0:
        raise one.refused("has probabilities that are all 0", "They should add up to 1.")
    if said is not None and said != _likeliest(labels, chances):
        raise one.refused("is another label than its probabilities say", "Leave one of the two columns out.")
    return chances


def _likeliest(labels: LabelSet, chances: Array) -> set[str]:
    [chosen] = predict(chances[None], labels.multi_label)
    places = np.flatnonzero(chosen) if labels.multi_label else [chosen]
    return {labels.names[place] for place in places}


def _said(labels: LabelSet, one: Predicted, class_names: Sequence[str]) -> set[str]:
    if isinstance(one.value, list) != labels.multi_label:
        kinds = ("one label a row", "a list of labels a row")
        raise one.refused(f"is {one.value!r:.60}, and the data has {kinds[labels.multi_label]}", "Give the same kind.")
    try:
        said = label_names(one.value, class_names)
    except Refused as problem:
        raise one.refused(problem.message, problem.hint) from problem
    for name in said:
        one.check_known(name, labels.names, "label")
    return set(said)
