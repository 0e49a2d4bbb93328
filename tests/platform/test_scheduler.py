"""The scheduler with real supervisors and a small kind of job of our own: every way that an attempt can end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate import spawn
from bedplate.endpoints import EndpointStore
from bedplate.jobs import Job
from bedplate.kinds import KINDS, Kind
from bedplate.kinds.base import Command
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict


def finish(context: Any, job_id: str, spec: Any, result: dict[str, Any]) -> dict[str, Any]:
    if spec.get("finish") == "stumble" and not (stumbled := context.home.run / "stumbled").exists():
        stumbled.touch()
        raise OSError("the disk did not answer")
    if spec.get("finish") == "refuse":
        raise Conflict("It is there already.", code="there")
    return {"answer": result["value"]}


SCRIPT = Kind(
    "script",
    prepare=lambda context, request: dict(request),
    command=lambda context, spec, folder, epoch: Command([sys.executable, "-c", spec["code"], str(epoch)]),
    finish=finish,
)
WELL = "import json, sys; json.dump({'value': 7}, open(f'result-{sys.argv[1]}.json', 'w'))"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setitem(KINDS, "script", SCRIPT)
    made = Workspace(Settings.from_environment({"BEDPLATE_HOME": str(tmp_path)}), address=None)
    yield made
    for job in made.jobs.running():
        spawn.Held(made.scheduler.folder(job.id).path, job.epoch).stop()
    made.database.close()


def run(workspace: Workspace, code: str, **spec: Any) -> Job:
    return tick_until_final(workspace, workspace.submit("script", {"code": code, **spec}))


def tick_until_final(workspace: Workspace, job: Job, seconds: float = 60) -> Job:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        workspace.scheduler.tick()
        spawn.reap()
        job = workspace.jobs.get(job.id)
        if job.is_final:
            return job
        time.sleep(0.05)
    raise AssertionError(f"{job.id} is still {job.state}")


def test_a_result_is_finished_by_the_owner_and_shown(workspace: Workspace) -> None:
    job = run(workspace, WELL)
    assert (job.state, job.result, job.epoch) == ("succeeded", {"answer": 7}, 1)


def test_a_reason_that_the_worker_left_is_the_jobs_error_and_it_is_not_tried_again(workspace: Workspace) -> None:
    error = {"code": "no", "message": "No.", "hint": ""}
    code = f"import json, sys; json.dump({error}, open('error-1.json', 'w')); sys.exit(1)"
    job = run(workspace, code)
    assert (job.state, job.epoch) == ("failed", 1)
    assert job.error is not None
    assert job.error["code"] == "no"


def test_a_worker_that_dies_once_is_started_again(workspace: Workspace) -> None:
    code = "import os, sys\nif sys.argv[1] == '1': os.kill(os.getpid(), 9)\n" + WELL
    job = run(workspace, code)
    assert (job.state, job.epoch, job.deaths) == ("succeeded", 2, 1)


def test_a_worker_that_dies_every_time_fails_with_its_last_line(workspace: Workspace) -> None:
    job = run(workspace, "import sys; print('out of luck'); sys.exit(3)")
    assert (job.state, job.epoch) == ("failed", 3)
    assert job.error is not None
    assert job.error["code"] == "worker-died"
    assert "out of luck" in job.error["message"]
    assert job.id in job.error["hint"]


def test_what_the_owner_refuses_at_the_end_fails_the_job_with_its_reason(workspace: Workspace) -> None:
    job = run(workspace, WELL, finish="refuse")
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "there"


def test_a_round_that_stumbles_fails_no_job_the_next_one_tries_again(workspace: Workspace) -> None:
    job = run(workspace, WELL, finish="stumble")
    assert (job.state, job.epoch) == ("succeeded", 1)


def test_a_job_whose_owner_died_before_its_folder_was_made_is_run_all_the_same(workspace: Workspace) -> None:
    job = workspace.submit("script", {"code": WELL})
    workspace.jobs.move(job, "running", epoch=1, started=time.time())
    assert tick_until_final(workspace, job).state == "succeeded"


@pytest.mark.parametrize("name", ["exit-1.json", "started-1.json"])
def test_a_torn_file_of_one_job_stops_no_other(workspace: Workspace, name: str) -> None:
    torn = workspace.submit("script", {"code": WELL})
    workspace.jobs.move(torn, "running", epoch=1, started=time.time())
    folder = workspace.scheduler.folder(torn.id)
    folder.create(torn.spec)
    (folder.path / name).write_text("")
    other = workspace.submit("script", {"code": WELL})
    assert tick_until_final(workspace, other).state == "succeeded"
    assert tick_until_final(workspace, torn).is_final


def test_a_torn_result_fails_its_job_by_name(workspace: Workspace) -> None:
    job = run(workspace, "open('result-1.json', 'w').write('{\"val')")
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "damaged-folder"


def test_a_cancelled_job_ends_as_cancelled(workspace: Workspace) -> None:
    job = workspace.submit("script", {"code": "import time; time.sleep(60)"})
    workspace.scheduler.tick()
    workspace.jobs.ask_cancel(job.id)
    assert tick_until_final(workspace, job, seconds=20).state == "cancelled"


def test_a_waiting_job_says_what_it_waits_for(workspace: Workspace) -> None:
    first = workspace.submit("script", {"code": "import time; time.sleep(60)"})
    second = workspace.submit("script", {"code": WELL})
    workspace.scheduler.tick()
    waiting = workspace.describe_job(workspace.jobs.get(second.id))["waiting"]
    assert first.id in waiting
    workspace.jobs.ask_cancel(first.id)
    assert tick_until_final(workspace, second).state == "succeeded"


def test_a_supervisor_that_wakes_after_the_next_attempt_began_starts_nothing(tmp_path: Path) -> None:
    spec = {"argv": [sys.executable, "-c", "open('ran', 'w')"], "env": {}, "log": str(tmp_path / "log")}
    spec |= {"folder": str(tmp_path), "epoch": 1, "grace_seconds": 1, "network": False}
    (tmp_path / "supervisor-1.json").write_text(json.dumps(spec))
    (tmp_path / "supervisor-2.json").write_text("{}")
    argv = [sys.executable, "-m", "bedplate.supervisor", str(tmp_path / "supervisor-1.json")]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    assert not (tmp_path / "ran").exists()


def test_the_replicas_of_a_deleted_endpoint_are_not_taken_by_a_new_one_of_that_name(workspace: Workspace) -> None:
    store: EndpointStore = workspace.endpoints
    store.deploy("support", "intents:1", "text-classification")
    (deployment,) = store.deployments("support")
    replica = store.add_replica(deployment)
    store.move_replica(replica, "ready")
    store.delete("support")
    store.deploy("support", "intents:2", "text-classification")
    assert [row.state for row in store.replicas("support")] == ["stopping"]
    store.move_replica(replica, "ready")  # by a round that still saw it as starting
    assert [row.state for row in store.replicas("support")] == ["stopping"]
