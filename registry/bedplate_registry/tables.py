"""Rows in and rows out, for all floors: JSONL, JSON, CSV, TSV and Parquet, read as a stream. (JSON may have SQuAD's
nested layout, too: see `squad`.)

Cells of CSV and TSV are strings; what they mean is the business of `columns`. A row that cannot be read is named by its
number, counted from 1 without the header.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import orjson

from .errors import Refused
from .squad import is_nested, question_rows
from .writers import RowWriter, open_writer

__all__ = ["FORMATS", "BadRow", "RowWriter", "columns_of", "count_rows", "format_of", "open_writer", "read_rows"]

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")
BATCH_ROWS = 1024
BATCH_BYTES = 1 << 26  # of a batch of Parquet, which may hold one value of a small file a thousand times
LEAST_BATCH_ROWS = 32
WIDE_BYTES = 1 << 23  # of a batch, whose rows are then made one at a time
# Rows of a JSONL file that are looked at to learn its columns.
COLUMN_SAMPLE_ROWS = 1000
MAX_CELL_CHARACTERS = 1 << 24
_DELIMITERS = {"csv": ",", "tsv": "\t"}
# orjson makes a rounded float of an integer beyond 64 bits; an id must not change on the way.
_LONG_INTEGER = re.compile(rb"\d{19}")


def format_of(filename: str) -> str:
    """The format that a file's suffix names, or Refused."""
    suffix = PurePath(filename).suffix.lower().lstrip(".")
    if suffix in FORMATS:
        return suffix
    shown = f"the suffix {'.' + suffix!r}" if suffix else "no suffix"
    raise Refused(
        f"The file {PurePath(filename).name!r} has {shown}.",
        hint=f"Accepted are {', '.join('.' + name for name in FORMATS)}.",
        code="bad-format",
    )


class BadRow(dict[str, Any]):
    """Stands where a line cannot be read as a row: no columns, but the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def read_rows(path: Path, format: str, *, keep_bad: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of a file, one at a time.

    A line of JSONL that is no object and a line of CSV or TSV with a stray quote, too few or too many cells is Refused
    by number, or, with `keep_bad`, a BadRow in its place.
    """
    if format in _DELIMITERS:
        return _read_delimited(path, _DELIMITERS[format], keep_bad)
    if format == "jsonl":
        return _read_jsonl(path, keep_bad)
    readers = {"json": _read_json, "parquet": _read_parquet}
    if format not in readers:
        raise Refused(f"{format!r} is not a table format.", hint=f"Accepted: {', '.join(FORMATS)}.", code="bad-format")
    return readers[format](path)


def columns_of(path: Path, format: str) -> list[str]:
    """The names of the columns in the file's own order. Reads no more of the file than that takes."""
    if format == "parquet":
        return list(_open_parquet(path).schema_arrow.names)
    if format in _DELIMITERS:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _header(_cells(file, _DELIMITERS[format]))
    rows = islice(read_rows(path, format, keep_bad=True), COLUMN_SAMPLE_ROWS)
    return list(dict.fromkeys(key for row in rows for key in row))


def count_rows(path: Path, format: str) -> int:
    """How many rows the file has. Parquet says so itself; JSONL is counted without being parsed."""
    if format == "parquet":
        return int(_open_parquet(path).metadata.num_rows)
    if format == "jsonl":
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    return sum(1 for _ in read_rows(path, format, keep_bad=True))


def _read_jsonl(path: Path, keep_bad: bool) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _or_bad(partial(_json_object, line, number), keep_bad)


def _or_bad(read: Callable[[], dict[str, Any]], keep_bad: bool) -> dict[str, Any]:
    try:
        return read()
    except Refused as exc:
        if not keep_bad:
            raise
        return BadRow(exc.message)


