"""Memory that is not used any more goes back to the system; by itself glibc keeps it."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

__all__ = ["give_back_memory"]


def give_back_memory() -> None:
    """After something large was let go. What was frozen for the collector (gc.freeze) is looked through once more."""
    was_frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    if was_frozen:
        gc.freeze()
