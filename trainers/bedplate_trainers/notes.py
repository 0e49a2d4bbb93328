"""What is said by the way while rows are read and judged: it belongs into the report as well as into the log."""

from __future__ import annotations

from bedplate_registry.progress import Reporter

__all__ = ["Noting"]


class Noting:
    """A reporter that keeps the messages too."""

    def __init__(self, reporter: Reporter) -> None:
        self.progress, self.metrics, self._message = reporter.progress, reporter.metrics, reporter.message
        self.notes: list[str] = []

    def message(self, text: str) -> None:
        self.notes.append(text)
        self._message(text)
