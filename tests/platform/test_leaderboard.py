"""Leaderboards by REST, by the Python client and by the command line."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import bedplate
from bedplate.api.leaderboards import BoardSummary, Leaderboard
from bedplate.cli.app import app
from bedplate.cli.output import WrongUse
from bedplate.workspace import Workspace
from bedplate_registry.errors import NotFound, Refused
from light_server import light_server
from rest_server import MODEL, Rest, publish_model, rest_server

BOARDS = "/api/v1/leaderboards"
TASK = "text-classification"
SHA, OTHER = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    """Five models on tickets:1, one of them on a file of its own too."""
    with rest_server() as started:
        publish_model(started.workspace)
        for number in range(4):
            add(started.workspace, f"acme/m-{number}:1", number / 10)
        add(started.workspace, MODEL, 0.31)
        add(started.workspace, MODEL, 0.5, {"dataset": None, "sha256": OTHER, "filename": "holdout.csv"})
        yield started


def add(workspace: Workspace, model: str, accuracy: float, data: dict[str, Any] | None = None) -> str:
    about = {"dataset": "tickets:1", "sha256": SHA, "filename": "tickets.csv", "rows": 100, "columns": {"label": "x"}}
    metrics, confidence = {"accuracy": accuracy, "log_loss": 1 - accuracy}, {"accuracy": [accuracy - 0.05, accuracy]}
    report = {"model": model, "task": TASK, "kind": "model", "metrics": metrics, "confidence": confidence}
    return workspace.registry.evaluations.add({**report, "data": {**about, **(data or {})}})


def test_the_list_has_each_board_with_its_best_model(rest: Rest) -> None:
    answer = rest.call("GET", BOARDS).json()
    found = [BoardSummary.model_validate(item) for item in answer["items"]]
    shown = [(board.data, board.models, board.best.model if board.best else None) for board in found]
    assert shown == [(OTHER, 1, MODEL), ("tickets:1", 5, MODEL)]
    assert rest.call("GET", f"{BOARDS}?task=translation").json() == {"items": [], "next": None}


def test_a_board_is_sorted_says_who_ties_and_knows_deleted_models(rest: Rest) -> None:
    board = Leaderboard.model_validate(rest.call("GET", f"{BOARDS}/{TASK}?data=tickets:1").json())
    shown = [(row.rank, row.model, row.ties_best, row.state) for row in board.items]
    assert shown[:3] == [
        (1, MODEL, False, "active"),
        (2, "acme/m-3:1", True, "missing"),
        (3, "acme/m-2:1", False, "missing"),
    ]
    assert (board.metric, board.models, board.dataset) == ("accuracy", 5, "tickets:1")
    for name in (SHA, board.id):
        assert rest.call("GET", f"{BOARDS}/{TASK}?data={name}").json() == board.model_dump()


def test_a_board_comes_in_pages_and_by_another_metric(rest: Rest) -> None:
    found, after = [], ""
    while after is not None:
        page = rest.call("GET", f"{BOARDS}/{TASK}?data=tickets:1&metric=log_loss&limit=2{after}").json()
        assert (page["metric"], page["best"]["model"]) == ("log_loss", MODEL)
        found += [row["model"] for row in page["items"]]
        after = page["next"] and f"&after={page['next']}"
    assert found == [MODEL, "acme/m-3:1", "acme/m-2:1", "acme/m-1:1", "acme/m-0:1"]
    pages = [rest.call("GET", f"{BOARDS}?limit=1").json()]
    pages.append(rest.call("GET", f"{BOARDS}?limit=1&after={pages[0]['next']}").json())
    assert [item["data"] for page in pages for item in page["items"]] == [OTHER, "tickets:1"]
    assert pages[1]["next"] is None


@pytest.mark.parametrize(
    ("path", "status", "code", "hint"),
    [
        (f"{BOARDS}/{TASK}?data=other:1", 404, "no-leaderboard", "tickets:1"),
        (f"{BOARDS}/{TASK}?data=tickets:1&metric=acuracy", 422, "unknown-metric", "'accuracy'"),
        (f"{BOARDS}/{TASK}?data=tickets:1&metric=f1", 422, "unknown-metric", "Here it is f1_score_macro."),
        (f"{BOARDS}/text-clasification?data=tickets:1", 422, "unknown-task", "'text-classification'"),
        (f"{BOARDS}?task=text-clasification", 422, "unknown-task", "'text-classification'"),
        (f"{BOARDS}/{TASK}", 422, "bad-request", ""),
    ],
)
def test_what_has_no_board_is_refused_by_name(rest: Rest, path: str, status: int, code: str, hint: str) -> None:
    answer = rest.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (status, code), json.dumps(answer.json())
    assert hint in answer.json()["hint"]


# --- the client and the command line


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    """Two models on tickets:1."""
    with light_server() as workspace:
        add(workspace, "acme/a:1", 0.5)
        add(workspace, "acme/b:1", 0.52)
        yield workspace


def command(server: Workspace, *arguments: str) -> Result:
    done = CliRunner().invoke(app, ["leaderboard", *arguments, "--home", str(server.home.path)])
    gc.collect()  # a connection that a command left open is a warning, and so an error
    return done


def test_both_clients_list_the_boards_and_show_one(server: Workspace) -> None:
    async def by_asyncio() -> list[Any]:
        async with bedplate.aconnect(home=server.home.path) as ws:
            return await ws.evaluations.leaderboard(TASK, "tickets:1")

    with bedplate.connect(home=server.home.path) as ws:
        [board] = ws.evaluations.leaderboard(TASK)
        shown = ws.evaluations.leaderboard(TASK, "tickets:1")
        assert ws.evaluations.leaderboard() == [board]
        by_loss = ws.evaluations.leaderboard(TASK, board["id"], metric="log_loss")
        assert [row["value"] for row in by_loss] == [0.48, 0.5]
        with pytest.raises(Refused, match="one of a task"):
            ws.evaluations.leaderboard(data="tickets:1")
        with pytest.raises(NotFound, match="other:1"):
            ws.evaluations.leaderboard(TASK, "other:1")
    assert [(row["model"], row["ties_best"]) for row in shown] == [("acme/b:1", False), ("acme/a:1", True)]
    assert board["best"] == shown[0]
    assert asyncio.run(by_asyncio()) == shown


def test_a_file_that_nobody_measured_on_is_told_of_by_its_name(server: Workspace, tmp_path: Path) -> None:
    async def by_asyncio(file: Path) -> None:
        async with bedplate.aconnect(home=server.home.path) as ws:
            await ws.evaluations.leaderboard(TASK, file)

    file = tmp_path / "rows.csv"
    file.write_text("text,intent\nhello,greet\n")
    refused = [command(server, "--task", TASK, "--data", str(file)).exception]
    with pytest.raises(NotFound) as caught:
        asyncio.run(by_asyncio(file))
    for each in (*refused, caught.value):
        assert isinstance(each, NotFound) and each.code == "no-leaderboard"
        assert each.message == f"No model was measured for {TASK} on {str(file)!r}."
        assert "It was on: tickets:1." in each.hint


def test_both_clients_write_the_page_of_a_report(server: Workspace, tmp_path: Path) -> None:
    async def by_asyncio() -> Path:
        async with bedplate.aconnect(home=server.home.path) as ws:
            [report] = await ws.evaluations.list(model="acme/a:1")
            return await report.page(tmp_path / "b.html")

    with bedplate.connect(home=server.home.path) as ws:
        [report] = ws.evaluations.list(model="acme/a:1")
        written = report.page(tmp_path / "a.html")
    assert written.read_text().startswith("<!doctype html>")
    assert asyncio.run(by_asyncio()).read_text() == written.read_text()


def test_the_command_shows_the_boards_and_then_the_models_of_one(server: Workspace) -> None:
    listed = command(server)
    assert listed.stdout.splitlines()[1].split()[:6] == [TASK, "tickets:1", "-", "accuracy", "2", "acme/b:1"]
    assert f"bedplate leaderboard --task {TASK} --data " in listed.stderr
    shown = command(server, "--task", TASK, "--data", "tickets:1")
    assert [line.split()[:6] for line in shown.stdout.splitlines()[1:]] == [
        ["1", "acme/b:1", "0.52", "0.47", "to", "0.52"],
        ["2", "acme/a:1", "0.5", "0.45", "to", "0.5"],
    ]
    as_json = json.loads(command(server, "--task", TASK, "--data", "tickets:1", "--format", "json").stdout)
    assert [row["place"] for row in as_json] == [1, 2]


def test_a_board_without_its_task_is_wrong_use(server: Workspace) -> None:
    for arguments in (("--data", "tickets:1"), ("--task", TASK, "--metric", "accuracy")):
        assert isinstance(command(server, *arguments).exception, WrongUse)


def test_a_file_of_ones_own_is_data_by_its_bytes(server: Workspace, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,intent\nhello,greet\n")
    sha256 = hashlib.sha256(rows.read_bytes()).hexdigest()
    add(server, "acme/own:1", 0.5, {"dataset": None, "sha256": sha256, "rows": 1})
    with bedplate.connect(home=server.home.path) as ws:
        [first] = ws.evaluations.leaderboard(TASK, rows)
        assert first["model"] == "acme/own:1"
    shown = command(server, "--task", TASK, "--data", str(rows))
    assert shown.stdout.splitlines()[1].split()[1] == "acme/own:1"
