"""What is said by the way while rows are read and judged: it belongs into the report as well as into the log."""

from __future__ import annotations

from bedplate_registry.progress import Reporter

__all__ = ["Noting"]


class Noting:
    """A reporter that keeps the messages too. `of` says whose they are, where that is not plain."""

    def __init__(self, reporter: Reporter, of: str = "") -> None:
        self.progress, self.metrics, self._message = reporter.progress, reporter.metrics, reporter.message
        self.notes: list[str] = []
        self.of = of

    def message(self, text: str) -> None:
        whole = f"{self.of}: {text}" if self.of else text
        self.notes.append(whole)
        self._message(whole)
