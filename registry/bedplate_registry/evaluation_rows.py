"""The rows of an evaluation, a page at a time, by what was right and what the model said of them.

The file (trainers' row_predictions.py) is read in pieces, so a page of a million rows costs no more memory than one of
a thousand. One call reads so many rows at most; where it found too few by then, `next` goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .errors import Refused

__all__ = ["RowFilter", "page_of_rows"]

PIECE_ROWS = 1000
MOST_READ = 200_000  # rows that one call looks at
MOST_BYTES = 4 << 20  # of one page, as JSON


@dataclass(frozen=True)
class RowFilter:
    """Which rows are wanted; what is None chooses nothing."""

    right: bool | None = None
    target: str | None = None  # the right label, or one of several
    predicted: str | None = None  # the same of what the model said
    contains: str | None = None  # in any text of the row, in any case
    score_below: float | None = None

    def wants(self, row: dict[str, Any]) -> bool:
        score = row.get("score")
        return (
            (self.right is None or row.get("right") is self.right)
            and (self.target is None or _has(row.get("target"), self.target))
            and (self.predicted is None or _has(row.get("predicted"), self.predicted))
            and (self.score_below is None or (score is not None and score < self.score_below))
            and (self.contains is None or self.contains.casefold() in _text(row).casefold())
        )


def page_of_rows(path: Path, wanted: RowFilter, limit: int, after: int = 0) -> tuple[list[dict[str, Any]], int | None]:
    """At most `limit` rows behind the one numbered `after`, and the number to go on from, None at the end.

    Raises Refused where the file is damaged.
    """
    import pyarrow as pa

    found: list[dict[str, Any]] = []
    size = 0
    try:
        for row in _rows(path, after):
            number = int(row["row"])
            if wanted.wants(row):
                size += len(orjson.dumps(row, default=str))
                if found and (len(found) == limit or size > MOST_BYTES):
                    return found, int(found[-1]["row"])
                found.append(row)
            if number - after >= MOST_READ:
                return found, number
    except (pa.ArrowException, OSError, KeyError) as exc:
        raise Refused(
            f"The rows of the evaluation in {path.parent.name!r} are damaged ({str(exc)[:200]}).",
            hint="Take its predictions.parquet from a backup, or evaluate again.",
            code="bad-report",
        ) from exc
    return found, None


def _rows(path: Path, after: int) -> Iterator[dict[str, Any]]:
    """Those numbered above `after`; they come in the order of their numbers."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = [group for group in range(file.num_row_groups) if _reaches(file.metadata.row_group(group), after)]
        for piece in file.iter_batches(batch_size=PIECE_ROWS, row_groups=groups):
            if piece.num_rows and piece.column("row")[piece.num_rows - 1].as_py() > after:
                yield from (row for row in piece.to_pylist() if row["row"] > after)


def _reaches(group: Any, after: int) -> bool:
    """Whether a part of the file, whose first column is that of the numbers, may have such rows."""
    numbers = group.column(0).statistics
    return numbers is None or not numbers.has_min_max or numbers.max > after


def _has(value: Any, wanted: str) -> bool:
    """Whether it is that text, or holds it among others."""
    return wanted in map(str, value) if isinstance(value, list) else value is not None and str(value) == wanted


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(_text(one) for name, one in value.items() if name not in ("row", "score", "right"))
    if isinstance(value, list):
        return " ".join(_text(one) for one in value)
    return "" if value is None else str(value)
