"""Labels of a classifier: which there are, in which order, and what number each has. Imports no torch.

Whatever a file holds (text, integer, a list of either), a label is a name here: integer 3 is "3", or its class name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bedplate_registry.errors import Refused, nearest
from bedplate_registry.label_names import is_integer, label_names, some

__all__ = ["LabelSet", "label_names", "learn_labels", "some", "sorted_labels"]

SHOWN = 5


@dataclass(frozen=True)
class LabelSet:
    """The labels of a task in their order, which is the order of the model's outputs."""

    names: tuple[str, ...]
    multi_label: bool

    @property
    def index(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def check(self, found: Iterable[tuple[int, tuple[str, ...]]], where: str, of: str) -> None:
        """Refused by name where the (row, labels) of `where` hold a label that is not in this set."""
        known, unknown = set(self.names), dict[str, int]()
        for row, names in found:
            for name in names:
                if name not in known:
                    unknown.setdefault(name, row)
        if not unknown:
            return
        shown = ", ".join(f"{name!r} (row {row})" for name, row in list(unknown.items())[:SHOWN])
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise Refused(
            f"{where} has labels that {of} does not have: {shown}{more}.",
            hint=f"Known labels: {some(self.names)}. Correct these rows, or add such rows to the training data.",
            code="unknown-label",
        )

    def positive(self, name: str = "") -> int:
        """Which of two is the positive one: the second, or the one of that name. Raises Refused with the nearest."""
        if not name:
            return 1
        if name not in self.names:
            raise Refused(
                f"There is no label {name!r}, which positive_label names.",
                hint=nearest(name, self.names),
                code="unknown-label",
            )
        if self.multi_label or len(self.names) != 2:
            raise Refused(
                f"positive_label is {name!r}, and of {len(self.names)} labels none is the positive one.",
                hint="Leave it out: it is for data with two labels, of which each row has one.",
                code="bad-setting",
            )
        return self.names.index(name)


def learn_labels(found: Sequence[tuple[str, ...]], multi_label: bool) -> LabelSet:
    """The label set of the training rows; fewer than two are refused."""
    names = sorted_labels({name for labels in found for name in labels})
    if len(names) < 2:
        raise Refused(
            f"The training data has {'only the label ' + repr(names[0]) if names else 'no label'}.",
            hint="A classifier needs at least two labels. Check --map label=COLUMN.",
            code="too-few-labels",
        )
    return LabelSet(names, multi_label)


def sorted_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted; as numbers where all of them are whole numbers."""
    unique = set(names)
    return tuple(sorted(unique, key=int) if all(map(is_integer, unique)) else sorted(unique))
