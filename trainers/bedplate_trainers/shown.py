"""How much of a row's texts a report shows."""

from __future__ import annotations

__all__ = ["CUT", "MOST_CHARACTERS", "WORST_ROWS", "shown_text"]

WORST_ROWS = 20
MOST_CHARACTERS = 500
CUT = "…"


def shown_text(text: str, start: int = 0) -> str:
    """What is shown of a text, from `start` on; where more of it stands before or behind, an ellipsis says so."""
    before = CUT if start else ""
    rest = text[start:]
    if len(before) + len(rest) <= MOST_CHARACTERS:
        return before + rest
    return before + rest[: MOST_CHARACTERS - len(before) - len(CUT)] + CUT
