"""What is marked of one row, and what a check of one task is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .report import Collector, SplitFacts

__all__ = ["TRAINING", "Mark", "RowCheck", "Values"]

TRAINING = ("train", "data")  # the split that is learned from, or the only one

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that is so in a row, and its one right repair, if it has one."""

    code: str
    key: str | None = None
    detail: str = ""
    drops: bool = False  # the repair takes the row out
    values: Values | None = None  # the repair puts these values in the place of those of their keys


class RowCheck(Protocol):
    """What one task looks for."""

    def look(self, facts: SplitFacts, row: int, values: Values) -> Iterable[Mark]:
        """Of a row whose values are all there and of the right kind."""

    def end(self, splits: Mapping[str, SplitFacts], collector: Collector) -> None:
        """What shows only when all rows were seen."""
