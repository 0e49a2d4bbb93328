"""The scheduler with real supervisors and a small kind of job of our own: every way that an attempt can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate import spawn
from bedplate.compute import GIB, Demand, Inventory, Lease, Shortage
from bedplate.endpoints import EndpointStore
from bedplate.jobs import Job
from bedplate.kinds import KINDS, Kind
from bedplate.kinds.base import Command, Step
from bedplate.leases import Room, never_all
from bedplate.machine import SimulatedMachine, simulated
from bedplate.processes import ProcessId
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict, Refused, Unavailable


def finish(context: Any, job_id: str, spec: Any, result: dict[str, Any]) -> dict[str, Any]:
    if spec.get("finish") == "stumble" and not (stumbled := context.home.run / "stumbled").exists():
        stumbled.touch()
        raise OSError("the disk did not answer")
    if spec.get("finish") == "full" and not (context.home.run / "room").exists():
        raise Unavailable("The disk is full.")
    if spec.get("finish") == "refuse":
        raise Conflict("It is there already.", code="there")
    return {"answer": result["value"]}


SCRIPT = Kind(
    "script",
    scope="admin",
    prepare=lambda context, request: dict(request),
    demand=lambda context, spec: Demand(**spec.get("demand", {})),
    command=lambda context, spec, folder, epoch, lease: Command([sys.executable, "-c", spec["code"], str(epoch)]),
    finish=finish,
)
LEASE = Lease(cores=0, memory_bytes=0)
ROOMY = Inventory(cores=4, memory_bytes=8 * GIB, memory_free_bytes=8 * GIB)
WELL = "import json, sys; json.dump({'value': 7}, open(f'result-{sys.argv[1]}.json', 'w'))"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setitem(KINDS, "script", SCRIPT)
    settings = Settings.from_environment({"BEDPLATE_HOME": str(tmp_path)})
    made = Workspace(settings, address=None, machine=SimulatedMachine(ROOMY))
    yield made
    for job in made.jobs.running():
        made.attempts.kill(job)
    made.database.close()


def run(workspace: Workspace, code: str, **spec: Any) -> Job:
    return tick_until_final(workspace, workspace.submit("script", {"code": code, **spec}))


def wait_until(workspace: Workspace, what: Callable[[], object], seconds: float = 30) -> None:
    """Rounds of the scheduler until `what()` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        workspace.scheduler.tick()
        spawn.reap()
        time.sleep(0.05)


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


def test_a_result_waits_for_room_on_the_disk_unless_its_job_is_cancelled(workspace: Workspace) -> None:
    job, other = (workspace.submit("script", {"code": WELL, "finish": "full"}) for _ in "12")
    written = [workspace.job_folder(row.id).path / "exit-1.json" for row in (job, other)]
    wait_until(workspace, lambda: all(path.exists() for path in written))
    workspace.scheduler.tick()
    assert workspace.jobs.get(job.id).state == "running"
    workspace.cancel_job(other.id)
    assert tick_until_final(workspace, other).state == "cancelled"
    (workspace.home.run / "room").touch()
    assert tick_until_final(workspace, job).state == "succeeded"


def test_a_result_that_cannot_be_used_fails_its_job(workspace: Workspace) -> None:
    job = run(workspace, WELL.replace("'value'", "'volume'"))
    assert job.error is not None
    assert (job.state, job.error["code"], job.lease) == ("failed", "bad-result", None)


def test_a_job_that_fits_is_found_however_many_wait_before_it(workspace: Workspace) -> None:
    workspace.machine.set(simulated("1xV100-32GB", cores=4, memory_gb=8).inventory())
    for _ in range(120):
        workspace.submit("script", {"code": "import time; time.sleep(60)", "demand": {"gpus": 1}})
    last = workspace.submit("script", {"code": WELL, "demand": {"cores": 1}})
    assert tick_until_final(workspace, last).state == "succeeded"


def test_a_deployment_that_can_never_be_whole_is_refused_and_an_old_one_keeps_no_job_waiting(
    workspace: Workspace,
) -> None:
    machine = workspace.machine.inventory()
    assert never_all(machine, Demand(memory_bytes=3 * GIB), 2) is None
    assert never_all(machine, Demand(memory_bytes=3 * GIB), 3) is not None
    third = {"instances": 3, "demand": Demand(memory_bytes=3 * GIB)}
    workspace.endpoints.deploy("support", "intents:1", "text-classification", **third)
    (deployment,) = workspace.endpoints.deployments("support")
    for _ in range(2):
        lease = workspace.leases.for_replica("support", deployment.demand)
        assert isinstance(lease, Lease)
        workspace.endpoints.add_replica(deployment, lease)
    job = workspace.submit("script", {"code": WELL, "demand": {"memory_bytes": GIB}})
    assert tick_until_final(workspace, job).state == "succeeded"


