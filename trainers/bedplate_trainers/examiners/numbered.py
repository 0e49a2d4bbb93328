"""Data that numbers its labels from 0, for a model that names them: number n is the model's n-th."""

from __future__ import annotations

from collections.abc import Sequence

from bedplate_registry.errors import Refused
from bedplate_registry.label_names import is_integer
from bedplate_registry.progress import Reporter
from bedplate_trainers.labels import some, sorted_labels

__all__ = ["numbers_stand_for_names"]


def numbers_stand_for_names(names: Sequence[str], found: set[str], what: str, reporter: Reporter) -> bool:
    """Whether the labels `found` in the data are numbers of the model's `names`; the reporter is told so.

    Raises Refused where they may be, but do not count from 0: ratings from 1 to 4 would all be read one too high.
    """
    if not found or found & set(names) or not all(is_integer(name) and name.isdecimal() for name in found):
        return False
    if max(map(int, found)) >= len(names):
        return False
    if "0" not in found:
        raise Refused(
            f"{what} has the labels {some(sorted_labels(found))} and no 0, and the model has names for its labels.",
            hint=f"Known labels: {some(names)}. If the numbers count from 0, say so: class_names with these labels.",
            code="unknown-label",
        )
    shown = some([f"{number} {name}" for number, name in enumerate(names)])
    reporter.message(f"{what} numbers its labels; the model's names were taken in order: {shown}.")
    return True
