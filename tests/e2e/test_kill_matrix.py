"""Whatever is killed, at whatever moment of a fine-tune: it ends once, whole. Run by `make faults`.

Five things to kill, four moments: the job is queued, starts (between the row's claim and the worker's first sign of
life), runs (it has a checkpoint), finishes (its result is written and not published). The table in docs/operations.md
says what happens in each cell. One `bedplate serve` with room for one job goes through all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import bedplate
from bedplate.client import RemoteWorkspace
from fine_tunes import LOGGED, FineTune
from harness import bedplate_home, processes_of, wait_for
from killable_server import PARTS, Server, kill

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

OF_THE_JOB = ("worker", "supervisor")


@pytest.fixture(scope="module")
def server(stock: Path) -> Iterator[Server]:
    with bedplate_home(stock) as home:
        server = Server(home, BEDPLATE_MAX_JOBS="1")
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def ws(server: Server) -> Iterator[RemoteWorkspace]:
    """What a failed test leaves in the queue is cancelled."""
    with bedplate.connect(home=server.home) as ws:
        yield ws
        for job in ws.jobs.list():
            if not job.is_final:
                job.cancel()


def strike(server: Server, tune: FineTune, killed: str, moment: str, attempt: int = 1) -> None:
    """Wait for the moment and kill."""
    if moment == "start":
        tune.await_file("started-1.json" if killed in OF_THE_JOB else "supervisor-1.json")
    else:
        tune.await_step(25 if moment == "run" else tune.steps)
    victims = {"supervisor": tune.supervisor, "worker": tune.worker if moment == "start" else tune.trainer}
    victim = victims[killed]() if killed in victims else 0
    if moment == "finish":
        tune.await_file(f"result-{attempt}.json")
    assert not (tune.folder / f"exit-{attempt}.json").exists(), "the moment is over"
    if victim:
        kill(victim)
    else:
        server.kill(killed)


def assert_it_waits(tune: FineTune) -> None:
    job = tune.job.refresh()
    assert (job.state, job.data["attempt"], job.data["position"]) == ("queued", 0, 1)
    assert not tune.folder.joinpath("supervisor-1.json").exists()


@pytest.mark.parametrize("killed", OF_THE_JOB)
def test_a_second_attempt_goes_on_from_the_last_checkpoint(
    killed: str, server: Server, ws: RemoteWorkspace, tmp_path: Path
) -> None:
    starts, runs, ends = (
        FineTune.submit(ws, server.home, tmp_path, f"acme/{killed}-{moment}") for moment in ("start", "run", "finish")
    )
    strike(server, starts, killed, "start")
    starts.await_file("started-2.json")
    assert_it_waits(runs)  # the cell of the queue: what is queued has no process that could be killed
    starts.check(ws, attempt=2)
    assert starts.steps_logged(attempt=2)[0] == LOGGED
    strike(server, runs, killed, "run")
    runs.check(ws, attempt=2)
    assert starts.job.data["finished"] <= runs.job.data["started"]
    assert runs.steps_logged(attempt=2)[0] > runs.saved
    strike(server, ends, killed, "finish")
    # A worker leaves as soon as its result is written: what was killed may have been on its way out with it.
    wait_for(lambda: any((ends.folder / name).exists() for name in ("exit-1.json", "started-2.json")))
    left = (ends.folder / "exit-1.json").exists() and json.loads((ends.folder / "exit-1.json").read_text())
    attempt = 1 if left and left["returncode"] == 0 else 2
    ends.check(ws, attempt=attempt)
    assert ends.steps_logged(attempt=2) == []
    assert {tune.job.logs(10_000).count('"event": "attempt') for tune in (starts, runs)} == {1}
    assert ends.job.logs(10_000).count('"event": "attempt') == attempt - 1


@pytest.mark.parametrize("killed", PARTS)
def test_the_attempt_goes_on_and_is_found_again(
    killed: str, server: Server, ws: RemoteWorkspace, tmp_path: Path
) -> None:
    name = f"acme/{killed.replace(' ', '-')}"
    ahead = FineTune.submit(ws, server.home, tmp_path, f"{name}-ahead")
    tune = FineTune.submit(ws, server.home, tmp_path, name, steps=120)
    ahead.await_file("started-1.json")
    server.kill(killed)
    assert_it_waits(tune)
    assert ahead.job.refresh().state == "running"
    ahead.job.cancel()
    strike(server, tune, killed, "start")
    # The control plane may die between its order and the supervisor's start: then the first attempt never was.
    wait_for(lambda: any(tune.folder.glob("started-*.json")))
    attempt = 1 if (tune.folder / "started-1.json").exists() else 2
    strike(server, tune, killed, "run", attempt)
    strike(server, tune, killed, "finish", attempt)
    tune.check(ws, attempt=attempt)
    assert ahead.job.refresh().state == "cancelled"
    assert ahead.job.data["finished"] <= tune.job.data["started"]


def test_an_attempt_whose_control_plane_died_before_the_supervisor_started_never_was(
    server: Server, ws: RemoteWorkspace, tmp_path: Path
) -> None:
    ahead = FineTune.submit(ws, server.home, tmp_path, "acme/ordered-ahead")
    tune = FineTune.submit(ws, server.home, tmp_path, "acme/ordered")
    ahead.await_file("started-1.json")
    (control_plane,) = processes_of(server.home, "bedplate.control_plane")
    ahead.job.cancel()
    while not (tune.folder / "supervisor-1.json").exists():
        pass  # the supervisor is started a few milliseconds later
    kill(control_plane)
    tune.await_file("started-2.json")
    assert not (tune.folder / "started-1.json").exists()
    assert "attempt 1: it did not come up" in tune.job.logs(10_000)
    tune.job.cancel()
