"""SIGKILL at awkward moments: what goes on, what comes back, what the user sees (the tables in docs/operations.md).

All moments of a fine-tune are in test_kill_matrix.py, which takes minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import bedplate
from bedplate.client import Endpoint, RemoteWorkspace
from fine_tunes import FineTune
from harness import bedplate_home, processes_of, wait_for
from held_imports import start_held_import
from killable_server import Server, kill
from slow_hub import slow_hub

STEPS = {"steps": 100, "saved": 25}
STRUCK = 30  # a checkpoint is written, and the end is far


@pytest.fixture
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as folder:
        yield folder


@pytest.fixture
def ws(home: Path) -> Iterator[RemoteWorkspace]:
    with bedplate.connect(home=home) as workspace:
        yield workspace


def start_training(ws: RemoteWorkspace, home: Path, folder: Path) -> FineTune:
    tune = FineTune.submit(ws, home, folder, "acme/struck", **STEPS)
    tune.await_step(STRUCK)
    return tune


def test_a_killed_training_worker_is_started_again_and_resumes(home: Path, ws: RemoteWorkspace, tmp_path: Path) -> None:
    tune = start_training(ws, home, tmp_path)
    kill(tune.trainer())  # its launcher, still alive, only says "exit code 1"
    tune.check(ws, attempt=2)
    assert tune.steps_logged(attempt=2)[0] > tune.saved
    assert "it goes on from its last checkpoint" in tune.job.logs(10_000)


def test_a_killed_supervisor_takes_its_worker_along_and_the_next_attempt_starts(
    home: Path, ws: RemoteWorkspace, tmp_path: Path
) -> None:
    tune = FineTune.submit(ws, home, tmp_path, "acme/struck")
    wait_for(lambda: tune.folder.joinpath("heartbeat-1").exists())
    kill(tune.supervisor())
    wait_for(lambda: not tune.processes(attempt=1), seconds=60)
    tune.await_file("started-2.json")
    assert (tune.job.refresh().state, tune.job.data["attempt"]) == ("running", 2)


def test_a_cancelled_job_leaves_no_process_and_can_be_resumed(home: Path, ws: RemoteWorkspace, tmp_path: Path) -> None:
    tune = start_training(ws, home, tmp_path)
    tune.job.cancel()
    wait_for(lambda: tune.job.refresh().is_final)
    assert tune.job.state == "cancelled"
    assert not tune.processes()
    tune.job.resume()
    wait_for(lambda: tune.steps_logged(attempt=2), seconds=120)
    assert tune.steps_logged(attempt=2)[0] > tune.saved


# --- a server whose endpoint has two instances ---


@pytest.fixture(scope="module")
def server(stock: Path) -> Iterator[Server]:
    with bedplate_home(stock) as home:
        server = Server(home)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Iterator[Endpoint]:
    with bedplate.connect(home=server.home) as ws:
        yield ws.deploy("acme/tiny-classifier", endpoint="tiny", instances=2)


class Caller(threading.Thread):
    """Scores without pause and keeps what came back."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(daemon=True)
        self.url, self.headers = endpoint.url, {"Authorization": f"Bearer {endpoint.key}"}
        self.statuses: list[int] = []
        self.errors: list[str] = []
        self._stop_asked = threading.Event()

    def run(self) -> None:
        with httpx.Client(headers=self.headers, timeout=60) as client:
            while not self._stop_asked.is_set():
                try:
                    self.statuses.append(client.post(self.url, json={"inputs": "my card is lost"}).status_code)
                except httpx.HTTPError as exc:
                    self.errors.append(repr(exc))
                time.sleep(0.005)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(60)


@pytest.fixture
def caller(endpoint: Endpoint) -> Iterator[Caller]:
    caller = Caller(endpoint)
    caller.start()
    yield caller
    caller.stop()


def test_scoring_and_training_go_on_while_the_control_plane_is_killed_and_restarts(
    server: Server, caller: Caller, tmp_path: Path
) -> None:
    with bedplate.connect(home=server.home) as ws:
        tune = start_training(ws, server.home, tmp_path)
        server.kill("control plane")
        assert ws.endpoints.get("tiny").state == "ready"
        tune.check(ws, attempt=1)
    caller.stop()
    assert caller.errors == []
    assert set(caller.statuses) == {200}
    assert len(caller.statuses) > 50


def test_a_killed_replica_is_replaced_and_only_its_own_requests_fail_with_a_typed_503(
    server: Server, caller: Caller
) -> None:
    before = processes_of(server.home, "bedplate_serving.replica")
    kill(before[-1])
    wait_for(lambda: set(processes_of(server.home, "bedplate_serving.replica")) - set(before))
    with bedplate.connect(home=server.home) as ws:
        wait_for(lambda: ws.endpoints.get("tiny").data["deployments"][0]["ready"] == 2, seconds=120)
    caller.stop()
    assert caller.errors == []
    assert set(caller.statuses) <= {200, 503}
    assert caller.statuses.count(503) <= 1
    assert caller.statuses[-1] == 200


def test_after_the_whole_server_is_killed_serve_finds_its_endpoints_and_jobs_again(
    server: Server, endpoint: Endpoint, models: Path
) -> None:
    released = threading.Event()
    with slow_hub(models, released) as hub:
        with bedplate.connect(home=server.home) as ws:
            job, worker = start_held_import(ws, server.home, hub)
        replicas = processes_of(server.home, "bedplate_serving.replica")
        server.kill("whole server")
        assert endpoint.score("hello")
        assert set(replicas) <= set(processes_of(server.home, "bedplate_serving.replica"))
        assert worker in processes_of(server.home, "bedplate.workers.import_model")
        released.set()
        with bedplate.connect(home=server.home) as ws:
            found = ws.jobs.get(job.id).wait(timeout_seconds=200)
            assert (found.state, found.data["attempt"]) == ("succeeded", 1)
