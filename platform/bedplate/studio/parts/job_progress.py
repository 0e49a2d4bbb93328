"""Where a job stands: its state, what it waits for or does, a bar, and why it failed; brought up to date in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.job_words import duration_text, how_far, seconds_taken
from bedplate.studio.parts.notices import problem
from bedplate.studio.parts.states import TONES
from bedplate_registry.errors import BedplateError

__all__ = ["JobProgress"]


class JobProgress:
    """A panel. `show` takes the job as REST tells of it, at every look."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        with html.div().classes("bp-panel"):
            with html.div().classes("bp-row"):
                self._state = ui.label().props("role=status")
                self._words = ui.label()
                ui.space()
                self._time = ui.label().classes("bp-hint")
            with html.div().classes("bp-job-line"):
                self._bar = ui.linear_progress(0, show_value=False, size="8px")
                self._bar.props('rounded aria-label="Progress"')
            self._error = html.div()
        self._shown_error: Any = None
        self.show(job)

    def show(self, job: Mapping[str, Any]) -> None:
        """As the job is now."""
        state, progress = str(job["state"]), job.get("progress") or {}
        self._state.text = state
        self._state.classes(replace=f"bp-state bp-{TONES.get(state, 'calm')}")
        self._words.text = how_far(job)
        self._time.text = _time_text(job)
        percent = progress.get("percent") if state == "running" else None
        self._bar.value = 1.0 if state == "succeeded" else (percent or 0.0) / 100
        self._bar.props["aria-valuetext"] = how_far(job) or state
        self._bar.update()
        if job.get("error") != self._shown_error:
            self._shown_error = job.get("error")
            self._tell_error()

    def _tell_error(self) -> None:
        self._error.clear()
        if error := self._shown_error:
            with self._error:
                problem(BedplateError(str(error.get("message", "It failed.")), hint=str(error.get("hint") or "")))


def _time_text(job: Mapping[str, Any]) -> str:
    taken = duration_text(seconds_taken(job))
    if not taken:
        return ""
    attempts = f", attempt {job['attempt']}" if job.get("attempt", 1) > 1 else ""
    return f"{'took' if job['is_final'] else 'for'} {taken}{attempts}"
