"""The rows of one file: read from a table one by one, each by its task, and refused together by number where something
is wrong. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from bedplate_registry.columns import ColumnMap
from bedplate_registry.errors import Refused
from bedplate_registry.tables import read_rows

from .messages import DataFile
from .stored_rows import StoredRows, store, take

__all__ = ["LabelLists", "LabeledRows", "PlainRow", "RowTable", "read_table"]

SHOWN_ROWS = 5


class PlainRow:
    """A dataclass with slots that is pickled by its values: by itself it would look up its fields for each row anew."""

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class LabeledRow(Protocol):
    @property
    def row(self) -> int: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


Row = TypeVar("Row")
Labeled = TypeVar("Labeled", bound=LabeledRow)


@dataclass(frozen=True)
class RowTable(Generic[Row]):
    """The rows of one file."""

    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def take(self, places: Iterable[int]) -> Self:
        """The rows at these places alone."""
        return replace(self, rows=take(self.rows, places))


@dataclass(frozen=True)
class LabeledRows(RowTable[Labeled]):
    @property
    def found_labels(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The number of each row, and its labels."""
        return ((row.row, row.labels) for row in self.rows)


class LabelLists:
    """How many rows of a table have a list of labels: all of them or none."""

    def __init__(self) -> None:
        self._lists = 0

    def count(self, label: object) -> None:
        self._lists += isinstance(label, list)

    def in_all(self, rows: Sequence[object], what: str) -> bool:
        """Raises Refused where only some of the rows have one."""
        if self._lists not in (0, len(rows)):
            raise Refused(
                f"{what} has lists of labels in {self._lists} of {len(rows)} rows.",
                hint="Multi-label data has a list in every row: a list of one, or an empty one, is a list.",
                code="mixed-labels",
            )
        return bool(self._lists)


def read_table(
    file: DataFile, columns: ColumnMap, what: str, parse: Callable[[int, Mapping[str, Any]], Row]
) -> StoredRows[Row]:
    """What `parse` makes of each row, kept on disk: of its number from 1, and its values by the task's keys.

    `what` names the file in messages: "The training data". Raises Refused: bad-rows, with all that `parse` refused;
    no-rows.
    """
    problems = list[tuple[int, Refused]]()

    def parsed() -> Iterator[Row]:
        for number, row in enumerate(read_rows(file.path, file.format), 1):
            try:
                yield parse(number, columns.pick(row))
            except Refused as problem:
                problems.append((number, problem))

    rows = store(parsed())
    if problems:
        raise _bad_rows(what, problems)
    if not rows:
        raise Refused(f"{what} has no rows.", hint="Check the file.", code="no-rows")
    return rows


def _bad_rows(what: str, problems: Sequence[tuple[int, Refused]]) -> Refused:
    shown = "; ".join(f"row {number} {_clause(problem)}" for number, problem in problems[:SHOWN_ROWS])
    more = f"; and {len(problems) - SHOWN_ROWS} more" if len(problems) > SHOWN_ROWS else ""
    hint = problems[0][1].hint or "Correct these rows or take them out."
    count = f"{len(problems)} row{'s' if len(problems) > 1 else ''}"
    return Refused(f"{what} has {count} that cannot be used: {shown}{more}.", hint=hint, code="bad-rows")


def _clause(problem: Refused) -> str:
    text = problem.message.rstrip(".")
    return f"({text[0].lower()}{text[1:]})" if text.startswith("The ") else text
