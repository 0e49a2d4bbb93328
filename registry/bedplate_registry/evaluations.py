"""Evaluation reports, kept beside what they are about.

evaluations/<id>/report.json            the id sorts by time
evaluations/<id>/predictions.parquet    what the model said of each row, where that was kept

A report has a head, which lists, gates and leaderboards need, and all else, which is a hundred times as long. Reports
never change, so a head is read once in a process and looked up by the file's time afterwards.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from . import durable
from .errors import BedplateError, NotFound, Refused

__all__ = ["Evaluations"]

log = logging.getLogger(__name__)
_ID = re.compile(r"ev-[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}")
PREDICTIONS = "predictions.parquet"
CHUNK_BYTES = 1 << 20
KEPT_HEADS = 50_000
# What a side of a report, the model or what it was held against, has in a head; and what the report has besides.
OF_SIDE = ("model", "kind", "metrics", "confidence", "positive_label")
OF_REPORT = ("id", "created", "task", "job", "data", "difference", "predictions", *OF_SIDE)


class Evaluations:
    """The evaluation reports of a registry."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, report: Mapping[str, Any], predictions: BinaryIO | None = None) -> str:
        """Keep a report, with a copy of its rows where they are given, and give its id. Both are there, or neither."""
        now = datetime.now(UTC)
        id = f"ev-{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
        temp = durable.temp_beside(durable.make_folder(self.root) / id)
        value = {**report, "id": id, "created": now.isoformat(timespec="seconds")}
        try:
            durable.make_folder(temp)
            if predictions is not None:
                _copy(predictions, temp / PREDICTIONS)
            durable.write_json(temp / "report.json", value, mode=0o444)
            durable.publish_folder(temp, self.root / id)
        except Exception:
            shutil.rmtree(temp, ignore_errors=True)  # rows may be large, and a full disk is tried again
            raise
        return id

    def get(self, id: str) -> dict[str, Any]:
        """The report, with its `id` and `created`."""
        path = self.root / id / "report.json"
        if not _ID.fullmatch(id) or not path.is_file():
            raise NotFound(f"There is no evaluation {id[:80]!r}.", hint="List them: bedplate evaluations list")
        try:
            report = json.loads(path.read_bytes())
        except ValueError as exc:
            raise _damaged(id, str(exc)) from exc
        if not isinstance(report, dict):
            raise _damaged(id, "it is no object")
        return report

    def predictions(self, id: str) -> Path:
        """The Parquet file of what the model said of each row. Raises NotFound where none was kept."""
        self.get(id)
        path = self.root / id / PREDICTIONS
        if not path.is_file():
            raise NotFound(
                f"The evaluation {id!r} has no predictions: before this release they were not kept of all.",
                hint="Evaluate the model on the same data: bedplate evaluate REF --data DATA --predictions FILE",
                code="no-predictions",
            )
        return path

    def heads(self, model: str | None = None, task: str | None = None) -> list[dict[str, Any]]:
        """What each report says in short, of one model version (`org/name:3`), all versions of a name, or one task.

        The newest first; damaged ones are left out. Callers share what they get, and do not change it.
        """
        found = filter(None, map(self._head, self._ids()))
        return [head for head in found if _is_of(head, model) and task in (None, head.get("task"))]

    def of_job(self, job_id: str) -> str | None:
        """The id of the report that a job left. Of all files only those that name the job are parsed."""
        for id in self._ids():
            path = self.root / id / "report.json"
            if path.is_file() and job_id.encode() in path.read_bytes():
                head = self._head(id)
                if head is not None and head.get("job") == job_id:
                    return id
        return None

    def _ids(self) -> Iterator[str]:
        """The newest first."""
        yield from sorted((path.name for path in self.root.glob("ev-*")), reverse=True)

    def _head(self, id: str) -> dict[str, Any] | None:
        try:
            stat = (self.root / id / "report.json").stat()
            return _read_head(self.root, id, stat.st_mtime_ns, stat.st_ino)
        except OSError:  # it is being taken away
            return None
        except BedplateError as exc:
            log.warning("%s", exc)
            return None


def _is_of(head: Mapping[str, Any], model: str | None) -> bool:
    known = str(head.get("model"))
    return model in (None, known, known.rpartition(":")[0])


@lru_cache(maxsize=KEPT_HEADS)
def _read_head(root: Path, id: str, time_ns: int, inode: int) -> dict[str, Any]:
    """Raises Refused for a damaged report. Time and inode tell one file from another."""
    try:
        report = orjson.loads((root / id / "report.json").read_bytes())  # in a third of json's time
    except ValueError:
        report = None
    if not isinstance(report, dict) or "id" not in report:
        report = Evaluations(root).get(id)
    head = {name: report[name] for name in OF_REPORT if name in report}
    against = report.get("against")
    if isinstance(against, dict):
        head["against"] = {name: against[name] for name in OF_SIDE if name in against}
    return head


def _copy(source: BinaryIO, target: Path) -> None:
    with target.open("xb") as file:
        while chunk := source.read(CHUNK_BYTES):
            durable.write_chunk(file, chunk, target)
    target.chmod(0o444)
    durable.flush(target)


def _damaged(id: str, why: str) -> Refused:
    return Refused(
        f"The report of evaluation {id!r} is damaged ({why}).",
        hint="Take its report.json from a backup, or evaluate again.",
        code="bad-report",
    )
