"""SIGKILL at awkward moments: what goes on, what comes back, what the user sees (the table in docs/operations.md)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import bedplate
from bedplate.client import Job, RemoteWorkspace
from harness import (
    bedplate_home,
    free_port,
    processes_of,
    run_cli,
    serving,
    start_serve,
    wait_for,
    write_messages,
)

COLUMNS = {"sentence1": "text", "label": "intent"}
TASK = "text-classification"
STEPS = 250
SLOW = {
    "max_steps": STEPS,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 8,
    "logging_steps": 10,
    "save_steps": 50,
    "eval_strategy": "no",
}


@pytest.fixture
def home() -> Iterator[Path]:
    with bedplate_home() as folder:
        yield folder


def start_training(ws: RemoteWorkspace, hub: str, folder: Path) -> Job:
    """A fine-tune that has written a checkpoint and is far from its end."""
    base = ws.import_model("acme/tiny-encoder", hub=hub)
    train = write_messages(folder / "train.csv", 400)
    job = ws.finetune(base, task=TASK, train=train, columns=COLUMNS, output="acme/slow", **SLOW)
    wait_for(lambda: step_of(job) >= 60, seconds=120)
    return job


def step_of(job: Job) -> float:
    progress = job.refresh().data["progress"]
    return float(progress["done"]) if progress and progress["phase"] == "train" else 0.0


def trainer_of(home: Path) -> int:
    """The process that trains, which `accelerate launch` started."""
    launchers = set(processes_of(home, "accelerate.commands.launch"))
    (trainer,) = set(processes_of(home, "bedplate.workers.finetune")) - launchers
    return trainer


def assert_it_goes_on_from_its_checkpoint(job: Job, attempt: int) -> None:
    """The first figures of the attempt are of steps after the checkpoint at 50, and none before it is missing."""
    wait_for(lambda: any(row["attempt"] == attempt for row in job.metrics()), seconds=120)
    first = min(row["step"] for row in job.metrics() if row["attempt"] == attempt and "loss" in row)
    earlier = [row["step"] for row in job.metrics() if row["step"] < first and "loss" in row]
    assert first > 50
    assert earlier == list(range(10, first, 10))


def assert_every_step_was_logged(job: Job) -> None:
    steps = [row["step"] for row in job.metrics() if "loss" in row]
    assert sorted(set(steps)) == list(range(10, STEPS + 1, 10))


def test_a_killed_training_worker_is_started_again_and_resumes(home: Path, hub: str, tmp_path: Path) -> None:
    with bedplate.connect(home=home) as ws:
        job = start_training(ws, hub, tmp_path)
        os.kill(trainer_of(home), signal.SIGKILL)  # its launcher, still alive, only says "exit code 1"
        job.wait(timeout_seconds=200)
        assert job.data["attempt"] == 2
        assert job.result["steps"] == STEPS
        assert_every_step_was_logged(job)
        assert "checkpoint" in job.logs(10_000)


def test_a_killed_supervisor_takes_its_worker_along_and_the_job_resumes(home: Path, hub: str, tmp_path: Path) -> None:
    with bedplate.connect(home=home) as ws:
        job = start_training(ws, hub, tmp_path)
        workers = processes_of(home, "bedplate.workers.finetune")
        for pid in processes_of(home, "bedplate.supervisor"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not set(workers) & set(processes_of(home, "bedplate.workers.finetune")), seconds=5)
        assert_it_goes_on_from_its_checkpoint(job, attempt=2)


def test_training_goes_on_while_the_control_plane_is_killed_and_is_found_again(
    home: Path, hub: str, tmp_path: Path
) -> None:
    with bedplate.connect(home=home) as ws:
        job = start_training(ws, hub, tmp_path)
        for pid in processes_of(home, "bedplate.control_plane"):
            os.kill(pid, signal.SIGKILL)
    with bedplate.connect(home=home) as ws:
        found = ws.jobs.get(job.id)
        assert found.state == "running"
        found.wait(timeout_seconds=200)
        assert found.data["attempt"] == 1
        assert_every_step_was_logged(found)


def test_a_cancelled_job_leaves_no_process_after_five_seconds_and_can_be_resumed(
    home: Path, hub: str, tmp_path: Path
) -> None:
    with bedplate.connect(home=home) as ws:
        job = start_training(ws, hub, tmp_path)
        asked = time.monotonic()
        job.cancel()
        wait_for(lambda: job.refresh().is_final, seconds=10)
        assert job.state == "cancelled"
        assert time.monotonic() - asked < 6
        assert not processes_of(home, "bedplate.workers.finetune")
        job.resume()
        assert_it_goes_on_from_its_checkpoint(job, attempt=2)


class Caller(threading.Thread):
    """Scores without pause and keeps what came back."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self.url, self.headers = url, {"Authorization": f"Bearer {token}"}
        self.statuses: list[int] = []
        self.errors: list[str] = []
        self._stop_asked = threading.Event()

    def run(self) -> None:
        with httpx.Client(headers=self.headers, timeout=20) as client:
            while not self._stop_asked.is_set():
                try:
                    self.statuses.append(client.post(self.url, json={"inputs": "my card is lost"}).status_code)
                except httpx.HTTPError as exc:
                    self.errors.append(repr(exc))
                time.sleep(0.005)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(30)


