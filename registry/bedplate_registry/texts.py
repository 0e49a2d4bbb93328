"""Text that a stranger wrote, as it is kept and shown: one line, of characters that a terminal only prints."""

from __future__ import annotations

__all__ = ["MOST_CHARACTERS", "one_line"]

MOST_CHARACTERS = 200


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Without escapes, other controls and marks that turn what follows around; cut after `most` characters."""
    words = " ".join(text[: 4 * most].split())
    return "".join(letter for letter in words if letter.isprintable())[:most].strip()
