"""What sweeps try: values and ranges, grids, random draws, and draws that learn from the trials before them."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.cli.sweep import searched
from bedplate.search_space import read_search, space_of
from bedplate.sweep_draws import draw_by_tpe, random_trials
from bedplate.sweep_trials import Trial
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from harness import write_messages
from light_server import light_server
from played_sweeps import TASK, advance, publish_tiny, request, start, states, succeed, sweep_workspace, trials_of

PRUNED: dict[str, Any] = {"prune": "median", "search": {"seed": [1, 2, 3, 4, 5]}}
RATE = {"learning_rate": {"from": 1e-5, "to": "1e-3"}}


@pytest.fixture
def workspace(tmp_path: Path, models: Path) -> Iterator[Workspace]:
    with sweep_workspace(tmp_path, models) as made:
        yield made


def drawn(search: dict[str, Any], count: int, seed: int = 42) -> list[dict[str, Any]]:
    return random_trials(space_of(read_search(search, {}, TASK)), count, seed)


def test_a_learning_rate_is_drawn_by_factors_and_others_evenly_unless_it_is_said() -> None:
    search = {**RATE, "weight_decay": {"from": 0, "to": 0.1}, "adam_beta1": {"from": 0.5, "to": 0.9, "scale": "log"}}
    trials = drawn(search, 400)
    assert 150 < sum(trial["learning_rate"] < 1e-4 for trial in trials) < 250, "half of them below the middle factor"
    assert 150 < sum(trial["weight_decay"] < 0.05 for trial in trials) < 250
    assert all(1e-5 <= trial["learning_rate"] <= 1e-3 and 0.5 <= trial["adam_beta1"] <= 0.9 for trial in trials)
    assert trials == drawn(search, 400)
    assert trials != drawn(search, 400, seed=1)


def test_settings_of_whole_numbers_and_ranges_that_are_said_to_be_whole_give_those() -> None:
    search = {"lora_r": {"from": 2, "to": 5}, "num_train_epochs": {"from": 1, "to": 3, "whole": True}}
    trials = drawn(search, 100)
    assert len(trials) == 12, "each combination once, and no more than there are"
    assert {trial["lora_r"] for trial in trials} == {2, 3, 4, 5}
    assert {trial["num_train_epochs"] for trial in trials} == {1, 2, 3}


def test_tpe_comes_nearer_to_the_best_than_random_draws_and_is_the_same_for_the_same_trials() -> None:
    space = space_of(read_search({**RATE, "optim": ["adamw_torch", "adafactor"]}, {}, TASK))

    def how_good(settings: dict[str, Any]) -> float:
        return -abs(math.log10(settings["learning_rate"]) + 4) - 0.1 * (settings["optim"] == "adafactor")

    def run(seed: int) -> list[Trial]:
        table: list[Trial] = []
        while len(table) < 24:
            [settings] = draw_by_tpe(space, table, 1, total=24, seed=seed, greater_is_better=True)
            table.append(Trial(len(table) + 1, "job", settings, "succeeded", how_good(settings), {}, 1.0, None))
        return table

    for seed in (1, 2):
        learned, random = run(seed), random_trials(space, 24, seed)
        assert sum(how_good(trial.settings) for trial in learned[8:]) > sum(how_good(trial) for trial in random[8:])
    assert run(1) == run(1)


def test_tpe_tries_no_combination_twice_while_there_is_another() -> None:
    space = space_of(read_search({"seed": [1, 2], "lora_r": [4, 8]}, {}, TASK))
    table: list[Trial] = []
    for number in range(1, 5):
        [settings] = draw_by_tpe(space, table, 1, total=4, seed=3, greater_is_better=False)
        table.append(Trial(number, "job", settings, "succeeded", 0.5, {}, 1.0, None))
    assert len({json.dumps(trial.settings) for trial in table}) == 4


def test_a_sweep_by_tpe_draws_each_trial_when_there_is_room_for_it(workspace: Workspace) -> None:
    search = {**RATE, "seed": [1, 2]}
    sweep = start(workspace, search=search, method="tpe", trials=4, parallel=2)
    assert (sweep.spec["trials"], sweep.spec["total"], sweep.spec["seed"]) == ([], 4, 42)
    advance(workspace, sweep)
    first, second = trials_of(workspace, sweep)
    assert first.spec["settings"]["learning_rate"] != second.spec["settings"]["learning_rate"]
    succeed(workspace, first, 0.5)
    succeed(workspace, second, 0.75)
    advance(workspace, sweep)
    assert states(workspace, sweep) == ["succeeded", "succeeded", "queued", "queued"]
    for trial in trials_of(workspace, sweep)[2:]:
        succeed(workspace, trial, 0.25)
    result = advance(workspace, sweep).result
    assert result is not None
    assert (result["best"]["trial"], len(result["trials"])) == (2, 4)
    assert all(1e-5 <= line["settings"]["learning_rate"] <= 1e-3 for line in result["trials"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": RATE}, "grid is made of values"),
        ({"search": {"learning_rate": {"from": 1e-5}}}, "lacks an end"),
        ({"search": {"learning_rate": {"from": 1e-3, "to": 1e-5}}}, "lower end first"),
        ({"search": {"learning_rate": {"from": 1e-5, "to": 7}}}, "learning_rate is 7"),
        ({"search": {"learning_rate": {"from": 1e-5, "to": "auto"}}}, "no range"),
        ({"search": {"learning_rate": {"from": 1e-5, "too": 1}}}, "'to'"),
        ({"search": {"learning_rate": {"from": 1e-5, "to": 1e-3, "scale": "logg"}}}, "'log'"),
        ({"search": {"weight_decay": {"from": 0, "to": 0.1, "scale": "log"}}}, "Begin above 0"),
        ({"search": {"num_train_epochs": {"from": 0.5, "to": 2, "whole": True}}}, "whole numbers"),
        ({"search": {"lora_r": {"from": 2, "to": 8, "whole": False}}}, "whole=False"),
        ({"search": {"max_steps": {"from": -1, "to": 10}}}, "something else"),
        ({"search": {"optim": {"from": 1, "to": 2}}}, "optim is 1"),
        ({"search": {"learnin_rate": {"from": 1e-5, "to": 1e-3}}}, "learning_rate"),
        ({"search": {"max_seq_length": {"from": 8, "to": 100_000}}, "method": "tpe", "trials": 2}, "max_seq_length"),
        ({"search": RATE, "method": "tpe"}, "trials"),
        ({"budget": "2 weeks"}, "2h"),
        ({"budget": 0}, "budget=0"),
        ({"prune": "medain"}, "'median'"),
        ({"prune": "median", "settings": {"eval_strategy": "no"}}, "eval_strategy"),
        ({"prune": "median", "search": {"seed": [1, 2, 3, 4]}}, "there are 4 trials, and it takes 5"),
        ({**PRUNED, "settings": {"num_train_epochs": 1}}, "0 of the trials are evaluated twice"),
        ({**PRUNED, "settings": {"eval_strategy": "steps", "eval_steps": 0.6}}, "0 of the trials are evaluated twice"),
        (
            {**PRUNED, "settings": {"eval_strategy": "steps", "eval_steps": 6, "max_steps": 10}},
            "Leave prune out, or train for more epochs",
        ),
        (
            {"prune": "median", "search": {"seed": [1, 2, 3], "num_train_epochs": [1, 2]}},
            "3 of the trials are evaluated twice",
        ),
        ({"search": {"learning_rate": [1e-4, None]}}, "learning_rate has an empty value"),
        ({"search": {"learning_rate": {"from": None, "to": 1e-3}}}, "learning_rate has an empty value"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(workspace: Workspace, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BedplateError) as caught:
        workspace.submit("sweep", request(**changes))
    assert said in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"num_train_epochs": 1.5}},
        {"settings": {"eval_strategy": "steps", "eval_steps": 5, "max_steps": 10}},
        {"search": {"num_train_epochs": {"from": 1, "to": 2}}, "method": "tpe", "trials": 5},
    ],
)
def test_a_search_that_may_be_pruned_is_taken(workspace: Workspace, changes: dict[str, Any]) -> None:
    assert workspace.plan("sweep", request(**{**PRUNED, **changes})).spec["prune"] == "median"


def test_a_search_by_command_names_the_setting_whose_value_is_empty(
    workspace: Workspace,
) -> None:
    for text in ("1e-4,,2e-4", "1e-4,", "..1e-4"):
        with pytest.raises(BedplateError, match="learning_rate has an empty value"):
            workspace.plan("sweep", request(search=searched([f"learning_rate={text}"])))


def test_a_budget_says_how_many_trials_there_may_be_where_their_number_does_not(workspace: Workspace) -> None:
    spec = workspace.plan("sweep", request(search={"seed": list(range(50))}, budget="1.5h")).spec
    assert (spec["total"], spec["budget_seconds"]) == (50, 5400)
    assert workspace.plan("sweep", request(search=RATE, method="tpe", budget=90)).spec["budget_seconds"] == 90


def test_what_the_docs_show_of_sweeps_is_taken_as_it_is_written(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text()
    shown = re.findall(r"^    (bedplate sweep (?:.*\\\n)*.*)$", text, re.MULTILINE)
    commands = [one.replace("\\\n", " ") for one in shown]
    [sample] = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    write_messages(tmp_path / "tickets.csv", 60)
    with light_server() as server, bedplate.connect(home=server.home.path) as ws:
        publish_tiny(server, models, "REF")
        totals = []
        for command in commands:
            asked = [*shlex.split(command)[1:], "--dry-run", "--format", "json", "--home", str(server.home.path)]
            done = CliRunner().invoke(app, asked)
            assert done.exit_code == 0, done.output
            totals.append(json.loads(done.stdout)["total"])
        namespace: dict[str, Any] = {"ws": ws}
        exec(sample.replace("ws.sweep(", "ws.plan_sweep("), namespace)
        drawn = namespace["job"]
    assert totals == [6, 30]
    assert drawn["search"] == json.loads(done.stdout)["search"]
    assert (drawn["budget_seconds"], drawn["prune"], drawn["total"]) == (7200, "median", 30)
