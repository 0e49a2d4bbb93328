"""Rows on disk, read again whenever they are asked for: memory holds sixteen bytes of each, however long they are.

They are in a file without a name, so they are gone with the process. A row is read by its place, which other threads
and processes that share the file may do too.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

from bedplate_registry import durable

__all__ = ["StoredRows", "keep_rows_in", "store", "take"]

Row = TypeVar("Row")
BUFFER_BYTES = 1 << 20
PROTOCOL = 5


_folder: Path | None = None  # None: that for temporary files


def keep_rows_in(folder: Path) -> None:
    """Where files of rows are from now on in this process: a folder for temporary files may be in memory."""
    global _folder
    _folder = folder


class StoredRows(Sequence[Row], Generic[Row]):
    """What `store` kept, or some of it."""

    def __init__(self, file: _OpenFile, starts: array[int], sizes: array[int]) -> None:
        self._file, self._starts, self._sizes = file, starts, sizes

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [
                self._read(start, size) for start, size in zip(self._starts[place], self._sizes[place], strict=True)
            ]
        return self._read(self._starts[place], self._sizes[place])

    def __iter__(self) -> Iterator[Row]:
        return map(self._read, self._starts, self._sizes)

    def take(self, places: Iterable[int]) -> StoredRows[Row]:
        """The rows at these places, in this order, in the same file."""
        chosen = list(places)
        starts, sizes = (array("q", [of[place] for place in chosen]) for of in (self._starts, self._sizes))
        return StoredRows(self._file, starts, sizes)

    def _read(self, start: int, size: int) -> Row:
        row: Row = pickle.loads(os.pread(self._file.number, size, start))  # noqa: S301 - our own, and no other's
        return row


class _OpenFile:
    """A file that is closed when the last that reads from it is gone."""

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


def store(rows: Iterable[Row]) -> StoredRows[Row]:
    """Keeps them on disk one by one. Raises Unavailable where that is full."""
    starts, sizes, end = array("q"), array("q"), 0
    place = _folder or Path(tempfile.gettempdir())
    with durable.writing(place), tempfile.TemporaryFile(buffering=BUFFER_BYTES, dir=place) as file:
        for row in rows:
            data = pickle.dumps(row, PROTOCOL)
            file.write(data)
            starts.append(end)
            sizes.append(len(data))
            end += len(data)
        file.flush()
        return StoredRows(_OpenFile(os.dup(file.fileno())), starts, sizes)


def take(rows: Sequence[Row], places: Iterable[int]) -> Sequence[Row]:
    """The rows at these places, in this order."""
    return rows.take(places) if isinstance(rows, StoredRows) else tuple(rows[place] for place in places)