def test_stop_all_ends_a_worker_that_is_just_starting(workspace: Workspace) -> None:
    job = workspace.submit("script", {"code": "import time; time.sleep(60)"})
    workspace.scheduler.tick()
    workspace.stop_all()
    assert spawn.Held(workspace.job_folder(job.id).path, 1).exit is not None


def test_what_only_a_sweep_may_say_of_its_trials_is_refused_from_others(workspace: Workspace) -> None:
    with pytest.raises(Refused) as caught:
        workspace.submit("script", {"code": WELL, "trial": {"number": 1}})
    assert caught.value.code == "unknown-setting"
    trial = workspace.jobs.submit("script", {"code": WELL, "trial": {"number": 1}}, parent="sweep-1")
    assert workspace.rerun_job(trial.id).spec == {"code": WELL}


def test_a_job_that_submits_others_and_is_refused_leaves_none_of_them_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = ("script", {"code": WELL}), ("script", {"code": WELL, "needs": {"core": 1}})
    pair = Kind("pair", "admin", prepare=lambda context, request: {}, advance=lambda *_: Step(submit=requests))
    monkeypatch.setitem(KINDS, "script", SCRIPT)
    monkeypatch.setitem(KINDS, "pair", pair)
    settings = Settings.from_environment({"BEDPLATE_HOME": str(tmp_path)})
    workspace = Workspace(settings, address=None, machine=SimulatedMachine(ROOMY))
    job = workspace.submit("pair", {})
    assert tick_until_final(workspace, job).state == "failed"
    (child,) = workspace.jobs.find(parent=job.id)
    assert child.state == "cancelled"
    workspace.database.close()


def test_a_job_whose_owner_died_before_its_folder_was_made_is_run_all_the_same(workspace: Workspace) -> None:
    job = workspace.submit("script", {"code": WELL})
    workspace.jobs.claim(job, LEASE)
    assert tick_until_final(workspace, job).state == "succeeded"


@pytest.mark.parametrize("name", ["exit-1.json", "started-1.json"])
def test_a_torn_file_of_one_job_stops_no_other(workspace: Workspace, name: str) -> None:
    torn = workspace.submit("script", {"code": WELL})
    workspace.jobs.claim(torn, LEASE)
    folder = workspace.job_folder(torn.id)
    folder.create(torn.spec)
    (folder.path / name).write_text("")
    other = workspace.submit("script", {"code": WELL})
    assert tick_until_final(workspace, other).state == "succeeded"
    assert tick_until_final(workspace, torn).is_final


def test_a_job_that_was_cancelled_before_it_ever_ran_can_be_retried(workspace: Workspace) -> None:
    job = workspace.submit("script", {"code": WELL})
    workspace.cancel_job(job.id)
    workspace.resume_job(job.id, start_over=True)
    assert tick_until_final(workspace, job).state == "succeeded"


def test_a_job_that_cannot_be_started_over_keeps_no_other_from_its_turn(workspace: Workspace) -> None:
    stuck = run(workspace, "import sys; sys.exit(3)")
    (workspace.job_folder(stuck.id).path / f"before-{stuck.epoch + 1}").write_text("in the way")
    workspace.resume_job(stuck.id, start_over=True)
    behind = workspace.submit("script", {"code": WELL})
    assert tick_until_final(workspace, behind).state == "succeeded"
    waiting = workspace.jobs.get(stuck.id)
    assert (waiting.state, waiting.waiting_for) == ("queued", "attempt")
    (workspace.job_folder(stuck.id).path / f"before-{stuck.epoch + 1}").unlink()
    assert tick_until_final(workspace, stuck).epoch == 6


def test_a_torn_result_fails_its_job_by_name(workspace: Workspace) -> None:
    job = run(workspace, "open('result-1.json', 'w').write('{\"val')")
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "damaged-folder"


def test_a_link_in_the_place_of_a_result_fails_its_job_and_is_not_followed(workspace: Workspace) -> None:
    job = run(workspace, "import os; os.symlink('/etc/hostname', 'result-1.json')")
    assert job.error is not None
    assert job.error["code"] == "damaged-folder"


def test_a_cancelled_job_ends_as_cancelled(workspace: Workspace) -> None:
    job = workspace.submit("script", {"code": "import time; time.sleep(60)"})
    workspace.scheduler.tick()
    workspace.jobs.ask_cancel(job.id)
    assert tick_until_final(workspace, job, seconds=20).state == "cancelled"


