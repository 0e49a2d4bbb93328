"""Messages and progress for people: a bar on a terminal or in a notebook, plain lines on stderr elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from html import escape
from typing import Any, Protocol

__all__ = ["EndpointProgress", "Progress", "endpoint_progress", "job_progress", "say"]

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


class WatchedEndpoint(Protocol):
    """What is shown of a client's endpoint."""

    data: dict[str, Any]

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def waiting(self) -> str | None: ...


def say(text: str) -> None:
    """A message for people."""
    print(text, file=sys.stderr, flush=True)


class _Line(Protocol):
    """The last line of what is said of one thing, which changes while it goes on."""

    def show(self, text: str, key: str, percent: float | None = None, more: str = "") -> None:
        """How it stands; where lines are written anew, at once where `key` has changed, else every few seconds."""

    def end(self, text: str) -> None:
        """How it ended."""


class _StderrLine:
    """On stderr: written over on a terminal, written anew elsewhere when it has changed."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last_key = self._last_text = ""
        self._last_time = 0.0

    def show(self, text: str, key: str, percent: float | None = None, more: str = "") -> None:
        if percent is not None:
            filled = int(percent / 5)
            text = f"{text} [{'#' * filled}{'.' * (20 - filled)}] {percent:5.1f} %{more}"
        if self._is_terminal:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
            sys.stderr.flush()
            return
        now = time.monotonic()
        if key != self._last_key or (text != self._last_text and now - self._last_time > PLAIN_SECONDS):
            say(text)
            self._last_key, self._last_text, self._last_time = key, text, now

    def end(self, text: str) -> None:
        say(f"\r\x1b[K{text}" if self._is_terminal else text)


class _NotebookLine:
    """Below a notebook's cell, by IPython's own display."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, key: str, percent: float | None = None, more: str = "") -> None:
        bar = "" if percent is None else f'<progress max="100" value="{percent:.1f}"></progress> {percent:.1f} %'
        self._write(f"<div>{escape(text)} {bar} {escape(more)}</div>")

    def end(self, text: str) -> None:
        self._write(f"<div>{escape(text)}</div>")

    def _write(self, html: str) -> None:
        display = sys.modules["IPython.display"]
        if self._handle is None:
            self._handle = display.display(display.HTML(html), display_id=True)
        else:
            self._handle.update(display.HTML(html))


def _in_notebook() -> bool:
    """Whether an IPython kernel runs us. A terminal's IPython has none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel") and "IPython.display" in sys.modules


def _line() -> _Line:
    return _NotebookLine() if _in_notebook() else _StderrLine()


def job_progress() -> Progress | None:
    """What shows the progress of a job to whoever waits for it here; None where nobody looks."""
    return Progress() if _in_notebook() or sys.stderr.isatty() else None


def endpoint_progress() -> EndpointProgress | None:
    """As `job_progress`, of an endpoint."""
    return EndpointProgress() if _in_notebook() or sys.stderr.isatty() else None


class Progress:
    """Follows a job: a bar on a terminal or in a notebook, else plain lines. A queued one tells its place and why."""

    def __init__(self) -> None:
        self._line = _line()

    def __call__(self, job: Watched) -> None:
        progress = job.data.get("progress")
        if job.state == "queued":
            self._line.show(f"{job.id}: {_queued(job.data)}", key=f"waiting for {job.data.get('waiting_for')}")
        elif job.is_final:
            self._line.end(f"{job.id}: {job.state}")
        elif progress:
            phase, percent = progress["phase"], progress.get("percent") or 0.0
            self._line.show(f"{job.id}: {phase:<9}", phase, percent, _amounts(progress))


class EndpointProgress:
    """Follows an endpoint until it is there, with what its replicas wait for: a GPU, and who holds it."""

    def __init__(self) -> None:
        self._line = _line()

    def __call__(self, endpoint: WatchedEndpoint) -> None:
        rows = endpoint.data["deployments"]
        ready, wished = sum(row["ready"] for row in rows), sum(row["instances"] for row in rows)
        why = f"; {endpoint.waiting}" if endpoint.waiting else ""
        text = f"{endpoint.name}: {ready} of {wished} replicas are ready{why}"
        if endpoint.state == "ready":
            self._line.end(text)
        else:
            self._line.show(text, key=text)


def _queued(job: Mapping[str, Any]) -> str:
    """The place first: a terminal cuts what is too long."""
    waiting = str(job.get("waiting") or "waits for its turn")
    why, _, place = waiting.rpartition("; ") if job.get("position") else (waiting, "", "")
    return f"{place}, {why}" if place else why


def _amounts(progress: Mapping[str, Any]) -> str:
    """How much of it is done and left, beside the bar."""
    text = ""
    if progress.get("unit"):
        text += f"  {_amount(progress['done'])}/{_amount(progress['total'])} {progress['unit']}"
    if progress.get("seconds_left") is not None:
        text += f"  {_duration(progress['seconds_left'])} left"
    return text + (f"  {progress['message']}" if progress.get("message") else "")


def _amount(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value:g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
