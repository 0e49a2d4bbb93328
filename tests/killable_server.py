"""`bedplate serve` of a home, to be killed in parts and started again."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from itertools import chain
from pathlib import Path

import httpx

from harness import free_port, processes_of, start_serve, wait_for

__all__ = ["PARTS", "Server", "kill"]

PARTS = {
    "control plane": ["bedplate.control_plane"],
    "gateway": ["bedplate_serving.gateway"],
    "whole server": ["bedplate.control_plane", "bedplate_serving.gateway"],  # and the keeper, first
}


class Server:
    """Runs from the start; `stop()` it."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home, self.port, self._env = home, free_port(), env
        self._keeper = start_serve(home, self.port, **env)

    def kill(self, what: str) -> None:
        """SIGKILL; returns when what was killed is there again, another process now."""
        parts = PARTS[what]
        before = {part: processes_of(self.home, part) for part in parts}
        if what == "whole server":
            self._keeper.kill()
            self._keeper.wait()
        for pid in chain.from_iterable(before.values()):
            with suppress(ProcessLookupError):  # the control plane dies with its keeper
                kill(pid)
        if what == "whole server":
            self._keeper = start_serve(self.home, self.port, **self._env)
        wait_for(lambda: all(self._is_replaced(part, before[part]) for part in parts), seconds=60)
        wait_for(self._is_answering, seconds=60)

    def _is_replaced(self, part: str, before: list[int]) -> bool:
        now = processes_of(self.home, part)
        return bool(now) and not set(now) & set(before)

    def _is_answering(self) -> bool:
        """Through the gateway, and from the control plane."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        self._keeper.terminate()
        self._keeper.wait(60)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
