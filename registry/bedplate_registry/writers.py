"""Writing rows to JSONL, JSON, CSV, TSV and Parquet, one at a time.

JSONL and Parquet keep values as they are. CSV is for people: a text that a spreadsheet would run as a formula gets an
apostrophe in front; numbers, negative ones too, are left alone.

No single cell stops a file. Half a surrogate pair, which UTF-8 has no bytes for, is written as its escape \\ud800; a
Parquet column with an integer beyond 64 bits is written as text.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

import orjson

from .errors import Refused

__all__ = ["RowWriter", "open_writer", "row_json"]

# Rows held back before they go to the file together.
GROUP_ROWS = 4096
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DELIMITERS = {"csv": ",", "tsv": "\t"}


class RowWriter(Protocol):
    """Takes rows until the `with` block ends; the file is complete only after that."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row. Columns it lacks are empty; a key that is no column is refused."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_writer(path: Path, format: str, columns: Sequence[str], *, like: Path | None = None) -> RowWriter:
    """A writer for a new file at `path`. `like` is a Parquet file whose column types a Parquet output keeps."""
    if format in _DELIMITERS:
        return _DelimitedWriter(path, columns, _DELIMITERS[format])
    if format == "parquet":
        return _ParquetWriter(path, columns, like)
    if format == "jsonl":
        return _JsonWriter(path, columns, b"", b"\n", b"")
    if format == "json":
        return _JsonWriter(path, columns, b"[\n", b",\n", b"\n]\n")
    raise Refused(f"{format!r} is not a table format.", hint="Use jsonl, json, csv, tsv or parquet.", code="bad-format")


class _Writer:
    """What all writers share: the columns and the check of each row against them."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
        self._known = frozenset(columns)

    def write(self, row: Mapping[str, Any]) -> None:
        if not self._known.issuperset(row):
            extra = sorted(set(row) - self._known)
            raise Refused(f"The output has no column {extra[0]!r}.", hint=f"It has: {', '.join(self.columns)}.")
        self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


class _JsonWriter(_Writer):
    def __init__(self, path: Path, columns: Sequence[str], start: bytes, between: bytes, end: bytes) -> None:
        super().__init__(path, columns)
        self._file = path.open("wb")
        self._file.write(start)
        self._between, self._end, self._is_first = between, end, True
        self._is_list = bool(end)

    def _add(self, row: Mapping[str, Any]) -> None:
        data = row_json({column: row[column] for column in self.columns if column in row})
        if self._is_list and not self._is_first:
            data = self._between + data
        self._file.write(data if self._is_list else data + self._between)
        self._is_first = False

    def _close(self) -> None:
        self._file.write(self._end)
        self._file.close()


class _Lines:
    """Ends lines with a line feed. The csv module quotes a carriage return only when it is part of its own line end."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix("\r\n") + "\n")


class _DelimitedWriter(_Writer):
    def __init__(self, path: Path, columns: Sequence[str], delimiter: str) -> None:
        super().__init__(path, columns)
        self._file = path.open("w", encoding="utf-8", newline="", errors="backslashreplace")
        self._csv = csv.writer(_Lines(self._file), delimiter=delimiter, lineterminator="\r\n")
        self._csv.writerow([_harmless(column) for column in columns])

    def _add(self, row: Mapping[str, Any]) -> None:
        self._csv.writerow([_cell(row.get(column)) for column in self.columns])

    def _close(self) -> None:
        self._file.close()


