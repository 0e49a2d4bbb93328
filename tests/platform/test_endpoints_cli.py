"""Endpoints on the command line, of both kinds, at a real control plane whose machine is simulated."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.cli.output import WrongUse
from bedplate.machine import simulated
from bedplate_registry.errors import BedplateError, NotFound
from harness import free_port, wait_for
from light_server import light_server
from rest_server import publish_model

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A command in this process; its stdout. Raises what it refuses. The one GPU is taken: no replica starts."""

    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--home", str(workspace.home.path)])
        if isinstance(done.exception, BedplateError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    with light_server(simulated("1xV100-32GB", cores=4, memory_gb=8), port=free_port()) as workspace:
        publish_model(workspace)
        publish_model(workspace, "acme/other-intent")
        with bedplate.connect(home=workspace.home.path) as ws:
            demand = {"gpus": 1}
            blocker = ws.submit("script", {"code": "import time; time.sleep(600)", "demand": demand, "priority": 100})
            wait_for(lambda: blocker.refresh().state == "running")
        yield invoke
        gc.collect()  # a connection that a command left open is a warning, and so an error


def test_traffic_and_processes_are_changed_and_keys_one_by_one(run: Run) -> None:
    there = ("--endpoint", "support", "--device", "cuda", "--detach")
    assert "bp_" in run("deploy", "support-intent", *there)
    run("deploy", "acme/other-intent", "--deployment", "other", *there)
    changed = ("--traffic", "main=70", "--traffic", "other=30", "--instances", "other=2", "--format", "json")
    rows = json.loads(run("endpoints", "update", "support", *changed))["deployments"]
    assert [(row["traffic"], row["instances"]) for row in rows] == [(70, 1), (30, 2)]
    made = json.loads(run("endpoints", "keys", "support", "--rotate", "secondary", "--format", "json"))
    assert made["key"].startswith("bp_")
    table = run("endpoints", "keys", "support")
    assert [line.split()[0] for line in table.splitlines()] == ["slot", "primary", "secondary"]
    assert "bp_" not in table
    run("endpoints", "delete", "support")
    with pytest.raises(NotFound):
        run("endpoints", "show", "support")


def test_a_batch_endpoint_is_listed_shown_changed_and_deleted_beside_them(run: Run) -> None:
    assert json.loads(run("deploy", "support-intent", "--endpoint", "nightly", "--batch", "--format", "json")) == {
        "name": "nightly",
        "task": "text-classification",
        "traffic": {"main": 100},
    }
    run("deploy", "acme/other-intent", "--endpoint", "nightly", "--batch", "--deployment", "other")
    assert ["nightly", "batch"] in [line.split()[:2] for line in run("endpoints", "list").splitlines()]
    assert run("endpoints", "update", "nightly", "--traffic", "other=100").splitlines()[-1].split()[2] == "100"
    with pytest.raises(WrongUse, match="no processes"):
        run("endpoints", "update", "nightly", "--instances", "main=2")
    with pytest.raises(WrongUse, match="Nothing"):
        run("endpoints", "update", "nightly")
    run("endpoints", "delete", "nightly")
    with pytest.raises(NotFound):
        run("endpoints", "show", "nightly")
