"""The bytes of each row of a file of lines, in step with `tables.read_rows(…, keep_bad=True)`: row by row the same."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from bedplate_registry.tables import MAX_CELL_CHARACTERS

__all__ = ["raw_rows"]


def raw_rows(path: Path, format: str) -> Iterator[bytes]:
    """Of CSV and TSV the header comes first. Empty lines are left out, as they are no rows."""
    if format == "jsonl":
        with path.open("rb") as file:
            first = next(file, b"")
            yield from (line for line in (first,) if line.removeprefix(codecs.BOM_UTF8).strip())
            yield from (line for line in file if line.strip())
    else:
        yield from _records(path, "," if format == "csv" else "\t")


def _records(path: Path, delimiter: str) -> Iterator[bytes]:
    """A record may take several lines: those that the reader of cells asked for."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with path.open(encoding="utf-8", newline="") as file:
        asked: list[str] = []

        def lines() -> Iterator[str]:
            for number, line in enumerate(file):
                asked.append(line)
                # In front of the header it tells of the encoding; elsewhere it is a character like others.
                yield line if number else line.removeprefix("\ufeff")

        reader = csv.reader(lines(), delimiter=delimiter, strict=True)
        while True:
            try:
                has_cells = next(reader) != []
            except StopIteration:
                return
            except csv.Error:
                has_cells = True
            if has_cells:
                yield "".join(asked).encode()
            asked.clear()