def _json_object(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = _lenient_json(line, number) if _LONG_INTEGER.search(line) else orjson.loads(line)
    except orjson.JSONDecodeError:
        value = _lenient_json(line, number)
    if not isinstance(value, dict):
        raise _bad_row(number, f"is {_kind(value)}, not an object", "Each line is one JSON object: {…}.")
    return value


def _lenient_json(line: bytes, number: int) -> Any:
    """Python writes NaN, which orjson refuses, and integers of any length: they are read. Anything else is an error."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise _bad_row(number, f"is not JSON ({exc})", "Each line is one JSON object: {…}.") from None


def _read_json(path: Path) -> Iterator[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise _bad_table(f"The file is not JSON ({exc}).", "A .json file is one list of objects.") from None
    if is_nested(rows):
        yield from question_rows(rows)
        return
    if not isinstance(rows, list):
        hint = "A .json file is one list of objects; for one object a line use the suffix .jsonl."
        raise _bad_table(f"The file holds {_kind(rows)}, not a list.", hint)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise _bad_row(number, f"is {_kind(row)}, not an object", "A .json file is one list of objects.")
        yield row


def _read_delimited(path: Path, delimiter: str, keep_bad: bool) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _cells(file, delimiter, keep_bad)
        header = _header(lines)
        for number, cells in enumerate((cells for cells in lines if cells != []), 1):
            yield cells if isinstance(cells, BadRow) else _or_bad(partial(_row, header, cells, number), keep_bad)


def _row(header: list[str], cells: list[str], number: int) -> dict[str, Any]:
    if len(cells) != len(header):
        hint = "Quote cells that hold the delimiter, a quote or a line break."
        raise _bad_row(number, f"has {len(cells)} cells where the header has {len(header)}", hint)
    return dict(zip(header, cells, strict=True))


def _cells(file: Any, delimiter: str, keep_bad: bool = False) -> Iterator[list[str] | BadRow]:
    """The cells of each line; the reader's own errors with the row's number. `strict` tells of unclosed quotes."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    if delimiter == ",":
        _check_separator(file)
    reader, number = csv.reader(file, delimiter=delimiter, strict=True), 0
    while True:
        lines_before = reader.line_num
        try:
            cells: list[str] | BadRow = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            raise _bad_row(max(number, 1), "or one soon after it is not UTF-8", "Save the file as UTF-8.") from None
        except csv.Error as exc:
            refused = _unreadable(number, lines_before + 1, reader.line_num, exc)
            # The reader goes on at the next line. A quote that was never closed may have swallowed any number of rows.
            has_swallowed = "end of data" in str(exc) and reader.line_num > lines_before + 1
            if not keep_bad or not number or has_swallowed:
                raise refused from None
            cells = BadRow(refused.message)
        number += cells != []
        yield cells


def _check_separator(file: Any) -> None:
    """Raises Refused for a header without a comma that has another separator, which would be read as one column."""
    try:
        header = file.readline(MAX_CELL_CHARACTERS).rstrip("\r\n")
    except UnicodeDecodeError:
        header = ""  # which is told of where the rows are read
    file.seek(0)
    if "," in header:
        return
    if "\t" in header.strip():
        raise _bad_table("This file is separated by tabs, and a .csv is by commas.", "Name it .tsv, and give that.")
    if ";" in header:
        shown = header if len(header) <= 80 else f"{header[:80]}…"
        raise _bad_table(
            f"This file is separated by ';', and a .csv is by commas: its first line is {shown!r}.",
            "Save it with commas, or with tabs as .tsv. Should it be of one column, name that without a semicolon.",
        )


def _unreadable(number: int, first: int, last: int, error: csv.Error) -> Refused:
    lines = f"line {last}" if first >= last else f"lines {first} to {last}"
    hint = 'A cell that holds a quote is itself quoted, with the quote doubled: "say ""yes""".'
    return _bad_row(max(number, 1), f"({lines}) cannot be read: {error}", hint)


def _header(lines: Iterator[list[str] | BadRow]) -> list[str]:
    header = next(lines, [])
    if not header or isinstance(header, BadRow):
        raise _bad_table("The file has no header.", "The first line of a CSV or TSV file names the columns.")
    for name in header:
        if not name.strip():
            raise _bad_table("The header has a column without a name.", "Name every column in the first line.")
        if header.count(name) > 1:
            raise _bad_table(f"The header has the column {name!r} twice.", "Rename one of them.")
    return header


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    file, number = _open_parquet(path), 1
    try:
        for group in range(file.metadata.num_row_groups):
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata.row_group(group)), row_groups=[group]):
                _check_cells(batch, number)
                step = 1 if batch.nbytes > WIDE_BYTES else BATCH_ROWS
                for start in range(0, batch.num_rows, step):
                    yield from batch.slice(start, step).to_pylist()
                number += batch.num_rows
    except pa.ArrowException as exc:
        raise _bad_table(f"The Parquet file is damaged ({exc}).", "Write it again.") from None


def _batch_rows(group: Any) -> int:
    """How many rows are read at a time: no row can be wider than all that its group holds, each value once."""
    held = sum(
        chunk.total_uncompressed_size
        for chunk in map(group.column, range(group.num_columns))
        if chunk.physical_type == "BYTE_ARRAY"
    )
    return int(min(BATCH_ROWS, max(LEAST_BATCH_ROWS, BATCH_BYTES // max(held, 1))))


def _check_cells(batch: Any, number: int) -> None:
    """That no text of a batch, whose first row has this number, is longer than one of CSV may be."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    if batch.nbytes <= MAX_CELL_CHARACTERS:
        return
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        is_encoded = types.is_dictionary(column.type)
        texts = column.dictionary if is_encoded else column
        if types.is_string(texts.type) or types.is_large_string(texts.type):
            lengths = pc.utf8_length(texts)
            for offset, length in enumerate((lengths.take(column.indices) if is_encoded else lengths).to_pylist()):
                if (length or 0) > MAX_CELL_CHARACTERS:
                    what = f"has {length:,} characters in the column {name!r}"
                    raise _bad_row(number + offset, what, f"A cell has at most {MAX_CELL_CHARACTERS:,}.")


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as exc:
        raise _bad_table(f"The file is not Parquet ({exc}).", "Check the file, or its suffix.") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _bad_row(number: int, what: str, hint: str) -> Refused:
    return Refused(f"Row {number} {what}.", hint=hint, code="bad-row")


def _bad_table(message: str, hint: str) -> Refused:
    return Refused(message, hint=hint, code="bad-table")
