"""A worker that is killed and resumed ends where an undisturbed one does."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bedplate import job_folder
from bedplate.job_folder import JobFolder, JobReporter
from bedplate_registry.progress import SILENT
from bedplate_trainers.checkpoints import complete_checkpoints
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.launch import launch_environment

Maker = Callable[..., FinetuneRequest]
SETTINGS = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 16,
    "save_steps": 7,
    "logging_steps": 2,
    "save_total_limit": 3,
}


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def logged(folder: Path) -> list[int]:
    """The steps at which a loss was logged, in the order of the file."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line]


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "metrics.jsonl").exists() and (logged(folder) or [0])[-1] >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached")


@pytest.mark.timeout(280)
def test_a_killed_run_resumes_to_the_same_weights_and_misses_no_step(
    make_request: Maker, start_worker: Callable[..., Any], result_of: Callable[..., Any], tmp_path: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    request = make_request(settings=SETTINGS)
    undisturbed = replace(request, work_dir=calm / "work", output_dir=calm / "model")
    disturbed = replace(request, work_dir=killed / "work", output_dir=killed / "model")
    expected = result_of(start_worker(undisturbed, folder=calm), calm)

    process = start_worker(disturbed, folder=killed, seconds_per_step=0.05)
    wait_for_step(killed, 30)  # in the second of three epochs of 20 steps, between the checkpoints of 28 and 35
    kill_group(process)
    resumed = result_of(start_worker(disturbed, "--resume", folder=killed), killed)

    assert digest(killed / "model") == digest(calm / "model")
    assert (resumed["steps"], resumed["best_step"]) == (expected["steps"], expected["best_step"])
    steps = logged(killed)
    assert sorted(set(steps)) == logged(calm)
    repeated = len(steps) - len(set(steps))
    assert repeated * SETTINGS["logging_steps"] <= SETTINGS["save_steps"] + SETTINGS["logging_steps"]


class Died(Exception):
    pass


class SteadyReporter(JobReporter):
    """The platform's own, on a clock by which each step takes two seconds; with `dies_at` it ends the run there."""

    def __init__(self, folder: Path, epoch: int, clock: list[float], dies_at: float = math.inf) -> None:
        super().__init__(JobFolder(folder), epoch)
        self._clock, self._dies_at = clock, dies_at

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        if phase == "train":
            self._clock[0] += 2
            if done >= self._dies_at:
                raise Died
        super().progress(phase, done, total, unit, message)


def test_the_time_left_of_a_resumed_run_is_that_of_the_remaining_steps(
    make_request: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, folder = [0.0], tmp_path / "job"
    monkeypatch.setattr(job_folder, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    JobFolder(folder).create({})
    request = make_request(test=None, settings=SETTINGS)
    with pytest.raises(Died):
        finetune(request, SteadyReporter(folder, 1, clock, dies_at=33), resume=False)
    clock[0] += 3600  # until it is resumed, from step 28 of 69
    finetune(request, SteadyReporter(folder, 2, clock), resume=True)

    events = [json.loads(line) for line in JobFolder(folder).events_file.read_text().splitlines()]
    steps = [event for event in events if event.get("phase") == "train" and event["epoch"] == 2]
    assert [event["done"] for event in steps] == list(range(29, 70))
    known = [event for event in steps if event["seconds_left"] is not None]
    assert {event["done"] for event in steps} - {event["done"] for event in known} == {29, 47}  # first of a phase
    for event in known:
        assert event["seconds_left"] == 2 * (69 - event["done"])
        assert event["percent"] == round(100 * event["done"] / 69, 1)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_run_killed_ten_times_at_random_steps_ends_like_an_undisturbed_one(
    make_request: Maker, tmp_path: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    request = make_request(test=None, settings=SETTINGS | {"logging_steps": 1})
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)  # shown where it fails
    for folder, kills in ((calm, 0), (killed, 10)):
        folder.mkdir()
        path = folder / "request.json"
        one = replace(request, work_dir=folder / "work", output_dir=folder / "model")
        path.write_text(json.dumps(one.to_json() | {"seconds_per_step": 0.02}))
        command = [sys.executable, "-m", "killed_worker", str(path), str(kills), str(seed)]
        environment = os.environ | launch_environment(device="cpu", processes=1, threads=1)
        environment["PYTHONPATH"] = str(Path(__file__).parent)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {"killed": kills}, done.stdout

    assert digest(killed / "model") == digest(calm / "model")
    steps = logged(killed)
    assert sorted(set(steps)) == logged(calm) == list(range(1, logged(calm)[-1] + 1))
    again = [before - step + 1 for before, step in itertools.pairwise(steps) if step <= before]
    assert max(again, default=0) <= SETTINGS["save_steps"]  # no attempt repeats more than an interval


def test_damaged_checkpoints_are_left_out_and_the_one_before_them_taken(make_request: Maker, recorder: Any) -> None:
    request = make_request(settings=SETTINGS)
    finetune(request, SILENT, resume=False)
    expected = digest(request.output_dir)
    latest, before, first = complete_checkpoints(request.work_dir)
    path = latest / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-10])
    data = bytearray((before / "optimizer.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (before / "optimizer.pt").write_bytes(data)
    shutil.rmtree(request.output_dir)

    finetune(request, recorder, resume=True)
    cut, flipped, resuming, *_ = recorder.messages
    assert cut == f"{latest.name} is incomplete and was left out."
    assert flipped.startswith(f"{before.name} was left out: ")
    assert resuming.startswith(f"Resuming from {first.name}. The best one so far, checkpoint-40, is gone")
    assert digest(request.output_dir) == expected


def test_a_run_that_died_after_its_last_step_is_only_tested_and_saved(make_request: Maker, recorder: Any) -> None:
    request = make_request(settings=SETTINGS)
    first = finetune(request, SILENT, resume=False)
    expected = digest(request.output_dir)
    shutil.rmtree(request.output_dir)
    second = finetune(request, recorder, resume=True)
    assert not [phase for phase, *_ in recorder.phases if phase == "train"]
    assert digest(request.output_dir) == expected
    assert first is not None
    assert second is not None
    assert second.best_step == first.best_step


def test_a_run_that_is_not_resumed_starts_again(make_request: Maker, recorder: Any) -> None:
    request = make_request(settings=SETTINGS | {"num_train_epochs": 1})
    finetune(request, SILENT, resume=False)
    finetune(request, recorder, resume=False)
    assert recorder.figures[0][0] == 2
    assert not recorder.messages
