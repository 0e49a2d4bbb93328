"""How long work tells what it is doing, on every floor, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["SILENT", "Reporter"]


class Reporter(Protocol):
    """What a piece of long work calls as it goes. All methods are cheap and may be called from one thread only."""

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        """`done` of `total` in `phase`; the listener works out percent and time left. May be called very often."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Figures measured at an optimizer step (0 where there are no steps)."""

    def message(self, text: str) -> None:
        """One line worth keeping."""


class _Silent:
    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def message(self, text: str) -> None: ...


SILENT: Reporter = _Silent()