def deploy(home: Path, models: Path, instances: int = 1) -> tuple[str, str]:
    with bedplate.connect(home=home) as ws:
        model = ws.submit_import_folder(models / "classifier", "classifier").wait().model
        endpoint = ws.deploy(model, endpoint="tiny", instances=instances)
        return endpoint.url, str(endpoint.key)


def test_scoring_goes_on_while_the_control_plane_is_killed_and_restarts(home: Path, models: Path) -> None:
    port = free_port()
    with serving(home, port):
        url, key = deploy(home, models)
        caller = Caller(url, key)
        caller.start()
        killed = processes_of(home, "bedplate.control_plane")
        os.kill(killed[0], signal.SIGKILL)
        wait_for(lambda: set(processes_of(home, "bedplate.control_plane")) - set(killed), seconds=20)
        with bedplate.connect(home=home) as ws:
            assert ws.endpoints.get("tiny").state == "ready"
        time.sleep(1)
        caller.stop()
        assert caller.errors == []
        assert set(caller.statuses) == {200}
        assert len(caller.statuses) > 50


def test_a_killed_replica_is_replaced_and_only_its_own_requests_fail_with_a_typed_503(home: Path, models: Path) -> None:
    port = free_port()
    with serving(home, port):
        url, key = deploy(home, models, instances=2)
        caller = Caller(url, key)
        caller.start()
        before = processes_of(home, "bedplate_serving.replica")
        os.kill(before[-1], signal.SIGKILL)
        with bedplate.connect(home=home) as ws:
            wait_for(lambda: ws.endpoints.get("tiny").data["deployments"][0]["ready"] < 2, seconds=10)
            wait_for(lambda: ws.endpoints.get("tiny").data["deployments"][0]["ready"] == 2, seconds=60)
        caller.stop()
        assert caller.errors == []
        assert set(caller.statuses) <= {200, 503}
        assert caller.statuses.count(503) <= 1
        assert caller.statuses[-1] == 200


def test_after_the_whole_server_is_killed_serve_finds_its_endpoints_and_jobs_again(
    home: Path, hub: str, models: Path, tmp_path: Path
) -> None:
    port = free_port()
    process = start_serve(home, port)
    url, key = deploy(home, models)
    with bedplate.connect(home=home) as ws:
        job = start_training(ws, hub, tmp_path)
    replicas = processes_of(home, "bedplate_serving.replica")
    process.kill()
    process.wait()
    for part in ("bedplate.control_plane", "bedplate_serving.gateway"):
        for pid in processes_of(home, part):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not processes_of(home, "bedplate.control_plane"), seconds=5)
    with serving(home, port):
        answer = httpx.post(url, json={"inputs": "hello"}, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        assert answer.status_code == 200
        assert processes_of(home, "bedplate_serving.replica") == replicas
        with bedplate.connect(home=home) as ws:
            found = ws.jobs.get(job.id).wait(timeout_seconds=200)
            assert found.data["attempt"] == 1
            assert_every_step_was_logged(found)


def test_serve_takes_the_place_of_a_private_server_and_its_endpoint_stays(home: Path, models: Path) -> None:
    port = free_port()
    folder = str(models / "classifier")
    run_cli("import", "--from", folder, "--name", "classifier", home=home, BEDPLATE_PORT=str(port))
    run_cli("deploy", "classifier", "--endpoint", "tiny", home=home, BEDPLATE_PORT=str(port))
    replicas = processes_of(home, "bedplate_serving.replica")
    with serving(home, port):
        scored = run_cli("score", "tiny", "--input", "my card is lost", home=home)
        assert '"label"' in scored.stdout
        assert processes_of(home, "bedplate_serving.replica") == replicas


def test_two_commands_at_once_start_one_private_server(home: Path) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(run_cli("models", "list", home=home).returncode))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0, 0, 0]
    wait_for(lambda: len(processes_of(home, "bedplate.control_plane")) == 1, seconds=20)
    assert run_cli("models", "list", home=home).returncode == 0
