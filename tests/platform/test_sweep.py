"""Sweeps: what is refused before anything starts, and the rounds of one with trials played by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate.compute import GIB
from bedplate.job_folder import JobFolder
from bedplate.jobs import Job
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_registry.names import Name
from bedplate_serving.log_lines import last_event
from harness import write_messages
from played_sweeps import (
    RATES,
    advance,
    claim,
    fail,
    request,
    start,
    states,
    succeed,
    sweep_workspace,
    trials_of,
)


@pytest.fixture
def workspace(tmp_path: Path, models: Path) -> Iterator[Workspace]:
    with sweep_workspace(tmp_path, models) as made:
        yield made


# --- the request


def test_the_spec_holds_every_trial_and_the_versions_that_all_of_them_use(workspace: Workspace) -> None:
    plan = workspace.plan("sweep", request(search={**RATES, "seed": [1, 2, 3]}, settings={"max_steps": 4}))
    spec = plan.spec
    assert spec["trials"][:2] == [{"learning_rate": 1e-4, "seed": 1}, {"learning_rate": 1e-4, "seed": 2}]
    assert spec["trials"][-1] == {"learning_rate": 3e-4, "seed": 3}
    assert len(spec["trials"]) == 6
    assert (spec["model"], spec["train"]["dataset"], spec["rows"]) == ("tiny:1", "tickets:1", 40)
    assert (spec["metric"], spec["greater_is_better"], spec["parallel"]) == ("accuracy", True, 2)
    assert plan.demand.cores == 4  # of each trial
    assert plan.preemptible


def test_a_random_sweep_repeats_no_combination_and_is_the_same_for_the_same_seed(workspace: Workspace) -> None:
    search = {"learning_rate": [1e-4, 2e-4, 3e-4, 4e-4], "seed": list(range(10))}

    def trials(**changes: Any) -> list[dict[str, Any]]:
        asked = request(search=search, method="random", trials=30, **changes)
        chosen: list[dict[str, Any]] = workspace.plan("sweep", asked).spec["trials"]
        return chosen

    first = trials()
    assert len({json.dumps(trial) for trial in first}) == 30
    assert first == trials(seed=42)
    assert first != trials(seed=43)
    assert len(workspace.plan("sweep", request(method="random", trials=30)).spec["trials"]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": {"learnin_rate": [1e-4]}}, "learning_rate"),
        ({"search": {"learning_rate": [1e-4, 7]}}, "learning_rate is 7"),
        ({"search": {"learning_rate": 1e-4}}, "not a list"),
        ({"search": {"learning_rate": [1e-4, "0.0001"]}}, "twice"),
        ({"search": {"max_steps": [0]}}, "max_steps is 0"),
        ({"search": {"seed": [0, 0]}}, "0 twice"),
        ({"search": {}}, "search"),
        ({"search": {"split_seed": [1, 2]}}, "one split"),
        ({"search": {"early_stopping_patience": [0, 3], "eval_strategy": ["epoch", "no"]}}, "eval_strategy"),
        ({"search": {"max_seq_length": [8, 100_000]}}, "max_seq_length"),
        ({"search": {"metric_for_best_model": ["accuracy", "log_loss"]}}, "by which metric"),
        ({"settings": {"learning_rate": 1e-4}}, "both"),
        ({"settings": {"validation_fraction": 0}}, "validation"),
        ({"metric": "acuracy"}, "'accuracy'"),
        ({"method": "gird"}, "'grid'"),
        ({"method": "random"}, "trials"),
        ({"search": {"seed": list(range(21))}}, "21 combinations"),
        ({"seed": 3}, "random"),
        ({"parallel": 0}, "parallel=0"),
        ({"trials": True}, "trials=True"),
        ({"serach": {}}, "'search'"),
        ({"model": "tinny"}, "tinny"),
        ({"columns": {"sentence1": "txt", "label": "intent"}}, "txt"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_starts(
    workspace: Workspace, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BedplateError) as caught:
        workspace.submit("sweep", request(**changes))
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert workspace.jobs.find() == []


def test_more_than_twenty_trials_are_run_where_they_are_asked_for(workspace: Workspace) -> None:
    many = request(search={"seed": list(range(50))}, trials=30)
    assert [trial["seed"] for trial in workspace.plan("sweep", many).spec["trials"]] == list(range(30))


def test_the_metric_that_is_asked_for_also_chooses_the_checkpoint_of_each_trial(workspace: Workspace) -> None:
    by_loss = workspace.plan("sweep", request(metric="log_loss")).spec
    assert by_loss["settings"] == {"metric_for_best_model": "log_loss"}
    assert not by_loss["greater_is_better"]
    assert workspace.plan("sweep", request(settings={"metric_for_best_model": "loss"})).spec["metric"] == "loss"


def test_settings_that_need_each_other_are_searched_together(workspace: Workspace) -> None:
    spec = workspace.plan("sweep", request(settings={"apply_lora": True}, search={"lora_r": [4, 16]})).spec
    assert [trial["lora_r"] for trial in spec["trials"]] == [4, 16]
    with pytest.raises(BedplateError, match="lora_r has no effect"):
        workspace.plan("sweep", request(search={"lora_r": [4, 16]}))


# --- its rounds


def test_trials_are_fine_tunes_that_inherit_from_the_sweep_and_register_nothing(workspace: Workspace) -> None:
    needs = {"cores": 1, "memory_gb": 1.5}
    sweep = start(workspace, settings={"max_steps": 4}, priority=7, needs=needs)
    advance(workspace, sweep)
    first, second = trials_of(workspace, sweep)
    assert (first.kind, first.parent, first.owner, first.priority) == ("finetune", sweep.id, "ann", 7)
    assert first.preemptible
    assert (first.demand.cores, first.demand.memory_bytes) == (1, int(1.5 * GIB))
    assert [trial.spec["settings"]["learning_rate"] for trial in (first, second)] == [1e-4, 3e-4]
    assert {trial.spec["settings"]["max_steps"] for trial in (first, second)} == {4}
    assert first.spec["trial"] == {"sweep": sweep.id, "number": 1, "rows": 40}
    succeed(workspace, first, 0.5)
    assert workspace.jobs.get(first.id).result["model"] is None
    assert [model.ref for model in workspace.registry.models.list()] == ["tiny:1"]
    assert not (workspace.job_folder(first.id).path / "model").exists()


def test_no_more_trials_are_open_than_parallel_says_and_their_progress_is_shown(workspace: Workspace) -> None:
    sweep = start(workspace, search={"seed": [1, 2, 3]}, parallel=2)
    for _ in range(3):
        advance(workspace, sweep)
    assert states(workspace, sweep) == ["queued", "queued"]
    succeed(workspace, trials_of(workspace, sweep)[1], 0.25)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["queued", "succeeded", "queued"]
    progress = workspace.describe_job(sweep)["progress"]
    assert (progress["done"], progress["total"], progress["unit"]) == (1, 3, "trials")
    assert progress["message"] == "best so far: trial 2, accuracy 0.25"
    lines = workspace.job_folder(sweep.id).log_tail()
    assert last_event(lines).startswith("1 of 3 trials")
    assert '"level": "info"' in lines[-1]  # that a trial has ended warns of nothing


def test_a_round_that_is_cut_short_submits_nothing_twice(workspace: Workspace) -> None:
    sweep = start(workspace, search={"seed": [1, 2, 3]}, parallel=3)
    submit, calls = workspace.intake.submit, 0

    def dies_at_the_second(*given: Any, **more: Any) -> Job:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return submit(*given, **more)

    workspace.intake.submit = dies_at_the_second  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        advance(workspace, sweep)
    assert len(trials_of(workspace, sweep)) == 1
    workspace.registry.datasets.add(
        Name.parse("tickets"), write_messages(workspace.home.path / "new.csv", 50), "new.csv"
    )
    advance(workspace, sweep)
    advance(workspace, sweep)
    trials = trials_of(workspace, sweep)
    assert [trial.spec["settings"]["seed"] for trial in trials] == [1, 2, 3]
    assert {trial.spec["train"]["dataset"] for trial in trials} == {"tickets:1"}


def test_the_best_model_is_registered_once_with_its_trial_in_its_lineage(workspace: Workspace) -> None:
    sweep = start(workspace, search={"seed": [1, 2, 3, 4]}, parallel=4)
    advance(workspace, sweep)
    trials = trials_of(workspace, sweep)
    for trial, accuracy in zip(trials[:3], (0.5, 0.75, 0.75), strict=True):
        succeed(workspace, trial, accuracy)
    fail(workspace, trials[3])
    done = advance(workspace, sweep)
    assert done.state == "succeeded"
    result = done.result
    assert result is not None
    assert result["model"] == "best:1"
    assert result["best"] == {"trial": 2, "job": trials[1].id, "settings": {"seed": 2}, "metric": 0.75}
    assert [line["state"] for line in result["trials"]] == ["succeeded"] * 3 + ["failed"]
    assert result["trials"][3]["error"]["message"] == "Out of memory."
    version = workspace.registry.models.get("best")
    assert version.lineage["sweep"]["trial"] == 2
    assert version.lineage["job"] == trials[1].id
    assert not workspace.job_folder(trials[3].id).checkpoints.exists()


def test_what_was_published_before_a_crash_stays_the_best(workspace: Workspace) -> None:
    sweep = start(workspace)
    advance(workspace, sweep)
    first, second = trials_of(workspace, sweep)
    succeed(workspace, first, 0.5)
    fail(workspace, second)
    move = workspace.jobs.move
    workspace.jobs.move = lambda *given, **more: False  # type: ignore[method-assign]  # the server dies before it
    advance(workspace, sweep)
    workspace.jobs.move = move  # type: ignore[method-assign]
    assert workspace.registry.models.get("best:1").lineage["job"] == first.id
    workspace.resume_job(second.id)
    succeed(workspace, second, 0.75)
    done = advance(workspace, sweep)
    assert done.result is not None
    assert (done.result["model"], done.result["best"]["trial"]) == ("best:1", 1)


def test_a_lower_log_loss_is_better(workspace: Workspace) -> None:
    sweep = start(workspace, metric="log_loss")
    advance(workspace, sweep)
    for trial, accuracy in zip(trials_of(workspace, sweep), (0.9, 0.1), strict=True):
        succeed(workspace, trial, accuracy)
    result = advance(workspace, sweep).result
    assert result is not None
    assert result["best"]["trial"] == 1


def test_a_sweep_whose_trials_all_fail_says_the_first_reason_and_tries_them_once_more_when_resumed(
    workspace: Workspace,
) -> None:
    sweep = start(workspace, parallel=1)
    advance(workspace, sweep)
    fail(workspace, trials_of(workspace, sweep)[0])
    advance(workspace, sweep)
    fail(workspace, trials_of(workspace, sweep)[1])
    failed = advance(workspace, sweep)
    assert failed.state == "failed"
    assert failed.error is not None
    assert "Out of memory." in failed.error["message"]
    assert sweep.id in failed.error["hint"]
    workspace.resume_job(sweep.id)
    claim(workspace, sweep)
    advance(workspace, sweep)
    first, second = trials_of(workspace, sweep)
    assert states(workspace, sweep) == ["queued", "failed"]
    fail(workspace, first)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["failed", "queued"]
    succeed(workspace, second, 0.5)
    assert advance(workspace, sweep).state == "succeeded"


def test_cancel_cancels_the_trials_and_resume_goes_on_without_repeating_one(workspace: Workspace) -> None:
    sweep = start(workspace, search={"seed": [1, 2, 3]}, parallel=1)
    advance(workspace, sweep)
    succeed(workspace, trials_of(workspace, sweep)[0], 0.5)
    advance(workspace, sweep)
    workspace.cancel_job(sweep.id)
    advance(workspace, sweep)
    assert advance(workspace, sweep).state == "cancelled"
    assert states(workspace, sweep) == ["succeeded", "cancelled"]

    workspace.resume_job(sweep.id)
    claim(workspace, sweep)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["succeeded", "queued"]
    workspace.cancel_job(trials_of(workspace, sweep)[1].id)  # by itself: that is its end
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["succeeded", "cancelled", "queued"]
    succeed(workspace, trials_of(workspace, sweep)[2], 0.25)
    result = advance(workspace, sweep).result
    assert result is not None
    assert result["best"]["trial"] == 1
    assert [line["metric"] for line in result["trials"]] == [0.5, None, 0.25]


def test_a_trial_whose_result_is_gone_fails_its_sweep_by_name(workspace: Workspace) -> None:
    sweep = start(workspace, search={"seed": [1]})
    advance(workspace, sweep)
    (trial,) = trials_of(workspace, sweep)
    succeed(workspace, trial, 0.5)
    (JobFolder(workspace.home.jobs / trial.id).path / "result-1.json").write_text("{")
    failed = advance(workspace, sweep)
    assert failed.error is not None
    assert trial.id in failed.error["message"]
