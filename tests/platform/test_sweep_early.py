"""Trials that a sweep ends early: the hopeless ones, and all of them once its budget is spent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate.database import jobs
from bedplate.jobs import Job
from bedplate.workspace import Workspace
from played_sweeps import advance, claim, evaluate, start, states, succeed, sweep_workspace, trials_of

SEEDS = {"seed": [1, 2, 3, 4, 5, 6]}


@pytest.fixture
def workspace(tmp_path: Path, models: Path) -> Iterator[Workspace]:
    with sweep_workspace(tmp_path, models) as made:
        yield made


def pruned_sweep(workspace: Workspace, *curves: tuple[float, ...], **changes: Any) -> tuple[Job, list[Job]]:
    """A sweep whose trials have come to these figures, epoch by epoch; what it does about it is the next round's."""
    sweep = start(workspace, search={"seed": list(range(len(curves)))}, parallel=8, prune="median", **changes)
    advance(workspace, sweep)
    trials = trials_of(workspace, sweep)
    for trial, curve in zip(trials, curves, strict=True):
        evaluate(workspace, trial, curve)
    return sweep, trials


def cancelled(workspace: Workspace, trial: Job) -> None:
    """Play the scheduler's part, which stops the worker of a trial that is to be cancelled."""
    running = workspace.jobs.get(trial.id)
    assert running.cancel
    workspace.jobs.move(running, "cancelled")


def spend_budget(workspace: Workspace, sweep: Job) -> None:
    with workspace.database.begin() as connection:
        earlier = jobs.update().where(jobs.c.id == sweep.id).values(leased=jobs.c.leased - 3600)
        connection.execute(earlier)


def test_a_trial_below_the_median_of_four_others_is_pruned_with_the_reason_in_its_job(workspace: Workspace) -> None:
    sweep, trials = pruned_sweep(workspace, (0.5, 0.6), (0.5, 0.64), (0.5, 0.7), (0.5, 0.62), (0.5, 0.41))
    advance(workspace, sweep)
    assert [workspace.jobs.get(trial.id).cancel for trial in trials] == [True, False, False, False, True]
    hopeless = workspace.jobs.get(trials[4].id)
    assert hopeless.error is not None
    assert hopeless.error["code"] == "pruned"
    assert hopeless.error["message"] == "By epoch 2 its accuracy had come to 0.5, below the median 0.63 of 4 trials."
    advance(workspace, sweep)
    assert workspace.jobs.get(trials[4].id).error == hopeless.error


def test_no_trial_is_pruned_at_its_first_evaluation_or_beside_fewer_than_four(workspace: Workspace) -> None:
    sweep, trials = pruned_sweep(workspace, (0.9,), (0.9,), (0.9,), (0.9,), (0.1,))
    advance(workspace, sweep)
    few, others = pruned_sweep(workspace, (0.9, 0.9), (0.9, 0.9), (0.9, 0.9), (0.9,), (0.1, 0.1))
    advance(workspace, few)
    assert not any(workspace.jobs.get(trial.id).cancel for trial in (*trials, *others))


def test_of_a_loss_the_higher_ones_are_pruned_and_the_best_so_far_counts(workspace: Workspace) -> None:
    curves = [(0.9, 0.2), (0.3, 0.2), (0.3, 0.2), (0.3, 0.2), (0.1, 0.8)]
    sweep, trials = pruned_sweep(workspace, *curves, metric="log_loss")
    for trial, curve in zip(trials, curves, strict=True):
        with workspace.job_folder(trial.id).metrics_file.open("a") as file:
            for epoch, value in enumerate(curve, 1):
                file.write(f'{{"attempt": 1, "step": {epoch * 10}, "eval_log_loss": {value}, "epoch": {epoch}}}\n')
    advance(workspace, sweep)
    assert not any(workspace.jobs.get(trial.id).cancel for trial in trials), "the last one was at 0.1"


