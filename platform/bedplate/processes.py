"""Processes known by pid and start time, so that a pid used again is never taken for the old process."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ProcessId", "die_with_parent"]

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProcessId:
    """A process: its pid and when it started, in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now, or None. A zombie has ended."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

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
