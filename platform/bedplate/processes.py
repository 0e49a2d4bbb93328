"""Processes known by pid and start time, so that a pid used again is never taken for the old process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ProcessId", "die_with_parent", "is_any_stopped", "with_environment"]

PR_SET_PDEATHSIG = 1
STATE, THREADS, START_TIME = 0, 17, 19  # fields 3, 20 and 22 of /proc/PID/stat, counted from behind the name


@dataclass(frozen=True)
class ProcessId:
    """A process: its pid and when it started, in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now, or None. A zombie has ended, once its last thread has."""
        fields = _stat(pid)
        if not fields or (fields[STATE] in "ZX" and int(fields[THREADS]) <= 1):
            return None
        return cls(pid, int(fields[START_TIME]))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ProcessId:
        return cls(int(data["pid"]), int(data["start_time"]))

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @property
    def is_alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal if it is still that process; says whether it was."""
        if not self.is_alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent dies, and leave at once if it already did."""
    import ctypes

    expected = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != expected:
        os._exit(1)


def is_any_stopped(pid: int) -> bool:
    """Whether this process or one that descends from it is stopped (SIGSTOP, or by a debugger)."""
    fields = _stat(pid)
    return bool(fields and fields[STATE] in "Tt") or any(is_any_stopped(child) for child in _children(pid))


def with_environment(entry: str) -> Iterator[ProcessId]:
    """Processes we may look into that were started with exactly this NAME=value. A zombie is not among them."""
    wanted = os.fsencode(entry)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):  # it has ended, or is none of ours
            if wanted in (folder / "environ").read_bytes().split(b"\0") and (found := ProcessId.of(int(folder.name))):
                yield found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _children(pid: int) -> list[int]:
    """By any of its threads."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found
