"""What a model made of labeled rows, whatever the task: what intervals, slices, comparisons and row files are made of.

Imports no numpy when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import numpy as np

    from .confidence import Counted

    Array = np.ndarray[Any, Any]

__all__ = ["JudgedRows", "RowPrediction"]


@dataclass(frozen=True, slots=True)
class RowPrediction:
    """One row, and what was made of it."""

    row: int  # its number in the data, from 1
    inputs: Mapping[str, Any]  # by the task's keys
    target: Any
    predicted: Any
    score: float | None  # confidence, F1, rougeL …: the examiner's docs say which
    right: bool | None  # None for texts, which are neither right nor wrong


class JudgedRows(Protocol):
    """Rows of one file as one model judged them."""

    @property
    def counted(self) -> Counted:
        """What the metrics that have intervals are made of."""

    @property
    def numbers(self) -> Iterator[int]:
        """Each row's number in the data, from 1."""

    @property
    def lengths(self) -> Array:
        """Characters of each row's input, [rows]; empty where inputs are no texts."""

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Slices of the task's own: for each, the value of every row."""

    @property
    def margin(self) -> float:
        """By how much the score of a row must move to count as changed, where rows are neither right nor wrong."""

    def part(self, places: Array) -> Self:
        """The rows at these places alone."""

    def scores(self, names: Sequence[str]) -> dict[str, float]:
        """Those of the metrics that have a value on these rows."""

    def row_predictions(self) -> Iterator[RowPrediction]:
        """Every row, in order."""
