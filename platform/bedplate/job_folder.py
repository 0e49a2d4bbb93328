"""The folder of one job: what its worker writes and its owner reads.

    spec.json             resolved and immutable: enough to run the job again
    events.jsonl          {"seq", "epoch", "time", "type": "progress" | "message" | "metrics", …}
    metrics.jsonl         {"attempt", "step", name: value, …}; `epoch` there, if at all, is the training's
    worker.log            standard output and error of every attempt
    result-EPOCH.json     written last by an attempt that succeeded
    error-EPOCH.json      written by an attempt that knows why it failed
    checkpoints/          what the next attempt resumes from
    outputs/              files for the user

The epoch is the number of the attempt. The owner reads only what the current epoch wrote, so what a stale worker still
writes is void: no lock is needed, and the folder tells the story when no server runs.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shutil
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bedplate.supervisor import open_log
from bedplate_registry.durable import write_json
from bedplate_registry.errors import BedplateError
from bedplate_serving.log_lines import make_line
from bedplate_trainers.launch import leave

__all__ = ["REQUEST_ID", "DamagedFolder", "EventReader", "JobFolder", "JobReporter", "LogReader", "run_worker"]

log = logging.getLogger("bedplate.job")

REQUEST_ID = "BEDPLATE_REQUEST_ID"  # of a worker's environment: the call that submitted the job
PROGRESS_SECONDS = 0.25  # progress lines come no faster
TAIL_BYTES = 1 << 16
CHUNK_BYTES = 1 << 18  # of a log at a time, whatever its size


class JobFolder:
    """Paths and reading; writing is the worker's (JobReporter)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "worker.log"
        self.events_file = path / "events.jsonl"
        self.metrics_file = path / "metrics.jsonl"
        self.outputs = path / "outputs"
        self.checkpoints = path / "checkpoints"

    def create(self, spec: Mapping[str, Any]) -> None:
        for folder in (self.path, self.outputs, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "spec.json", dict(spec))

    def start_over(self, epoch: int) -> None:
        """Put aside what the attempts up to `epoch` left: the next one finds no checkpoint, rows or metrics."""
        if not self.path.exists():  # there was none
            return
        aside = self.path / f"before-{epoch + 1}"
        if aside.is_symlink():  # a worker may have put it there
            aside.unlink()
        aside.mkdir(exist_ok=True)
        for path in (self.checkpoints, self.outputs, self.metrics_file):
            if path.exists() and not (aside / path.name).exists():
                path.rename(aside / path.name)
        shutil.rmtree(aside / self.checkpoints.name, ignore_errors=True)
        for folder in (self.outputs, self.checkpoints):
            folder.mkdir(exist_ok=True)

    def note(self, text: str, level: str = "warning") -> None:
        """A line of the owner's in the worker's log."""
        with open_log(self.log) as log:
            log.write(f"{make_line('bedplate', text, level=level)}\n".encode())

    @property
    def spec(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.path / "spec.json").read_text())
        return data

    def result(self, epoch: int) -> dict[str, Any] | None:
        return _read_json(self.path / f"result-{epoch}.json")

    def error(self, epoch: int) -> dict[str, Any] | None:
        return _read_json(self.path / f"error-{epoch}.json")

    def metrics(self) -> list[dict[str, Any]]:
        """All steps, each once: where an attempt repeated steps of the one before it, the later one counts."""
        by_step = {(line.get("step"), *sorted(line)): line for line in _lines(self.metrics_file)}
        return list(by_step.values())

    def last_progress(self, epoch: int) -> dict[str, Any] | None:
        for line in reversed(_tail(self.events_file)):
            event = _parse(line)
            if event and event.get("type") == "progress" and event.get("epoch") == epoch:
                return event
        return None

    def log_tail(self, lines: int = 20) -> list[str]:
        return [line.decode("utf-8", "replace") for line in _tail(self.log)[-lines:]]


