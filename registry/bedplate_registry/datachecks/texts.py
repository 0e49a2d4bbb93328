"""What is looked for in every text, whatever the task."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bedplate_registry.texts import has_surrogate

from .marks import Mark, Values

__all__ = ["lone_surrogate", "look_at_texts"]

# Without tab and line ends; with the character that stands where bytes could not be read.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
# Positions in these count: a blank that is taken away at their beginning would move every answer.
_COUNTED = ("context",)


def look_at_texts(texts: Values) -> Iterator[Mark]:
    """Blanks at the ends, and characters that are no part of any text."""
    for key, text in texts.items():
        if key not in _COUNTED and text and (text[0].isspace() or text[-1].isspace()):
            yield Mark("whitespace", key, values={key: text.strip()})
        if found := _CONTROL.search(text):
            yield Mark("control-characters", key, f"U+{ord(found[0]):04X} at {found.start()}")
        yield from lone_surrogate(key, text)


def lone_surrogate(key: str, text: str) -> Iterator[Mark]:
    """The first half of a surrogate pair in a text: JSON can spell it, UTF-8 cannot."""
    if found := has_surrogate(text):
        yield Mark("lone-surrogate", key, f"U+{ord(found[0]):04X} at {found.start()}")
