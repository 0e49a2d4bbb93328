"""Labels by their names. Whatever a file holds (text, integer, a list of either), a label is a name here: integer 3 is
"3", or its class name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import Refused

__all__ = ["class_name", "is_integer", "label_names", "some"]

MOST_DIGITS = 18  # of a number; what is longer is a code, and beyond 4,300 Python reads none
SHOWN_CHARACTERS = 80


def label_names(label: Any, class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of a row's label or labels. Refused (without the row) where a number has no class name."""
    labels = label if isinstance(label, list | tuple) else [label]
    return tuple(dict.fromkeys(_named(str(item), class_names) for item in labels))


def _named(text: str, class_names: Sequence[str]) -> str:
    if (name := class_name(text, class_names)) is not None:
        return name
    raise Refused(
        f"has the label {text[:SHOWN_CHARACTERS]!r}, which is neither one of the {len(class_names)} class_names"
        " nor the number of one",
        hint=f"class_names: {some(class_names)}.",
        code="unknown-label",
    )


def class_name(text: str, class_names: Sequence[str]) -> str | None:
    """The name that a label or a tag means: itself, or the one with its number; None where it is neither."""
    if not class_names or text in class_names:
        return text
    return class_names[int(text)] if is_integer(text) and 0 <= int(text) < len(class_names) else None


def is_integer(text: str) -> bool:
    """Whether it spells a whole number, of at most MOST_DIGITS digits."""
    digits = text.removeprefix("-")
    return len(digits) <= MOST_DIGITS and digits.isdecimal() and digits.isascii()


def some(names: Sequence[str]) -> str:
    """The first of them, for a message."""
    return ", ".join(names[:20]) + (f" … ({len(names)} in all)" if len(names) > 20 else "")