class DamagedFolder(BedplateError):
    """A file of the job's folder was torn by a crash, or is not what a worker of ours writes. It will not mend."""

    code = "damaged-folder"

    @classmethod
    def of(cls, path: Path) -> DamagedFolder:
        job = path.parent.name
        return cls(f"{path.name} in the folder of job {job} is not a plain file: it is not read.", hint="Look at it.")


class EventReader:
    """Follows events.jsonl: each call gives what came since the last one, and reads nothing twice."""

    def __init__(self, folder: JobFolder, after: int = 0) -> None:
        self._path, self._after, self._offset = folder.events_file, after, 0

    def read(self) -> list[dict[str, Any]]:
        """New events whose `seq` is above the first `after`; a line that is still being written waits."""
        with _open(self._path) as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        parsed = (_parse(line) for line in whole.splitlines())
        return [event for event in parsed if event is not None and event.get("seq", 0) > self._after]


class LogReader:
    """Follows worker.log by its offset: each call gives the bytes that come next, no byte twice and none left out."""

    def __init__(self, folder: JobFolder, *, offset: int | None = None, tail: int = 0) -> None:
        """From byte `offset`, or where that is None from the start of the last `tail` lines."""
        self._path = folder.log
        self.offset = _start_of_tail(folder.log, tail) if offset is None else offset

    def read(self) -> bytes:
        """Up to CHUNK_BYTES; nothing where the log has not grown."""
        with _open(self._path) as file:
            file.seek(self.offset)
            chunk = file.read(CHUNK_BYTES)
        self.offset += len(chunk)
        return chunk


class JobReporter:
    """The worker's side: a `bedplate_registry.progress.Reporter` that appends to the job's folder.

    A full disk does not end the work: figures and messages wait until there is room, progress is left out meanwhile.
    """

    def __init__(self, folder: JobFolder, epoch: int) -> None:
        self.folder, self.epoch = folder, epoch
        for path in (folder.events_file, folder.metrics_file):
            _end_line(path)
        self._seq = sum(1 for _ in _lines(folder.events_file))
        self._waiting: deque[tuple[Path, dict[str, Any]]] = deque()
        self._last_progress = float("-inf")
        self._phase = ""
        self._phase_started = time.monotonic()
        self._phase_base = 0.0

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._phase_started, self._phase_base = phase, now, done
        elif now - self._last_progress < PROGRESS_SECONDS and done < total:
            return
        self._last_progress = now
        self._event(
            "progress",
            phase=phase,
            done=done,
            total=total,
            unit=unit,
            message=message,
            percent=round(100 * done / total, 1) if total else None,
            seconds_left=self._seconds_left(done, total, now),
        )

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._write(self.folder.metrics_file, {"attempt": self.epoch, "step": step, **values})
        self._event("metrics", step=step, values=dict(values))

    def message(self, text: str) -> None:
        log.info("%s", text)
        self._event("message", text=text)

    def _seconds_left(self, done: float, total: float, now: float) -> float | None:
        gained, spent = done - self._phase_base, now - self._phase_started
        return round(spent / gained * (total - done), 1) if gained > 0 and spent > 0.5 else None

    def _event(self, kind: str, **fields: Any) -> None:
        if kind == "progress" and self._waiting:
            return
        self._seq += 1
        self._write(
            self.folder.events_file,
            {"seq": self._seq, "epoch": self.epoch, "time": round(time.time(), 3), "type": kind, **fields},
        )

    def _write(self, path: Path, line: dict[str, Any]) -> None:
        """After the lines that wait. What a full disk took of a line is closed off, and the line written again."""
        is_again = bool(self._waiting)
        self._waiting.append((path, line))
        try:
            while self._waiting:
                path, line = self._waiting[0]
                if is_again:
                    _end_line(path)
                _append(path, line)
                self._waiting.popleft()
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


