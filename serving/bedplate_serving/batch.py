"""Batch scoring: a table in, the same table with answers out, rows in order, one bad row a note and not an end.

The input is read in windows of a fixed number of rows. The answers of each window become one part file in `state_dir`,
written durably; when all are there, the input is read once more beside the parts and the output written, then renamed
into place. A killed job goes on after its last part. Since windows never move, the output has the same bytes as if
nothing had happened. Memory holds one window, however long the file.

    state_dir/state.json         what is being scored: digest of the input, columns, parameters, engine
    state_dir/part-000007.jsonl  {"label", "score"} or {"error"} for each row of window 7

Which columns a row gets is the task's business. In CSV and TSV, lists and objects are JSON; an image that is made is a
PNG in base64, for which those two have no room. An image that is read is base64, or a path in the folder of the data.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bedplate_registry import durable
from bedplate_registry.columns import ColumnMap
from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.progress import Reporter
from bedplate_registry.tables import BadRow, columns_of, count_rows, open_writer, read_rows
from bedplate_serving.halving import failure_of, outcomes
from bedplate_serving.predictors.base import Encoded, Predictor, cut, is_cut
from bedplate_serving.predictors.image_files import is_path, read_image

__all__ = ["BatchSummary", "TooManyErrors", "check_output_format", "score_file"]

WINDOW_ROWS = 2048  # enough to sort by length well; a kill loses at most this much work
SHORTER_WINDOWS = {
    "text-to-image": 8,
    "image-classification": 128,  # a row holds a whole file
    "text-generation": 128,
    "summarization": 256,
    "translation": 256,
}
IMAGES, NO_ROOM_FOR_IMAGES = ("text-to-image",), ("csv", "tsv")


class TooManyErrors(BedplateError):
    """More rows failed than the caller allows."""

    code = "too-many-errors"


class _Table(NamedTuple):
    path: Path
    format: str


class _Source(NamedTuple):
    """The input, and in how many rows it is worked on at a time."""

    path: Path
    format: str
    window_rows: int

    @property
    def names(self) -> list[str]:
        """Of its columns, as far as its beginning tells."""
        return columns_of(self.path, self.format)

    def windows(self) -> Iterator[list[dict[str, Any]]]:
        rows = iter(read_rows(self.path, self.format, keep_bad=True))
        while window := list(islice(rows, self.window_rows)):
            yield window


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
    images: Path | None = None,
    store: Path | None = None,
) -> BatchSummary:
    """Scores a file, or goes on where a killed call with the same `state_dir` stopped.

    `images` is the folder that rows may name images in, by paths relative to it; without one images are base64 alone.
    Links in it may lead into `store`.
    `error_threshold` is how many rows may fail (-1: any number); beyond it TooManyErrors ends the job.
    """
    started = time.monotonic()
    check_output_format(predictor.task, output_format)
    state = state_dir or output_path.with_name(f".{output_path.name}.scoring")
    scorer = _Scorer(predictor, columns, predictor.parameters(parameters), error_threshold, images, store)
    source = _Source(input_path, input_format, SHORTER_WINDOWS.get(predictor.task, WINDOW_ROWS))
    target = _Table(output_path, output_format)
    parts = _Parts(state, _identity(source, columns, parameters, predictor))
    names = _score_windows(scorer, parts, source, reporter)
    added = _added_names(predictor.output_columns(scorer.parameters), names)
    _assemble(parts, source, target, names, added, scorer.rows, reporter)
    durable.remove_folder(state)
    seconds = time.monotonic() - started
    return BatchSummary(scorer.rows, scorer.errors, scorer.truncated, seconds, tuple(added.values()))


def check_output_format(task: str, output_format: str) -> None:
    """Raises Refused where the format cannot hold what the task answers."""
    if task in IMAGES and output_format in NO_ROOM_FOR_IMAGES:
        raise Refused(
            f"The answers of {task} are images, which do not go into {output_format.upper()}.",
            hint="Write .jsonl or .parquet: the column `image` holds each as a PNG in base64.",
            code="bad-format",
        )


@dataclass
class _Scorer:
    """Turns windows of rows into part rows, and keeps the counts."""

    predictor: Predictor
    columns: ColumnMap
    parameters: Any
    error_threshold: int
    images: Path | None
    store: Path | None
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
                items.append(self.predictor.parse(self._with_image(self.columns.pick(row)), self.parameters))
                places.append(place)
            except BedplateError as error:
                results[place] = {"error": f"{error.message}"}
        for place, result in zip(places, self._results(items), strict=True):
            results[place] = result
        return results

    def _with_image(self, item: dict[str, Any]) -> dict[str, Any]:
        """The image itself in place of its path."""
        if self.images is None or not is_path(item.get("image")):
            return item
        return item | {"image": read_image(item["image"], self.images, self.store)}

    def _results(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = [{} for _ in items]
        encoded, places = [], []
        for place, outcome in enumerate(outcomes(self.predictor.encode, items)):
            if isinstance(outcome, BedplateError):
                results[place] = {"error": outcome.message}
            else:
                encoded.append(outcome)
                places.append(place)
        for place, one, raw in zip(places, encoded, self._forward(encoded), strict=True):
            results[place] = self._result(raw, is_cut(one, raw))
        return results

    def _forward(self, encoded: Sequence[Encoded]) -> list[Any]:
        """Raw results, or an item's error, in the given order; run in the order of length and cut by the budget."""
        order = sorted(range(len(encoded)), key=lambda index: encoded[index].length)
        lengths = [encoded[index].length for index in order]
        groups = [order[start:end] for start, end in cut(lengths, self.predictor.token_budget)]
        raws: list[Any] = [None] * len(encoded)
        for group, found in zip(groups, self._run([[encoded[i] for i in group] for group in groups]), strict=True):
            for place, raw in zip(group, found, strict=True):
                raws[place] = raw
        return raws

    def _run(self, batches: Sequence[Sequence[Encoded]]) -> Iterator[list[Any]]:
        """As many at once as the predictor says; one at a time in this thread, since torch keeps threads for each."""
        workers = getattr(self.predictor, "workers", 1)
        if workers < 2:
            yield from (outcomes(self.predictor.forward, batch) for batch in batches)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(lambda batch: outcomes(self.predictor.forward, batch), batches)

    def _result(self, raw: Any, truncated: bool) -> dict[str, Any]:
        try:
            if isinstance(raw, BedplateError):
                raise raw
            row = self.predictor.output_row(self.predictor.answer(raw, self.parameters), self.parameters)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the edge of a row: it fails alone, be it by a tokenizer's panic
            return {"error": failure_of(error).message}
        plain = {name: _plain(value) for name, value in row.items()}
        return {**plain, "truncated": True} if truncated else plain

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