def test_a_loss_that_is_no_number_is_the_worst_and_spares_the_best(workspace: Workspace) -> None:
    curves = [("0.6", "0.5"), ("0.6", "NaN"), ("NaN", "NaN"), ("0.7", "0.6"), ("0.3", "0.1")]
    sweep, trials = pruned_sweep(workspace, *[(0.5, 0.5)] * 5, metric="loss")
    for trial, curve in zip(trials, curves, strict=True):
        lines = [
            f'{{"attempt": 1, "step": {epoch * 10}, "eval_loss": {value}, "epoch": {epoch}}}\n'
            for epoch, value in enumerate(curve, 1)
        ]
        workspace.job_folder(trial.id).metrics_file.write_text("".join(lines))
    advance(workspace, sweep)
    pruned = [workspace.jobs.get(trial.id) for trial in trials]
    assert [job.cancel for job in pruned] == [False, True, True, True, False]
    error = pruned[2].error
    assert error is not None and error["metric"] is None
    assert error["message"] == "Its loss is no number, above the median 0.55 of 4 trials."


def test_pruned_trials_are_in_the_table_and_a_resumed_sweep_does_not_repeat_them(workspace: Workspace) -> None:
    sweep, trials = pruned_sweep(workspace, (0.6, 0.7), (0.6, 0.7), (0.6, 0.7), (0.6, 0.7), (0.2, 0.3))
    advance(workspace, sweep)
    cancelled(workspace, trials[4])
    workspace.cancel_job(sweep.id)
    advance(workspace, sweep)
    for trial in trials[:4]:
        cancelled(workspace, trial)
    assert advance(workspace, sweep).state == "cancelled"
    workspace.resume_job(sweep.id)
    claim(workspace, sweep)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["queued"] * 4 + ["cancelled"]
    for trial in trials[:4]:
        succeed(workspace, trial, 0.7)
    result = advance(workspace, sweep).result
    assert result is not None
    assert [line["state"] for line in result["trials"]] == ["succeeded"] * 4 + ["pruned"]
    assert result["trials"][4]["metric"] == 0.3
    assert "median 0.7 of 4" in result["trials"][4]["error"]["message"]
    assert result["best"]["trial"] == 1


def test_a_trial_that_ends_well_before_it_could_be_stopped_has_succeeded(workspace: Workspace) -> None:
    sweep, trials = pruned_sweep(workspace, (0.6, 0.7), (0.6, 0.7), (0.6, 0.7), (0.6, 0.7), (0.2, 0.3))
    advance(workspace, sweep)
    running = workspace.jobs.get(trials[4].id)
    workspace.jobs.move(running, "succeeded", result={"metrics": {"accuracy": 0.3}})
    assert workspace.jobs.get(running.id).error is None


def test_once_the_budget_is_spent_no_trial_begins_and_the_others_are_stopped(workspace: Workspace) -> None:
    sweep = start(workspace, search=SEEDS, parallel=2, budget="30m")
    advance(workspace, sweep)
    first, second = trials_of(workspace, sweep)
    succeed(workspace, first, 0.5)
    claim(workspace, second)
    advance(workspace, sweep)
    spend_budget(workspace, sweep)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["succeeded", "running", "cancelled"]
    cancelled(workspace, second)
    done = advance(workspace, sweep)
    assert done.state == "succeeded"
    assert done.result is not None
    assert [line["state"] for line in done.result["trials"]] == ["succeeded", "stopped", "stopped"]
    assert "budget" in done.result["trials"][1]["error"]["message"]
    assert done.result["model"] == "best:1"


def test_while_no_trial_has_succeeded_those_that_run_go_on_beyond_the_budget(workspace: Workspace) -> None:
    sweep = start(workspace, search=SEEDS, parallel=2, budget="30m")
    advance(workspace, sweep)
    first, _ = trials_of(workspace, sweep)
    claim(workspace, first)
    spend_budget(workspace, sweep)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["running", "cancelled"]
    assert not workspace.jobs.get(first.id).cancel
    workspace.jobs.move(workspace.jobs.get(first.id), "failed", error={"code": "no", "message": "Out of memory."})
    failed = advance(workspace, sweep)
    assert failed.state == "failed"
    assert failed.error is not None
    assert "Out of memory." in failed.error["message"]
