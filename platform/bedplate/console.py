"""Messages and progress for people, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Progress", "say"]

PLAIN_SECONDS = 5.0  # where there is no terminal, a new line no sooner than that, unless the phase changes


class Watched(Protocol):
    """What progress is shown of: a client's job."""

    data: dict[str, Any]

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def is_final(self) -> bool: ...


def say(text: str) -> None:
    """A message for people."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Follows a job on stderr: a bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last_key = self._last_text = ""
        self._last_time = 0.0

    def __call__(self, job: Watched) -> None:
        progress = job.data.get("progress")
        if job.state == "queued":
            why = job.data["waiting"]
            self._line(f"{job.id}: waiting" + (f", {why}" if why else ""), key=f"waiting {why}")
        elif job.is_final:
            self._finish(f"{job.id}: {job.state}")
        elif progress:
            self._line(_describe(job.id, progress), key=progress["phase"])

    def _line(self, text: str, key: str) -> None:
        if self._is_terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
            sys.stderr.flush()
            return
        now = time.monotonic()
        if key != self._last_key or (text != self._last_text and now - self._last_time > PLAIN_SECONDS):
            say(text)
            self._last_key, self._last_text, self._last_time = key, text, now

    def _finish(self, text: str) -> None:
        say(f"\r\x1b[K{text}" if self._is_terminal else text)


def _describe(job_id: str, progress: Mapping[str, Any]) -> str:
    percent = progress.get("percent") or 0.0
    filled = int(percent / 5)
    text = f"{job_id}: {progress['phase']:<9} [{'#' * filled}{'.' * (20 - filled)}] {percent:5.1f} %"
    if progress.get("unit"):
        text += f"  {_amount(progress['done'])}/{_amount(progress['total'])} {progress['unit']}"
    if progress.get("seconds_left") is not None:
        text += f"  {_duration(progress['seconds_left'])} left"
    return text + (f"  {progress['message']}" if progress.get("message") else "")


def _amount(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value:g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
