"""Sizes and counts in words, the same wherever one is shown."""

from __future__ import annotations

__all__ = ["count_text", "size_text"]


def size_text(size_bytes: int) -> str:
    """In powers of 1024, as memory is sold: `96 B`, `1.5 MiB`, `16.0 GiB`."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def count_text(count: int) -> str:
    """Whole below a million: `12,345`, `22.7 million`, `33 million`, `1.7 billion`."""
    if count < 10**6:
        return f"{count:,}"
    size, unit = (count / 1e6, "million") if count < 999_950_000 else (count / 1e9, "billion")
    return f"{size:,.1f}".removesuffix(".0") + f" {unit}"
