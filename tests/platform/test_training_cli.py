"""`bedplate finetune` and `bedplate sweep` on the terminal: what is asked of the machine, what is told at the end."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bedplate.cli import finetune, sweep
from bedplate.cli.app import app
from bedplate.cli.output import Format
from bedplate.machine import simulated
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from bedplate_registry.names import Name
from light_server import light_server
from rest_server import publish_model

MACHINES = {"none": "", "two": "2xV100-32GB"}
COMMANDS = {"finetune": (), "sweep": ("--search", "learning_rate=1e-4,3e-4")}


@pytest.fixture(scope="module", params=MACHINES.values(), ids=MACHINES.keys())
def server(request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """A machine with GPUs, or without one; a base and a dataset."""
    with light_server(simulated(request.param)) as workspace:
        publish_model(workspace)
        rows = workspace.home.path / "tickets.csv"
        rows.write_text("sentence1,label\n" + "my parcel is late,parcel\nlog me in,access\n" * 20)
        workspace.registry.datasets.add(Name.parse("tickets"), rows, rows.name)
        yield workspace


def plan(server: Workspace, command: str, *arguments: str) -> Result:
    about = ("support-intent", "--task", "text-classification", "--train", "tickets", "--output", "mine")
    given = (*about, *COMMANDS[command], *arguments, "--dry-run", "--format", "json")
    done = CliRunner().invoke(app, [command, *given, "--home", str(server.home.path)])
    gc.collect()  # a connection that a command left open is a warning, and so an error
    return done


@pytest.mark.parametrize("command", COMMANDS)
def test_gpus_are_one_process_each_and_never_processes_on_the_cpu(server: Workspace, command: str) -> None:
    done = plan(server, command, "--gpus", "2")
    if server.machine.inventory().gpus:
        spec = json.loads(done.stdout)
        assert (spec["device"], spec["processes"]) == ("cuda", 2)
    else:
        assert isinstance(done.exception, Refused) and done.exception.code == "no-gpu"
    spec = json.loads(plan(server, command, "--processes", "2", "--device", "cpu").stdout)
    assert (spec["device"], spec["processes"]) == ("cpu", 2)


def test_a_fine_tune_ends_with_the_command_that_shows_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"model": "mine:1", "evaluation": "ev-1", "metrics": {}, "test_metrics": {"accuracy": 0.5}}
    result |= {"baselines": {}, "steps": 4, "seconds": 1.5}
    finetune.show_result(result, "text-classification", Format.table)
    assert capsys.readouterr().err == "See it: bedplate evaluations show ev-1\n"
    finetune.show_result({**result, "evaluation": None}, "text-classification", Format.table)
    assert capsys.readouterr().err == ""
    finetune.show_result(result, "text-classification", Format.json)
    assert json.loads(capsys.readouterr().out) == result


def test_a_sweep_ends_with_a_figure_of_four_digits_and_the_command_that_shows_its_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = {"trial": 1, "job": "finetune-1", "settings": {"learning_rate": 1e-4}, "metric": 0.25}
    trial = {**best, "state": "succeeded", "seconds": 1.5, "error": None}
    result = {"model": "mine:1", "best": best, "metric": "accuracy", "trials": [trial], "evaluation": "ev-1"}
    sweep.show_result({**result, "test_metrics": {"accuracy": 0.23333333333333334}}, Format.table)
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == ["Its test accuracy: 0.2333", "See it: bedplate evaluations show ev-1"]
    sweep.show_result({**result, "evaluation": None, "test_metrics": None}, Format.table)
    assert len(capsys.readouterr().err.splitlines()) == 1