def test_a_waiting_job_says_what_it_waits_for_and_its_place_in_line(workspace: Workspace) -> None:
    first = workspace.submit("script", {"code": "import time; time.sleep(60)", "demand": {"cores": 3}})
    second = workspace.submit("script", {"code": WELL, "demand": {"cores": 2}})
    workspace.scheduler.tick()
    waiting = workspace.describe_job(workspace.jobs.get(second.id))
    assert waiting["waiting_for"] == "cores"
    assert waiting["position"] == 1
    assert waiting["waiting"].startswith("waits for 2 cores")
    assert first.id in waiting["waiting"]
    assert waiting["waiting"].endswith("position 1 of 1")
    workspace.cancel_job(first.id)
    assert tick_until_final(workspace, second).state == "succeeded"


def test_jobs_run_together_within_what_the_machine_has(workspace: Workspace) -> None:
    jobs = [workspace.submit("script", {"code": "import time; time.sleep(60)", "demand": {"cores": 2}}) for _ in "123"]
    small = workspace.submit("script", {"code": "import time; time.sleep(60)"})
    workspace.scheduler.tick()
    states = [workspace.jobs.get(job.id).state for job in (*jobs, small)]
    assert states == ["running", "running", "queued", "running"]
    held = {holder["id"] for holder in workspace.leases.describe()["holders"]}
    assert held == {jobs[0].id, jobs[1].id, small.id}
    assert workspace.leases.describe()["free"]["cores"] == 0


def test_a_job_sees_the_gpus_of_its_lease_and_one_without_sees_none(workspace: Workspace) -> None:
    workspace.machine.set(simulated("2xV100-32GB", cores=4, memory_gb=8).inventory())
    code = WELL.replace("7", "os.environ['CUDA_VISIBLE_DEVICES']").replace("import json", "import json, os")
    with_two = workspace.submit("script", {"code": code, "demand": {"gpus": 2}})
    without = workspace.submit("script", {"code": code})
    uuids = ",".join(gpu.uuid for gpu in workspace.machine.inventory().gpus)
    assert tick_until_final(workspace, with_two).result == {"answer": uuids}
    assert tick_until_final(workspace, without).result == {"answer": ""}


def test_what_this_machine_can_never_run_is_refused_at_once(workspace: Workspace) -> None:
    with pytest.raises(Refused) as caught:
        workspace.submit("script", {"code": WELL, "demand": {"gpus": 1}})
    assert caught.value.code == "does-not-fit"


def test_cards_that_are_kept_for_endpoints_go_to_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "script", SCRIPT)
    settings = Settings.from_environment({"BEDPLATE_HOME": str(tmp_path), "BEDPLATE_ENDPOINT_GPUS": "1"})
    workspace = Workspace(settings, address=None, machine=simulated("2xV100-32GB", cores=4, memory_gb=8))
    with pytest.raises(Refused) as caught:
        workspace.submit("script", {"code": WELL, "demand": {"gpus": 2}})
    assert "BEDPLATE_ENDPOINT_GPUS" in caught.value.message
    first, last = workspace.machine.inventory().gpus
    lease = workspace.leases.for_replica("support", Demand(gpus=1))
    assert isinstance(lease, Lease)
    assert lease.gpus == (last.uuid,)
    workspace.submit("script", {"code": "import time; time.sleep(60)", "demand": {"gpus": 1}})
    workspace.scheduler.tick()
    (job,) = workspace.jobs.running()
    assert job.lease is not None
    assert job.lease.gpus == (first.uuid,)
    workspace.attempts.kill(job)
    workspace.database.close()


def test_a_batch_makes_room_for_an_endpoint_and_goes_on_afterwards(workspace: Workspace) -> None:
    workspace.machine.set(simulated("1xV100-32GB", cores=4, memory_gb=8).inventory())
    code = "import sys, time\nif sys.argv[1] == '1': time.sleep(60)\n" + WELL
    request = {"code": code, "demand": {"gpus": 1}, "needs": {"preemptible": True}}
    job = workspace.submit("script", request)
    workspace.scheduler.tick()
    share = Demand(memory_bytes=GIB, gpus=1, gpu_memory_bytes=4 * GIB)
    workspace.endpoints.deploy("support", "intents:1", "text-classification", demand=share)
    answer = workspace.leases.for_replica("support", share)
    assert isinstance(answer, Shortage)
    wait_until(workspace, lambda: workspace.jobs.get(job.id).state == "queued")
    lease = workspace.leases.for_replica("support", share)
    assert isinstance(lease, Lease)
    waiting = workspace.jobs.get(job.id)
    assert (waiting.deaths, waiting.waiting_for) == (0, "gpus")
    workspace.endpoints.delete("support")
    assert tick_until_final(workspace, job).epoch == 2


