"""How workers are started: real processes, as many as asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bedplate_registry.errors import BedplateError
from bedplate_registry.progress import SILENT
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.launch import check_device, check_world, launch_command, launch_environment
from bedplate_trainers.recipes.text_classification import prepare
from bedplate_trainers.training import train

Maker = Callable[..., FinetuneRequest]


def test_a_worker_that_runs_alone_where_two_were_asked_for_stops(make_request: Maker) -> None:
    with pytest.raises(BedplateError, match="2 training processes were asked for, and 1 run"):
        finetune(make_request(processes=2), SILENT, resume=False)


def test_a_world_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(BedplateError, match="1 training process was asked for, and 4 run") as caught:
        check_world(1, 4)
    assert caught.value.code == "world-size"


def test_a_plan_for_another_device_than_the_one_that_trains_is_refused() -> None:
    check_device("cuda:1", "cuda")
    check_device("cpu", "cpu")
    with pytest.raises(BedplateError, match="planned for cuda, and would run on cpu") as caught:
        check_device("cuda", "cpu")
    assert caught.value.code == "device-mismatch"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU plan is right here")
def test_a_gpu_plan_in_a_launcher_that_has_only_the_cpu_stops_before_the_first_step(
    make_request: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))  # asked of the card that is not there
    plan = prepare(make_request(), SILENT).plan
    with pytest.raises(BedplateError) as caught:
        train(replace(plan, device="cuda"), SILENT, resume=False)
    assert caught.value.code == "device-mismatch"


def test_one_process_on_a_cpu_needs_no_distributed_start() -> None:
    assert launch_command("worker", ["spec.json"], device="cpu", processes=1)[1:] == ["-m", "worker", "spec.json"]


def test_one_process_has_the_environment_that_the_launcher_of_accelerate_gives() -> None:
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    asked = [
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    given = launch_command_parser().parse_args([*asked, "--num_cpu_threads_per_process", "2", "-m", "worker"])
    command, theirs = prepare_simple_launcher_cmd_env(given)
    mine = launch_environment(device="cpu", processes=1, threads=2)
    assert launch_command("worker", [], device="cpu", processes=1) == command
    told = {name for name in mine if name.startswith("ACCELERATE_")} | {"OMP_NUM_THREADS"}
    assert {name: mine[name].lower() for name in told} == {name: theirs[name].lower() for name in told}


def test_several_processes_on_a_cpu_never_use_the_flag_that_runs_one() -> None:
    command = launch_command("worker", [], device="cpu", processes=2)
    assert "--cpu" not in command
    assert launch_environment(device="cpu", processes=2)["ACCELERATE_USE_CPU"] == "true"


def test_every_worker_waits_passively() -> None:
    assert launch_environment(device="cuda", processes=4)["OMP_WAIT_POLICY"] == "passive"
