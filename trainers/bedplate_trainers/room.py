"""A disk without room makes a run wait, not die: what was half written is removed, and it is tried again."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bedplate_registry.errors import BedplateError, NoRoom
from bedplate_registry.progress import Reporter

__all__ = ["is_disk_full", "save_with_patience"]

AGAIN_SECONDS = 10.0
PATIENCE_SECONDS = 24 * 3600.0
FULL = (errno.ENOSPC, errno.EDQUOT)
# safetensors puts the system's words into an error of its own; torch.save says only that its archive is too short.
WORDS = ("No space left on device", "Disk quota exceeded", "inline_container.cc")


def save_with_patience(
    save: Callable[[], None], folder: Path, reporter: Reporter | None, patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """Calls `save`, which writes `folder` from nothing, until the disk has room for it. Raises NoRoom in the end."""
    end = time.monotonic() + patience_seconds
    waits = 0
    while True:
        try:
            return save()
        except Exception as error:  # safetensors has its own, without a family
            if not is_disk_full(error):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            if time.monotonic() >= end:
                raise _no_room(folder) from error
        waits += 1
        if reporter is not None:
            if waits == 1:
                reporter.message(
                    f"The disk is full: {folder.name} could not be written ({_free(folder)} MB are free). Training"
                    f" pauses, tries again every {AGAIN_SECONDS:g} seconds, and goes on when there is room."
                )
            reporter.progress("wait for disk", waits, 0, "tries")
        time.sleep(AGAIN_SECONDS)


def is_disk_full(error: BaseException) -> bool:
    """Whether this error, or one that it came of, says that a disk has no room."""
    return any(_says_full(cause) for cause in _causes(error))


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    if isinstance(error, BedplateError):
        return error.code == "disk-full"
    return any(words in str(error) for words in WORDS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder.parent).free // 1_000_000


def _no_room(folder: Path) -> NoRoom:
    return NoRoom(
        f"The disk that holds {folder.name} stayed full.",
        hint="Make room on the disk that holds BEDPLATE_HOME, then resume the job: it goes on from a checkpoint.",
    )