def test_a_frozen_attempt_is_ended_after_its_lease_and_the_next_one_is_alone(workspace: Workspace) -> None:
    workspace.scheduler._lease_seconds = 1.5
    code = "import os, sys, time\nopen(f'pid-{sys.argv[1]}', 'w').write(str(os.getpid()))\n"
    code += "if sys.argv[1] == '1': time.sleep(60)\n" + WELL
    job = workspace.submit("script", {"code": code})
    folder = workspace.job_folder(job.id).path
    wait_until(workspace, lambda: (folder / "pid-1").exists() and (folder / "pid-1").read_text())
    frozen = ProcessId.of(int((folder / "pid-1").read_text()))
    assert frozen is not None
    os.kill(frozen.pid, signal.SIGSTOP)
    assert tick_until_final(workspace, job).epoch == 2
    assert not frozen.is_alive


def test_a_retried_job_finds_nothing_of_its_earlier_attempts(workspace: Workspace) -> None:
    code = "import os, sys; open('checkpoints/step', 'a').write('x'); sys.exit(3)"
    job = run(workspace, code)
    assert (job.state, job.epoch) == ("failed", 3)
    checkpoint = workspace.job_folder(job.id).checkpoints / "step"
    assert checkpoint.read_text() == "xxx"
    workspace.resume_job(job.id)
    assert tick_until_final(workspace, job).epoch == 6
    assert checkpoint.read_text() == "xxxxxx"
    workspace.resume_job(job.id, start_over=True)
    tick_until_final(workspace, job)
    assert checkpoint.read_text() == "xxx"


def test_a_rerun_is_a_new_job_of_the_same_spec(workspace: Workspace) -> None:
    job = run(workspace, WELL, priority=7)
    again = workspace.rerun_job(job.id, owner="ann")
    assert again.id != job.id
    assert (again.spec, again.priority, again.demand, again.owner) == (job.spec, 7, job.demand, "ann")
    assert tick_until_final(workspace, again).result == {"answer": 7}


def test_an_unknown_need_is_refused_with_the_nearest_one(workspace: Workspace) -> None:
    with pytest.raises(Refused) as caught:
        workspace.submit("script", {"code": WELL, "needs": {"core": 2}})
    assert "cores" in caught.value.hint
    with pytest.raises(Refused):
        workspace.submit("script", {"code": WELL, "priority": 101})


@pytest.mark.parametrize(
    ("handed_over", "is_replaced"), [(b"{}", True), (b"", False)], ids=["the next attempt began", "its owner died"]
)
def test_a_supervisor_that_is_not_wanted_any_more_starts_nothing(
    tmp_path: Path, handed_over: bytes, is_replaced: bool
) -> None:
    spec = {"argv": [sys.executable, "-c", "open('ran', 'w')"], "env": {}, "log": str(tmp_path / "log")}
    spec |= {"folder": str(tmp_path), "epoch": 1, "grace_seconds": 1, "network": False}
    (tmp_path / "supervisor-1.json").write_text(json.dumps(spec))
    if is_replaced:
        (tmp_path / "supervisor-2.json").write_text("{}")
    argv = [sys.executable, "-m", "bedplate.supervisor", str(tmp_path / "supervisor-1.json")]
    subprocess.run(argv, check=True, input=handed_over)
    assert not (tmp_path / "ran").exists()


def test_the_replicas_of_a_deleted_endpoint_are_not_taken_by_a_new_one_of_that_name(workspace: Workspace) -> None:
    store: EndpointStore = workspace.endpoints
    store.deploy("support", "intents:1", "text-classification")
    (deployment,) = store.deployments("support")
    replica = store.add_replica(deployment, LEASE)
    assert replica is not None
    store.move_replica(replica, "ready")
    store.delete("support")
    store.deploy("support", "intents:2", "text-classification")
    assert [row.state for row in store.replicas("support")] == ["stopping"]
    assert store.add_replica(deployment, LEASE) is None  # by a round that still saw the deleted one
    store.move_replica(replica, "ready")  # by a round that still saw it as starting
    assert [row.state for row in store.replicas("support")] == ["stopping"]


def test_room_that_is_given_back_is_the_next_ones() -> None:
    room = Room(ROOMY, [])
    assert isinstance(room.lease("first", Demand(cores=4)), Lease)
    room.give_back("first")
    assert isinstance(room.lease("second", Demand(cores=4)), Lease)
