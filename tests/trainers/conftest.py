"""What the tests of the trainers share: a tiny model, synthetic rows it can learn, a reporter that remembers."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

from bedplate_trainers.finetune import DataFile, FinetuneRequest
from bedplate_trainers.launch import launch_command, launch_environment

KEYWORDS = {"money": ("refund", "invoice", "payment"), "access": ("login", "password", "account"), "parcel": ("late",)}
FILLER = ("the", "my", "we", "please", "help", "why", "how", "when", "not", "good", "slow", "phone", "was", "thanks")


class Recorder:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, float, float, str]] = []
        self.figures: list[tuple[int, dict[str, float]]] = []
        self.messages: list[str] = []

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        self.phases.append((phase, done, total, unit))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.figures.append((step, dict(values)))

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder without a head."""
    from bedplate_serving.testing import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("base"))


def synthetic_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Sentences that name their label by one word among others."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        label = generator.choice(sorted(KEYWORDS))
        words = generator.choices(FILLER, k=generator.randint(2, 9))
        words.insert(generator.randint(0, len(words)), generator.choice(KEYWORDS[label]))
        rows.append({"text": " ".join(words), "label": label})
    return rows


@pytest.fixture
def synthetic() -> Callable[..., list[dict[str, Any]]]:
    return synthetic_rows


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., DataFile]:
    def write(rows: Sequence[Mapping[str, Any]], name: str = "rows.jsonl") -> DataFile:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return DataFile(path, "jsonl")

    return write


@pytest.fixture
def make_request(base_dir: Path, tmp_path: Path, write_rows: Callable[..., DataFile]) -> Callable[..., FinetuneRequest]:
    """A small fine-tune; keyword arguments replace what it has."""

    def make(rows: Sequence[Mapping[str, Any]] | None = None, **changes: Any) -> FinetuneRequest:
        settings = {"learning_rate": 5e-3, "num_train_epochs": 12, "per_device_train_batch_size": 32}
        given: dict[str, Any] = {
            "task": "text-classification",
            "model_dir": base_dir,
            "validation": "auto",
            "test": "auto",
            "columns": {"sentence1": "text"},
            "work_dir": tmp_path / "work",
            "output_dir": tmp_path / "model",
            "device": "cpu",
            **changes,
            "settings": settings | changes.get("settings", {}),
        }
        given.setdefault("train", write_rows(rows if rows is not None else synthetic_rows(400), "train.jsonl"))
        return FinetuneRequest(**given)

    return make


@pytest.fixture
def start_worker(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a real worker through accelerate, in a session of its own."""

    def start(request: FinetuneRequest, *flags: str, folder: Path = tmp_path, **more: Any) -> subprocess.Popen[str]:
        path = folder / "request.json"
        path.write_text(json.dumps(request.to_json() | more))
        processes = request.processes
        environment = os.environ | launch_environment(device="cpu", processes=processes, threads=1)
        environment["PYTHONPATH"] = str(Path(__file__).parent)
        command = launch_command("trainer_worker", [str(path), *flags], device="cpu", processes=processes, threads=1)
        return subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def result_of(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Waits for a worker and reads what it came to."""

    def read(process: subprocess.Popen[str], folder: Path = tmp_path) -> dict[str, Any]:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        return dict(json.loads((folder / "result.json").read_text()))

    return read
