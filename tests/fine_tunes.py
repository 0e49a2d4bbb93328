"""A fine-tune seen from outside, by its files and processes, so that a test can strike at an exact moment."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bedplate.client import Job, RemoteWorkspace
from harness import wait_for, write_messages

BASE = "acme/tiny-encoder"
TASK = "text-classification"
COLUMNS = {"sentence1": "text", "label": "intent"}
LOGGED = 5  # every so many steps
SHARP_SECONDS = 0.003  # between two looks for a moment that is soon over


@dataclass(frozen=True)
class FineTune:
    """A job of `home` that trains `steps` steps, logs every LOGGED and saves a checkpoint every `saved`."""

    job: Job
    home: Path
    output: str
    steps: int
    saved: int

    @classmethod
    def submit(
        cls, ws: RemoteWorkspace, home: Path, folder: Path, output: str, *, steps: int = 60, saved: int = 20
    ) -> FineTune:
        settings = {"max_steps": steps, "save_steps": saved, "logging_steps": LOGGED, "eval_strategy": "no"}
        settings |= {"learning_rate": 1e-3, "per_device_train_batch_size": 8}
        train = write_messages(folder / "train.csv", 120)
        job = ws.finetune(BASE, task=TASK, train=train, columns=COLUMNS, output=output, device="cpu", **settings)
        return cls(job, home, output, steps, saved)

    @property
    def folder(self) -> Path:
        return self.home / "jobs" / self.job.id

    def await_file(self, name: str) -> None:
        wait_for((self.folder / name).exists, seconds=240, every_seconds=SHARP_SECONDS)

    def await_step(self, step: int) -> None:
        """Until this step is logged."""
        wait_for(lambda: max(self.steps_logged(), default=0) >= step, seconds=240, every_seconds=SHARP_SECONDS)

    def steps_logged(self, attempt: int | None = None) -> list[int]:
        """As the worker wrote them, repeats and all."""
        rows = _lines(self.folder / "metrics.jsonl")
        return [row["step"] for row in rows if "loss" in row and attempt in (None, row["attempt"])]

    # --- its processes ---

    def supervisor(self, attempt: int = 1) -> int:
        return int(self._started(attempt)["pid"])

    def worker(self, attempt: int = 1) -> int:
        """What the supervisor started: the cage, which becomes the launcher."""
        return int(self._started(attempt)["worker"])

    def trainer(self) -> int:
        """The process that trains, which the launcher started."""
        (pid,) = [pid for pid in self.processes() if _is_trainer(pid)]
        return pid

    def processes(self, attempt: int | None = None) -> list[int]:
        """All that runs of this or of any attempt, by the mark in the environment."""
        mark = f"BEDPLATE_ATTEMPT={self.folder}:{attempt or ''}".encode()
        return [pid for pid in _pids() if any(entry.startswith(mark) for entry in _read(pid, "environ").split(b"\0"))]

    def _started(self, attempt: int) -> dict[str, int]:
        started: dict[str, int] = json.loads((self.folder / f"started-{attempt}.json").read_text())
        return started

    # --- what has to be true of it at the end ---

    def check(self, ws: RemoteWorkspace, *, attempt: int) -> None:
        """It succeeded in this attempt, once; nothing is left of it but one version and each step once."""
        self.job.wait(timeout_seconds=300)
        assert self.job.state == "succeeded"
        assert self.job.data["attempt"] == attempt, self.job.logs(10_000)
        assert self.job.result["steps"] == self.steps
        steps = [row["step"] for row in self.job.metrics() if "loss" in row]
        assert steps == list(range(LOGGED, self.steps + 1, LOGGED))
        versions = (self.home / "registry" / "models" / self.output).glob("*/manifest.json")
        assert [path.parent.name for path in versions] == ["1"]
        assert ws.models.get(self.output).ref == f"{self.output}:1"
        epochs = [event["epoch"] for event in _lines(self.folder / "events.jsonl")]
        assert epochs == sorted(epochs), "two attempts wrote at the same time"
        wait_for(lambda: not self.processes(), seconds=60)


def _is_trainer(pid: int) -> bool:
    arguments = _read(pid, "cmdline").split(b"\0")
    return b"bedplate.workers.finetune" in arguments and b"accelerate.commands.launch" not in arguments


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(pid: int, name: str) -> bytes:
    """Empty for a process that is gone, or is a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _lines(path: Path) -> list[dict[str, object]]:
    """The whole lines of a file; one that a kill cut short is not there."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with suppress(ValueError):
            found.append(json.loads(line))
    return found
