"""Batch scoring: a table in, the same table with answers out, rows in order, one bad row a note and not an end.

The input is read in windows of a fixed number of rows. The answers of each window become one part file in `state_dir`,
written durably; when all are there, the input is read once more beside the parts and the output written, then renamed
into place. A killed job goes on after its last part. Since windows never move, the output has the same bytes as if
nothing had happened. Memory holds one window, however long the file.

    state_dir/state.json         what is being scored: digest of the input, columns, parameters
    state_dir/part-000007.jsonl  {"label", "score"} or {"error"} for each row of window 7
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bedplate_registry import durable
from bedplate_registry.columns import ColumnMap
from bedplate_registry.errors import BedplateError
from bedplate_registry.progress import Reporter
from bedplate_registry.tables import BadRow, columns_of, count_rows, open_writer, read_rows
from bedplate_serving.predictors.base import Predictor, forward_sorted

__all__ = ["BatchSummary", "TooManyErrors", "score_file"]

WINDOW_ROWS = 2048  # enough to sort by length well; a kill loses at most this much work


class TooManyErrors(BedplateError):
    """More rows failed than the caller allows."""

    code = "too-many-errors"


class _Table(NamedTuple):
    path: Path
    format: str


@dataclass(frozen=True)
class BatchSummary:
    """What became of a file. `columns` are the names of the columns that were added."""

    rows: int
    errors: int
    truncated: int
    seconds: float
    columns: tuple[str, ...]


def score_file(
    predictor: Predictor,
    input_path: Path,
    input_format: str,
    output_path: Path,
    output_format: str,
    columns: ColumnMap,
    parameters: Mapping[str, Any],
    reporter: Reporter,
    error_threshold: int = -1,
    state_dir: Path | None = None,
) -> BatchSummary:
    """Scores a file, or goes on where a killed call with the same `state_dir` stopped.

    `error_threshold` is how many rows may fail (-1: any number); beyond it TooManyErrors ends the job.
    """
    started = time.monotonic()
    state = state_dir or output_path.with_name(f".{output_path.name}.scoring")
    scorer = _Scorer(predictor, columns, predictor.parameters(parameters), error_threshold)
    source, target = _Table(input_path, input_format), _Table(output_path, output_format)
    parts = _Parts(state, _identity(source, columns, parameters, predictor))
    names = _score_windows(scorer, parts, source, reporter)
    added = _added_names(predictor.output_columns(scorer.parameters), names)
    _assemble(parts, source, target, names, added, scorer.rows, reporter)
    durable.remove_folder(state)
    seconds = time.monotonic() - started
    return BatchSummary(scorer.rows, scorer.errors, scorer.truncated, seconds, tuple(added.values()))


@dataclass
class _Scorer:
    """Turns windows of rows into part rows, and keeps the counts."""

    predictor: Predictor
    columns: ColumnMap
    parameters: Any
    error_threshold: int
    rows: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)
    truncated: int = field(default=0, init=False)

    def score(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = [{} for _ in rows]
        items, places = [], []
        for place, row in enumerate(rows):
            if isinstance(row, BadRow):
                results[place] = {"error": row.reason}
                continue
            try:
                items.append(self.predictor.parse(self.columns.pick(row), self.parameters))
                places.append(place)
            except BedplateError as error:
                results[place] = {"error": f"{error.message}"}
        for place, result in zip(places, self._answers(items), strict=True):
            results[place] = result
        return results

    def _answers(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        try:
            encoded = self.predictor.encode(items) if items else []
            raws = forward_sorted(self.predictor, encoded)
            return [self._result(raw, one.truncated) for raw, one in zip(raws, encoded, strict=True)]
        except Exception as error:  # noqa: BLE001 - the outer edge of a row: it fails alone, the job goes on
            if len(items) > 1:
                return [result for item in items for result in self._answers([item])]
            reason = error.message if isinstance(error, BedplateError) else f"the model failed: {type(error).__name__}"
            return [{"error": reason}]

    def _result(self, raw: Any, truncated: bool) -> dict[str, Any]:
        result = self.predictor.output_row(self.predictor.answer(raw, self.parameters), self.parameters)
        return {**result, "truncated": True} if truncated else result

    def count(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Takes a window into the counts; in the order of rows, so that a resumed job stops where the first would."""
        self.rows += len(results)
        self.errors += sum("error" in result for result in results)
        self.truncated += sum("truncated" in result for result in results)
        if 0 <= self.error_threshold < self.errors:
            first = next(str(result["error"]) for result in results if "error" in result)
            detail = f"{self.errors} of the first {self.rows} rows failed; at most {self.error_threshold} may."
            hint = f"One of them: {first} Correct the file, or raise --error-threshold."
            raise TooManyErrors(detail, hint=hint)


