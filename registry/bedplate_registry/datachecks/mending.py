"""Repaired copies of tables. Only what has one right repair is changed: of every other row the very bytes are copied
(JSONL, CSV, TSV), or the values (JSON, Parquet)."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.tables import columns_of
from bedplate_registry.texts import has_surrogate
from bedplate_registry.writers import open_writer

from .checking import Checked, Table
from .codes import CODES
from .raw import raw_rows
from .report import SHOWN_DETAILS, SHOWN_ROWS, shown

__all__ = ["Change", "Mender", "apply_marks"]

DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass
class Change:
    """What was done to rows of a split for one reason."""

    split: str
    code: str
    key: str | None
    action: str  # dropped | changed
    count: int
    rows: list[int]  # the first ones, by their old numbers
    details: list[str]

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Mender:
    """Writes the repaired table of each split while `check_rows` walks; pass `take` as its `on_row`.

    Use it as a context: the files are complete after that.
    """

    def __init__(self, splits: Mapping[str, Table], folder: Path) -> None:
        self.paths = {name: folder / f"{name}.{table.format}" for name, table in splits.items()}
        self.rows: dict[str, int] = dict.fromkeys(splits, 0)  # that are left
        self._splits, self._open = splits, ExitStack()
        self._writers: dict[str, _Output] = {}
        self._changes: dict[tuple[str, str, str | None, str], Change] = {}

    def __enter__(self) -> Mender:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def take(self, checked: Checked) -> None:
        """One row, as it is, mended, or not at all."""
        writer = self._writer(checked.split)
        row = apply_marks(checked)
        for mark in checked.marks:
            if mark.drops if row is None else mark.values is not None:
                self._note(checked, mark.code, mark.key, "dropped" if row is None else "changed", mark.detail)
        if row is None:
            writer.skip()
            return
        self.rows[checked.split] += 1
        writer.write(row, is_changed=row is not checked.row)

    @property
    def changes(self) -> list[Change]:
        """What was done, by split and reason."""
        splits, codes = [*self._splits], [*CODES]
        return sorted(self._changes.values(), key=lambda item: (splits.index(item.split), codes.index(item.code)))

    @property
    def changed_splits(self) -> list[str]:
        return [name for name in self._splits if any(change.split == name for change in self._changes.values())]

    def _note(self, checked: Checked, code: str, key: str | None, action: str, detail: str) -> None:
        at = (checked.split, code, key, action)
        change = self._changes.setdefault(at, Change(*at, count=0, rows=[], details=[]))
        change.count += 1
        if len(change.rows) < SHOWN_ROWS:
            change.rows.append(checked.number)
        if detail and len(change.details) < SHOWN_DETAILS:
            change.details.append(shown(f"row {checked.number}: {detail}"))

    def _writer(self, split: str) -> _Output:
        if split not in self._writers:
            table = self._splits[split]
            kind = {"json": _JsonOutput, "parquet": _ParquetOutput}.get(table.format, _RawOutput)
            self._writers[split] = self._open.enter_context(kind(table, self.paths[split]))
        return self._writers[split]


def apply_marks(checked: Checked) -> dict[str, Any] | None:
    """The row with its repairs; the same object where there is none, None where it is to go."""
    if any(mark.drops for mark in checked.marks):
        return None
    row = checked.row
    for mark in checked.marks:
        for key, value in (mark.values or {}).items():
            for way, part in checked.columns.places(row, key, value):
                row = _put(row, way, part)
    return row


def _put(holder: Mapping[str, Any], way: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with another value at a way into objects. A cell that spelled a list or an object in JSON still does."""
    old = holder[way[0]]
    new = value
    if len(way) > 1:
        new = _put(json.loads(old) if isinstance(old, str) else old, way[1:], value)
    if isinstance(old, str) and not isinstance(new, str):
        new = _json(new)
    return {**holder, way[0]: new}


def _json(value: Any) -> str:
    """As JSON, with NaN as Python spells it; all in ASCII where there is half a surrogate pair, which UTF-8 lacks."""
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if has_surrogate(text) else text


class _Output(ABC):
    """Takes the rows of a table in turn, each to be written or to be left out."""

    def __enter__(self) -> _Output:
        return self

    @abstractmethod
    def __exit__(self, *exc: object) -> None: ...

    @abstractmethod
    def write(self, row: dict[str, Any], *, is_changed: bool) -> None: ...

    @abstractmethod
    def skip(self) -> None: ...


class _RawOutput(_Output):
    """Lines: the source is read again beside, and what is not changed is copied byte by byte."""

    def __init__(self, table: Table, path: Path) -> None:
        self._delimiter = DELIMITERS.get(table.format)
        self._rows = raw_rows(table.path, table.format)
        self._file = path.open("wb")
        if self._delimiter:
            self._file.write(next(self._rows))

    def write(self, row: dict[str, Any], *, is_changed: bool) -> None:
        old = next(self._rows)
        self._file.write(self._line(row, old) if is_changed else old)

    def skip(self) -> None:
        next(self._rows)

    def _line(self, row: dict[str, Any], old: bytes) -> bytes:
        end = old[len(old.rstrip(b"\r\n")) :]
        if not self._delimiter:
            return _json(row).encode() + end
        cells = io.StringIO()
        csv.writer(cells, delimiter=self._delimiter, lineterminator="").writerow(row.values())
        return cells.getvalue().encode() + end

    def __exit__(self, *exc: object) -> None:
        self._file.close()


class _JsonOutput(_Output):
    """One list, written anew with the same values."""

    def __init__(self, table: Table, path: Path) -> None:
        self._file, self._before = path.open("wb"), b"[\n"

    def write(self, row: dict[str, Any], *, is_changed: bool) -> None:
        self._file.write(self._before + _json(row).encode())
        self._before = b",\n"

    def skip(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        self._file.write(b"\n]\n")
        self._file.close()


class _ParquetOutput(_Output):
    """All values are written anew."""

    def __init__(self, table: Table, path: Path) -> None:
        self._writer = open_writer(path, "parquet", columns_of(table.path, "parquet"), like=table.path)

    def write(self, row: dict[str, Any], *, is_changed: bool) -> None:
        self._writer.write(row)

    def skip(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        self._writer.__exit__(None, None, None)