def _plain(value: Any) -> Any:
    """A value as a part file holds it: the bytes of an image as base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


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


def _identity(
    source: _Source, columns: ColumnMap, parameters: Mapping[str, Any], predictor: Predictor
) -> dict[str, Any]:
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "task": predictor.task,
        "input": digest,
        "format": source.format,
        "columns": columns.columns,
        "parameters": dict(parameters),
        "labels": list(predictor.labels),
        "engine": getattr(predictor, "engine", "torch"),  # another one writes other last digits
        "window_rows": source.window_rows,
    }


def _score_windows(scorer: _Scorer, parts: _Parts, source: _Source, reporter: Reporter) -> list[str]:
    """Fills in the parts that are missing; returns the names of all columns seen, in order of appearance."""
    names = dict.fromkeys(source.names)
    total = count_rows(source.path, source.format)
    reporter.progress("score", 0, total, "rows")
    for number, rows in enumerate(source.windows()):
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
    source: _Source,
    target: _Table,
    names: Sequence[str],
    added: Mapping[str, str],
    total: int,
    reporter: Reporter,
) -> None:
    """Input and parts, side by side, to a file beside the output, which gets its name when it is whole."""
    unfinished = target.path.with_name(f".{target.path.name}.unfinished")
    like = source.path if source.format == target.format == "parquet" else None
    done = 0
    with open_writer(unfinished, target.format, [*names, *added.values()], like=like) as writer:
        for number, rows in enumerate(source.windows()):
            for row, result in zip(rows, parts.read(number) or [], strict=True):
                writer.write(row | {column: result.get(name) for name, column in added.items()})
            done += len(rows)
            reporter.progress("write", done, total, "rows")
    durable.flush(unfinished)
    durable.rename(unfinished, target.path)
