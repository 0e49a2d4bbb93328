"""Text that a stranger wrote: as it is kept and shown, on one line of characters that a terminal only prints; and what
is no text at all.
"""

from __future__ import annotations

import re

__all__ = ["MOST_CHARACTERS", "has_surrogate", "one_line"]

_SURROGATE = re.compile("[\ud800-\udfff]")

MOST_CHARACTERS = 200


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Without escapes, other controls and marks that turn what follows around; cut after `most` characters."""
    words = " ".join(text[: 4 * most].split())
    return "".join(letter for letter in words if letter.isprintable())[:most].strip()


def has_surrogate(text: str) -> re.Match[str] | None:
    """Where half a surrogate pair is, if there is one: JSON can spell it, UTF-8 cannot, and no tokenizer takes it."""
    return None if text.isascii() else _SURROGATE.search(text)