def run_worker(work: Callable[[JobFolder, JobReporter, dict[str, Any]], Mapping[str, Any]]) -> None:
    """The outer edge of a job worker: `python -m bedplate.workers.KIND FOLDER EPOCH`, secrets on standard input.

    What `work` returns becomes the result. An error of ours is kept with its code and hint; any other one is kept as
    `worker-failed` with its last line, and its traceback goes to worker.log only.
    """
    folder, epoch = JobFolder(Path(sys.argv[1])), int(sys.argv[2])
    text = "" if sys.stdin is None or sys.stdin.closed else sys.stdin.read()
    secrets = json.loads(text) if text.strip() else {}
    _configure_logs(folder.path.name, epoch)
    try:
        result = work(folder, JobReporter(folder, epoch), secrets)
    except BedplateError as exc:
        log.exception("the worker stops")
        _keep_error(folder.path / f"error-{epoch}.json", exc.to_json())
        sys.exit(1)
    except Exception as exc:  # the process's outer edge
        log.exception("the worker stops on an error it did not expect")
        _keep_error(folder.path / f"error-{epoch}.json", _unexpected(exc, folder.path.name))
        sys.exit(1)
    if os.environ.get("RANK", "0") == "0":
        write_json(folder.path / f"result-{epoch}.json", dict(result))
    leave()


def _configure_logs(job_id: str, epoch: int) -> None:
    from bedplate_serving.logs import configure_logs  # here: whoever reads a job's folder does not need it

    configure_logs(process="worker", job=job_id, attempt=epoch, request_id=os.environ.get(REQUEST_ID) or None)


def _keep_error(path: Path, error: dict[str, str]) -> None:
    """The first reason stands: where one of several processes fails, the others then fail for want of it."""
    if not path.exists():
        write_json(path, error)


def _unexpected(exc: Exception, job_id: str) -> dict[str, str]:
    lines = str(exc).strip().splitlines()
    summary = f"{type(exc).__name__}: {lines[-1] if lines else ''}".rstrip(": ")
    return {
        "code": "worker-failed",
        "message": f"The worker stopped on an error it did not expect: {summary}.",
        "hint": f"Read its log with: bedplate jobs logs {job_id}",
    }


def _open(path: Path) -> BinaryIO:
    """A file that a worker wrote, to read; one that is not there is empty.

    Raises DamagedFolder for anything but a plain file: a worker can put a link there, and we may read what it may not.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return io.BytesIO()
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise DamagedFolder.of(path) from exc
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise DamagedFolder.of(path)
    return os.fdopen(number, "rb")


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """One write of one line; not synced, since progress that a crash swallows is no loss."""
    with path.open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")


def _end_line(path: Path) -> None:
    """Close a line that a kill cut short, so that the next one stands by itself."""
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for line in file:
            if (parsed := _parse(line)) is not None:
                yield parsed


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line cut short by a kill is not there yet."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _tail(path: Path) -> list[bytes]:
    with _open(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read().splitlines()


def _start_of_tail(path: Path, lines: int) -> int:
    """Where the last `lines` lines of a file begin; it is read from its end, and no further than need be."""
    with _open(path) as file:
        end = file.seek(0, os.SEEK_END)
        if lines <= 0 or end == 0:
            return end
        file.seek(end - 1)
        stop = end - (file.read(1) == b"\n")  # the last newline ends a line and begins none
        while stop > 0:
            start = max(0, stop - CHUNK_BYTES)
            file.seek(start)
            block = file.read(stop - start)
            lines, at = _back(block, lines)
            if lines == 0:
                return start + at + 1
            stop = start
    return 0


def _back(block: bytes, lines: int) -> tuple[int, int]:
    """Go back over `lines` newlines from the end of a block: how many of them are not in it, and where it got to."""
    at = len(block)
    if (found := block.count(b"\n")) < lines:
        return lines - found, 0
    for _ in range(lines):
        at = block.rindex(b"\n", 0, at)
    return 0, at


def _read_json(path: Path) -> dict[str, Any] | None:
    with _open(path) as file:
        text = file.read()
    if not text and not path.exists():
        return None
    data: dict[str, Any] = json.loads(text)
    return data
