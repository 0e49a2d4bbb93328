"""Compute, as REST, Python and the command line show it: a simulated machine under a real control plane."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import bedplate
from bedplate.cli.compute import show_compute
from bedplate.client import RemoteWorkspace
from bedplate.compute import GIB, Demand, Gpu, GpuProcess, Inventory
from bedplate.machine import SimulatedMachine, simulated
from bedplate.workspace import Workspace
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from harness import environment, free_port, run_cli, wait_for
from light_server import light_server

SLEEP = "import time; time.sleep(60)"


def machine() -> SimulatedMachine:
    """Two V100s, one of which another program uses, and one card that torch does not know."""
    inventory = simulated("2xV100-32GB", cores=4, memory_gb=8).inventory()
    first, second = inventory.gpus
    other = GpuProcess(4711, "blender", 3 * GIB)
    broken = Gpu(
        2, "GPU-old", "K80", 12 * GIB, (3, 7), problem="torch has no code for it", remedy="Take another wheel."
    )
    gpus = (replace(first, utilization=35), replace(second, others=(other,)), broken)
    return SimulatedMachine(replace(inventory, gpus=gpus))


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(machine(), port=free_port()) as workspace:
        yield workspace


@pytest.fixture
def ws(server: Workspace) -> Iterator[RemoteWorkspace]:
    with bedplate.connect(home=server.home.path) as connected:
        yield connected
        for state in ("queued", "running"):
            for job in connected.jobs.list(state=state):
                job.cancel()
    wait_for(lambda: not any(server.jobs.counts().values()), seconds=60)


def test_it_tells_what_is_free_who_holds_what_since_when_and_who_is_next(ws: RemoteWorkspace) -> None:
    demand = {"cores": 2, "memory_bytes": GIB, "gpus": 1}
    holding = ws.submit("script", {"code": SLEEP, "demand": demand})
    wait_for(lambda: holding.refresh().state == "running")
    line = [ws.submit("script", {"code": SLEEP, "demand": demand, "priority": n}) for n in range(3)]
    wait_for(lambda: all(job.refresh().data["waiting_for"] == "gpus" for job in line))
    found = ws.compute()
    assert (found["cores"], found["free"]["cores"]) == (4, 2)
    assert (found["memory_bytes"], found["free"]["memory_bytes"]) == (8 * GIB, 7 * GIB)
    first, second, broken = found["gpus"]
    assert (first["utilization"], first["free_bytes"]) == (35, 0)
    assert [(holder["id"], holder["since"]) for holder in first["held_by"]] == [
        (holding.id, holding.data["lease"]["since"])
    ]
    assert second["others"] == [{"pid": 4711, "name": "blender", "memory_bytes": 3 * GIB}]
    assert (broken["problem"], broken["remedy"]) == ("torch has no code for it", "Take another wheel.")
    assert [holder["id"] for holder in found["holders"]] == [holding.id]
    assert [row["id"] for row in found["queue"]] == [job.id for job in reversed(line)]
    assert [row["position"] for row in found["queue"]] == [1, 2, 3]
    assert holding.id in found["queue"][0]["waiting"]
    assert (found["jobs_running"], found["jobs_queued"]) == ([holding.id], 3)


def test_the_head_of_a_long_line_is_shown_and_the_rest_counted(
    server: Workspace, ws: RemoteWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    blocker = ws.submit("script", {"code": SLEEP, "demand": {"cores": 4}, "priority": 100})
    wait_for(lambda: blocker.refresh().state == "running")
    for _ in range(25):
        server.jobs.submit("script", {"code": SLEEP}, demand=Demand(cores=4))
    found = ws.compute()
    assert [row["position"] for row in found["queue"]] == list(range(1, 21))
    assert found["jobs_queued"] == 25
    show_compute(found)
    assert capsys.readouterr().out.endswith("and 5 more: bedplate jobs list --state queued\n")


def test_the_command_shows_a_line_for_each_resource_then_holders_then_the_line(
    server: Workspace, ws: RemoteWorkspace
) -> None:
    demand = {"cores": 1, "gpus": 1, "gpu_memory_bytes": 4 * GIB}
    holding = ws.submit("script", {"code": SLEEP, "demand": demand, "needs": {"preemptible": True}})
    wait_for(lambda: holding.refresh().state == "running")
    waiting = ws.submit("script", {"code": SLEEP, "demand": {"gpus": 2}})
    wait_for(lambda: waiting.refresh().data["waiting_for"] == "gpus")
    resources, holders, queue = run_cli("compute", home=server.home.path).stdout.split("\n\n")
    cores, memory, *gpus = resources.splitlines()
    assert cores.split(None, 1) == ["cores", "3 of 4 free"]
    assert "8.0 GiB of 8.0 GiB free" in memory
    assert "V100-32GB: 32.0 GiB of 32.0 GiB free; 35 % busy" in gpus[0]  # the fuller card is the better fit
    assert f"held by {holding.id} (4.0 GiB, local) since 20" in gpus[1]
    assert "blender (pid 4711) uses 3.0 GiB" in gpus[1]
    assert gpus[2].endswith("K80: not used: torch has no code for it Take another wheel.")
    assert holders.splitlines()[1].split()[:2] == [holding.id, "job"]
    assert "1 (4.0 GiB)" in holders
    assert waiting.id in queue
    assert json.loads(run_cli("compute", "--format", "json", home=server.home.path).stdout)["cores"] == 4


def test_a_machine_without_cards_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    small = SimulatedMachine(Inventory(2, 4 * GIB, 2 * GIB))
    with light_server(small) as workspace, bedplate.connect(home=workspace.home.path) as ws:
        show_compute(ws.compute())
    cores, memory, gpus = capsys.readouterr().out.splitlines()
    assert cores.split(None, 1)[1] == "2 of 2 free"
    assert memory.split(None, 1)[1] == "4.0 GiB of 4.0 GiB free (2.0 GiB unused at the moment)"
    assert gpus.split() == ["GPUs", "none"]


def test_a_deployment_that_waits_for_a_gpu_says_for_which_and_who_holds_it(
    server: Workspace, ws: RemoteWorkspace, models: Path
) -> None:
    made = prepare_folder_import(
        server.registry, models / "classifier", name=Name.parse("intents"), check=lambda *_: {}, reporter=SILENT
    )
    assert isinstance(made, ModelDraft)
    server.registry.models.publish(made)
    demands = ({"gpus": 1}, {"gpus": 1, "gpu_memory_bytes": 20 * GIB})
    jobs = [ws.submit("script", {"code": SLEEP, "demand": demand}) for demand in demands]
    wait_for(lambda: all(job.refresh().state == "running" for job in jobs))
    deploy = ["deploy", "intents", "--endpoint", "support", "--device", "cuda", "--gpu-memory-gb", "20"]
    program = [sys.executable, "-c", "from bedplate.cli import main; main()", *deploy]
    waiting = subprocess.Popen(program, env=environment(server.home.path), stderr=subprocess.PIPE, text=True)
    assert waiting.stderr is not None
    why = "main waits for 20.0 GiB on one GPU: at most 9.0 GiB is free; GPU 1 (V100-32GB) is held by "
    told = next(line for line in waiting.stderr if "waits for" in line)
    assert told == f"support: 0 of 1 replicas are ready; {why}{jobs[1].id}\n"
    waiting.send_signal(signal.SIGINT)
    assert "Stopped." in waiting.communicate(timeout=20)[1]
    assert waiting.returncode == 1
    assert jobs[1].id in run_cli("endpoints", "show", "support", home=server.home.path).stdout
    endpoint = ws.endpoints.get("support")
    assert endpoint.waiting == f"{why}{jobs[1].id}"
    with pytest.raises(TimeoutError, match=jobs[1].id):
        endpoint.wait(timeout_seconds=0)
    endpoint.delete()
