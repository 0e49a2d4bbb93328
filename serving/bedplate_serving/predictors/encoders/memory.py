"""How much memory is free, and how what is not used any more goes back to the system: by itself glibc keeps it."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import ref

__all__ = ["free_bytes", "give_back_memory"]

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


def free_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What this process may still take: of the machine, and of each control group it is in (versions 1 and 2). Where
    neither can be read, as much as there can be.
    """
    machine = _fields(proc / "meminfo").get("MemAvailable:")
    free = [] if machine is None else [machine * 1024]
    for folder in _groups(proc / "self/cgroup", groups):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None and used is not None:
            free.append(limit - used + _reclaimable(folder))
    return max(0, min(free, default=sys.maxsize))


def _groups(own: Path, root: Path) -> Iterator[Path]:
    """Ours and those around it; a container often shows its own as the root."""
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / controllers
            inner = top / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _reclaimable(folder: Path) -> int:
    """Files that were read once: they count as used, and go first."""
    stat = _fields(folder / "memory.stat")
    return stat.get("total_inactive_file", stat.get("inactive_file", 0))


def _number(folder: Path, *names: str) -> int | None:
    """Of the first file that holds one; no limit is "max"."""
    words = (_read(folder / name).strip() for name in names)
    return next((int(word) for word in words if word.isdecimal()), None)


def _fields(path: Path) -> dict[str, int]:
    lines = (line.split() for line in _read(path).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
