"""What is looked for in every text, whatever the task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from bedplate_registry.cells import listed
from bedplate_registry.texts import has_surrogate

from .marks import Mark, Values

__all__ = ["lone_surrogate", "look_at_texts"]

# Without tab and line ends; with the character that stands where bytes could not be read.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
# Positions in these count: a blank that is taken away at their beginning would move every answer.
_COUNTED = ("context",)


def look_at_texts(texts: Values) -> Iterator[Mark]:
    """Blanks at the ends, and characters that are no part of any text. Of several texts of a key each is looked at."""
    for key, value in texts.items():
        each = listed(value)
        stripped = [text.strip() for text in each]
        if key not in _COUNTED and stripped != each:
            yield Mark("whitespace", key, values={key: stripped if isinstance(value, list) else stripped[0]})
        yield from _first("control-characters", key, each, _CONTROL.search)
        yield from lone_surrogate(key, *each)


def lone_surrogate(key: str, *texts: str) -> Iterator[Mark]:
    """The first half of a surrogate pair: JSON can spell it, UTF-8 cannot."""
    return _first("lone-surrogate", key, texts, has_surrogate)


def _first(code: str, key: str, texts: Sequence[str], find: Callable[[str], re.Match[str] | None]) -> Iterator[Mark]:
    """The first that is found in any of the texts."""
    for number, text in enumerate(texts, 1):
        if found := find(text):
            where = f" of text {number}" if len(texts) > 1 else ""
            yield Mark(code, key, f"U+{ord(found[0]):04X} at {found.start()}{where}")
            return
