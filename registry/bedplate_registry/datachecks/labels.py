"""Labels of texts and images: their kind, their names, how many rows each has, and which split lacks which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.label_names import is_integer, label_names
from bedplate_registry.same_input import input_key

from .marks import TRAINING, Mark, Values
from .report import Collector, SplitFacts

__all__ = ["LabelCheck", "check_label_counts"]

RARE_ROWS = 5  # fewer cannot be split into what is learned from and what is measured on
IMBALANCE = 20  # times


class LabelCheck:
    """Text and image classification."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._many = self._rows = 0

    def look(self, facts: SplitFacts, row: int, values: Values) -> Iterator[Mark]:
        if "label" not in values:
            return
        label = values["label"]
        self._rows += 1
        self._many += isinstance(label, list)
        if (stripped := self._stripped(label)) != label:
            yield Mark("whitespace", "label", values={"label": stripped})
        try:
            facts.count_labels(label_names(label, self._class_names), row)
        except Refused as problem:
            yield Mark("unknown-label", "label", problem.message)

    def _stripped(self, label: Any) -> Any:
        if isinstance(label, list):
            return [self._stripped(name) for name in label]
        is_meant = not isinstance(label, str) or label in self._class_names
        return label if is_meant else label.strip() or label

    def end(self, splits: Mapping[str, SplitFacts], collector: Collector) -> None:
        if 0 < self._many < self._rows:
            few = f"{self._many} of {self._rows} rows have a list"
            collector.add("mixed-labels", "label", next(iter(splits)), None, few)
        check_label_counts(splits, collector, "label")
        for split in TRAINING:
            if split in splits:
                _check_training(split, splits[split], collector)


def _check_training(split: str, facts: SplitFacts, collector: Collector) -> None:
    labels = facts.labels
    if facts.rows and len(labels) < 2 and not facts.has_too_many_labels:
        collector.add("too-few-labels", "label", split, None, ", ".join(map(repr, labels)) or "none")
        return
    (most, many), (least, few) = labels.most_common(1)[0] if labels else ("", 0), _least(labels)
    if few and many >= IMBALANCE * few and not facts.has_too_many_labels:
        detail = f"{most!r} has {many} rows, {least!r} has {few}"
        collector.add("label-imbalance", "label", split, None, detail)


def _least(labels: Mapping[str, int]) -> tuple[str, int]:
    return min(labels.items(), key=lambda item: item[1], default=("", 0))


def check_label_counts(splits: Mapping[str, SplitFacts], collector: Collector, key: str) -> None:
    """Labels that are rare, that only some splits have, and that are spelled in two ways. Also of tags."""
    training = next((splits[name] for name in TRAINING if name in splits), None)
    for split, facts in splits.items():
        if facts.has_too_many_labels:
            collector.add("too-many-labels", key, split, None, f"more than {len(facts.labels)}")
            return
        numbers = [name for name in facts.labels if is_integer(name)]
        if 0 < len(numbers) < len(facts.labels):
            other = next(name for name in facts.labels if not is_integer(name))
            detail = f"{numbers[0]!r} and {other!r}"
            collector.add("mixed-label-types", key, split, facts.first_rows[numbers[0]], detail)
        if training is None or facts is training:
            continue
        for name in facts.labels.keys() - training.labels.keys():
            collector.add("unseen-label", key, split, facts.first_rows[name], f"{name!r}, {facts.labels[name]} rows")
    for split in TRAINING:
        for name, count in splits[split].labels.items() if split in splits else ():
            if count < RARE_ROWS:
                collector.add("rare-label", key, split, splits[split].first_rows[name], f"{name!r}, {count} rows")
    _check_twins(splits, collector, key)


def _check_twins(splits: Mapping[str, SplitFacts], collector: Collector, key: str) -> None:
    spellings: dict[str, dict[str, str]] = {}  # of one label, if blanks and case do not count: each and its first split
    for split, facts in splits.items():
        for name in facts.labels:
            spellings.setdefault(input_key(name), {}).setdefault(name, split)
    for first, *others in (list(found.items()) for found in spellings.values()):
        for name, split in others:
            detail = f"{name!r}, {splits[split].labels[name]} rows, and {first[0]!r}"
            collector.add("label-twins", key, split, splits[split].first_rows[name], detail)
