"""How memory that is not used any more goes back to the system: by itself glibc keeps it."""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import suppress
from typing import Any
from weakref import ref

__all__ = ["give_back_memory"]

PATIENCE_SECONDS = 10.0  # for the batches that still hold what was let go


def give_back_memory(gone: ref[Any]) -> None:
    """After something large, `gone`, was let go; other threads may hold it for as long as a batch takes. What was
    frozen for the collector (gc.freeze) is looked through once more, and frozen again only without `gone`, which else
    would stay for good.
    """
    was_frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.1)
        gc.collect()
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    if was_frozen and gone() is None:
        gc.freeze()
