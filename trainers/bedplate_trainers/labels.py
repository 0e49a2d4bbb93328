"""Labels of a classifier: which there are, in which order, and what number each has. Imports no torch.

Whatever a file holds (text, integer, a list of either), a label is a name here: integer 3 is "3", or its class name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bedplate_registry.errors import Refused

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
    return tuple(sorted(unique, key=int) if all(map(_is_integer, unique)) else sorted(unique))


def label_names(label: Any, class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of a row's label or labels. Refused (without the row) where a number has no class name."""
    labels = label if isinstance(label, list | tuple) else [label]
    return tuple(dict.fromkeys(_named(str(item), class_names) for item in labels))


def _named(text: str, class_names: Sequence[str]) -> str:
    if not class_names or text in class_names:
        return text
    if _is_integer(text) and 0 <= int(text) < len(class_names):
        return class_names[int(text)]
    raise Refused(
        f"has the label {text!r}, which is neither one of the {len(class_names)} class_names nor the number of one",
        hint=f"class_names: {some(class_names)}.",
        code="unknown-label",
    )


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def some(names: Sequence[str]) -> str:
    """The first of them, for a message."""
    return ", ".join(names[:20]) + (f" … ({len(names)} in all)" if len(names) > 20 else "")
