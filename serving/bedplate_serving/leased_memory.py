"""How much of a card a process was lent: told to it in its environment, since others share the card."""

from __future__ import annotations

import os

__all__ = ["GPU_MEMORY_BYTES", "leased_gpu_bytes"]

GPU_MEMORY_BYTES = "BEDPLATE_GPU_MEMORY_BYTES"


def leased_gpu_bytes() -> int | None:
    """Bytes of its card; None where it has the card for itself."""
    text = os.environ.get(GPU_MEMORY_BYTES, "")
    return int(text) if text.isdecimal() else None