class _ParquetWriter(_Writer):
    """Row groups of a fixed size. A column's type comes from the first group; where a later one needs a wider type
    (a number after nothing, a fraction after integers) the file is written anew with it."""

    def __init__(self, path: Path, columns: Sequence[str], like: Path | None) -> None:
        super().__init__(path, columns)
        self._rows: list[Mapping[str, Any]] = []
        self._schema: Any = None
        self._writer: Any = None
        self._kept = _schema_of(like) if like is not None else {}
        self._as_text: set[str] = set()  # columns that had an integer beyond 64 bits

    def _add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow as pa

        arrays = [self._array([row.get(column) for row in self._rows], column) for column in self.columns]
        table = pa.table(arrays, names=[_utf8(column) for column in self.columns])
        if self._writer is None:
            self._open(table.schema)
        elif table.schema != self._schema:
            self._widen(table.schema)
        self._writer.write_table(table.cast(self._schema), row_group_size=GROUP_ROWS)
        self._rows = []

    def _array(self, values: list[Any], column: str) -> Any:
        import pyarrow as pa

        if column in self._as_text:
            return pa.array([_text(value) for value in values], pa.string())
        try:
            return pa.array(values, type=self._kept.get(column))
        except UnicodeEncodeError:
            return self._array([_utf8(value) for value in values], column)
        except (OverflowError, pa.ArrowException) as exc:
            if self._kept.get(column) is None and any(_is_beyond_64_bits(value) for value in values):
                self._as_text.add(column)
                return self._array(values, column)
            hint = "A Parquet column holds values of one type; write JSONL to keep mixed ones."
            raise Refused(f"The column {column!r} cannot be written: {exc}.", hint=hint, code="bad-column") from None

    def _open(self, schema: Any) -> None:
        import pyarrow.parquet as pq

        self._schema = schema
        self._writer = pq.ParquetWriter(self.path, schema)

    def _widen(self, schema: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            wider = pa.unify_schemas([self._with_texts(self._schema), schema], promote_options="permissive")
        except pa.ArrowException as exc:
            hint = "A Parquet column holds values of one type; write JSONL to keep mixed ones."
            raise Refused(f"The rows do not fit one Parquet file: {exc}.", hint=hint, code="bad-column") from None
        if wider == self._schema:
            return
        self._writer.close()
        narrow = self.path.with_name(self.path.name + ".narrow")
        self.path.rename(narrow)
        self._open(wider)
        with pq.ParquetFile(narrow) as file:
            for group in range(file.num_row_groups):
                self._writer.write_table(file.read_row_group(group).cast(wider), row_group_size=GROUP_ROWS)
        narrow.unlink()

    def _with_texts(self, schema: Any) -> Any:
        import pyarrow as pa

        names = {_utf8(column) for column in self._as_text}
        return pa.schema([field.with_type(pa.string()) if field.name in names else field for field in schema])

    def _close(self) -> None:
        if self._rows or self._writer is None:
            self._write_group()
        self._writer.close()


def _schema_of(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    return {field.name: field.type for field in pq.read_schema(path)}


def row_json(value: Any) -> bytes:
    """A value of a table as JSON; NaN and infinities become null."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # an integer beyond 64 bits or half a surrogate pair, both of which JSON itself can spell
        return json.dumps(_finite(value), default=_plain_or_list, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Values from Parquet that JSON has no form for: decimals, intervals, bytes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _plain_or_list(value: Any) -> Any:
    """What orjson knows of itself and json does not."""
    if isinstance(value, date | time):
        return value.isoformat()
    return _finite(value.tolist()) if hasattr(value, "tolist") else _plain(value)


def _finite(value: Any) -> Any:
    """Numbers that are not finite are null, as orjson writes them."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    return _mapped(_finite, value)


def _utf8(value: Any) -> Any:
    """Texts at any depth, with what UTF-8 cannot spell as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return _mapped(_utf8, value)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {change(key): change(item) for key, item in value.items()}
    return [change(item) for item in value] if isinstance(value, list | tuple) else value


def _is_beyond_64_bits(value: Any) -> bool:
    if isinstance(value, int):
        return not -(1 << 63) <= value < 1 << 63
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(map(_is_beyond_64_bits, items))


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _harmless(value)
    return _text(value) or ""


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value and str(_utf8(value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else row_json(value).decode()


def _harmless(text: str) -> str:
    risky = text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and not _NUMBER.fullmatch(text)
    return "'" + text if risky else text
