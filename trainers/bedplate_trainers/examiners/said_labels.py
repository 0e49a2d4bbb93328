"""Labels and probabilities of a plain file of predictions, as those of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bedplate_registry.errors import Refused
from bedplate_trainers.examiners.class_report import Judged
from bedplate_trainers.labels import LabelSet, label_names, sorted_labels
from bedplate_trainers.metrics.classification import THRESHOLD
from bedplate_trainers.predicted import ROUNDED, Predicted

__all__ = ["judged_of"]

Array = np.ndarray[Any, Any]
ADDED_UP = 0.01  # by so much rounded probabilities of many labels miss 1


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
    if not labels.multi_label and abs(chances.sum() - 1) > ADDED_UP:
        hint = "They should add up to 1: give those of all labels, after a softmax."
        raise one.refused(f"has probabilities that add up to {chances.sum():.4g}", hint)
    if said is not None and not _may_be(said, labels, chances):
        hint = "Labels are said from 0.5 on. Leave" if labels.multi_label else "Leave"
        raise one.refused("is another label than its probabilities say", f"{hint} one of the two columns out.")
    return chances if said is None or labels.multi_label else _first_of_equals(said, labels, chances)


def _may_be(said: set[str], labels: LabelSet, chances: Array) -> bool:
    """Whether that is what has the highest probability, or one of those which do; of several labels what is likely."""
    if labels.multi_label:
        return said == {name for name, chance in zip(labels.names, chances, strict=True) if chance >= THRESHOLD}
    [name] = said
    return bool(chances[labels.index[name]] >= chances.max() - ROUNDED)


def _first_of_equals(said: set[str], labels: LabelSet, chances: Array) -> Array:
    """With the label that was said ahead of others that are as likely."""
    [name] = said
    place = labels.index[name]
    chances[place] = np.nextafter(chances.max(), 2) if chances.argmax() != place else chances[place]
    return chances


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
