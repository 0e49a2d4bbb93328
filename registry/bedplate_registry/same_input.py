"""When two rows have the same input: their texts differ at most in case and blanks. Splits and checks agree on it."""

from __future__ import annotations

__all__ = ["input_key"]


def input_key(*texts: str | None) -> str:
    """Equal for inputs that are the same. A text that is not there is as an empty one."""
    return "\x00".join(" ".join((text or "").casefold().split()) for text in texts)