class _Parts:
    """The part files of one job."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        state = folder / "state.json"
        if folder.exists() and _read_json(state) != identity:
            durable.remove_folder(folder)  # parts of another input, or torn before their state was written
        durable.make_folder(folder)
        durable.write_json(state, identity)

    def read(self, window: int) -> list[dict[str, Any]] | None:
        path = self._path(window)
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else None

    def write(self, window: int, results: Sequence[Mapping[str, Any]]) -> None:
        durable.write_bytes(self._path(window), b"\n".join(orjson.dumps(result) for result in results))

    def _path(self, window: int) -> Path:
        return self._folder / f"part-{window:06d}.jsonl"


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _identity(table: _Table, columns: ColumnMap, parameters: Mapping[str, Any], predictor: Predictor) -> dict[str, Any]:
    with table.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "input": digest,
        "format": table.format,
        "columns": columns.columns,
        "parameters": dict(parameters),
        "labels": list(predictor.labels),
        "window_rows": WINDOW_ROWS,
    }


def _windows(table: _Table) -> Iterator[list[dict[str, Any]]]:
    rows = iter(read_rows(table.path, table.format, keep_bad=True))
    while window := list(islice(rows, WINDOW_ROWS)):
        yield window


def _score_windows(scorer: _Scorer, parts: _Parts, table: _Table, reporter: Reporter) -> list[str]:
    """Fills in the parts that are missing; returns the names of all columns seen, in order of appearance."""
    names = dict.fromkeys(columns_of(table.path, table.format))
    total = count_rows(table.path, table.format)
    reporter.progress("score", 0, total, "rows")
    for number, rows in enumerate(_windows(table)):
        for row in rows:
            names.update(dict.fromkeys(row))
        results = parts.read(number)
        if results is None:
            results = scorer.score(rows)
            parts.write(number, results)
        scorer.count(results)
        reporter.progress("score", scorer.rows, total, "rows", f"{scorer.errors} errors" if scorer.errors else "")
    return list(names)


def _added_names(wanted: Sequence[str], present: Sequence[str]) -> dict[str, str]:
    """Our columns by their names in the file: a column of the input is never overwritten."""
    added: dict[str, str] = {}
    for name in (*wanted, "error"):
        free, prefix = name, "scoring_" if name == "error" else "predicted_"
        while free in present or free in added.values():
            free = prefix + free
        added[name] = free
    return added


def _assemble(
    parts: _Parts,
    source: _Table,
    target: _Table,
    names: Sequence[str],
    added: Mapping[str, str],
    total: int,
    reporter: Reporter,
) -> None:
    """Input and parts, side by side, to a file beside the output, which gets its name when it is whole."""
    unfinished = target.path.with_name(f".{target.path.name}.unfinished")
    like = source.path if source.format == target.format == "parquet" else None
    with open_writer(unfinished, target.format, [*names, *added.values()], like=like) as writer:
        for number, rows in enumerate(_windows(source)):
            for row, result in zip(rows, parts.read(number) or [], strict=True):
                writer.write(row | {column: result.get(name) for name, column in added.items()})
            reporter.progress("write", number * WINDOW_ROWS + len(rows), total, "rows")
    durable.flush(unfinished)
    durable.rename(unfinished, target.path)
