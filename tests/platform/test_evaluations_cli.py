"""`bedplate evaluations`: reports that are there already, on the terminal and as files."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bedplate.cli.app import app
from bedplate.cli.output import WrongUse
from bedplate.workspace import Workspace
from bedplate_registry.errors import NotFound, Refused
from bedplate_registry.writers import open_writer
from light_server import light_server

REPORT: dict[str, Any] = {
    "model": "acme/mine:2",
    "task": "text-classification",
    "kind": "model",
    "data": {"dataset": "tickets:1", "sha256": "a" * 64, "rows": 120},
    "metrics": {"AUC_macro": 0.9, "accuracy": 0.75},
    "confidence": {"accuracy": [0.6789, 0.8123]},
    "not_computed": {"log_loss": "There are no probabilities.", "AUC_micro": "There are no probabilities."},
    "baselines": {"majority": {"accuracy": 0.3}},
    "against": {"model": "acme/other:1", "metrics": {"accuracy": 0.5}},
    "difference": {"accuracy": {"value": 0.25, "low": 0.1, "high": 0.4, "p_value": 0.0123}},
    "changed": {"fixed": 31, "broken": 2, "examples": []},
    "notes": ["3 labels are numbers."],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture(scope="module")
def made(server: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a report with predictions; one of another model is newer."""
    rows = tmp_path_factory.mktemp("said") / "rows.parquet"
    with open_writer(rows, "parquet", ["row", "predicted"]) as writer:
        writer.write({"row": 1, "predicted": "card"})
    with rows.open("rb") as file:
        about = {"predictions": {"rows": 1, "columns": ["row", "predicted"]}}
        found = server.registry.evaluations.add({**REPORT, **about}, file)
    server.registry.evaluations.add({**REPORT, "model": "acme/newer:1", "against": None})
    return found


def command(server: Workspace, *arguments: str) -> Result:
    done = CliRunner().invoke(app, [*arguments, "--home", str(server.home.path)])
    gc.collect()  # a connection that a command left open is a warning, and so an error
    return done


def test_reports_are_listed_with_their_main_metric(server: Workspace, made: str) -> None:
    listed = command(server, "evaluations", "list", "--model", "acme/mine:2").stdout.splitlines()
    assert len(listed) == 2
    told = listed[1].split()
    assert (told[0], told[2:]) == (made, ["acme/mine:2", REPORT["task"], "tickets:1", "120", "accuracy", "0.75"])
    assert len(command(server, "evaluations", "list").stdout.splitlines()) == 3
    assert command(server, "evaluations", "list", "--model", "acme/mine").stdout.splitlines() == listed
    unknown = command(server, "evaluations", "list", "--model", "acme/nope").exception
    assert isinstance(unknown, NotFound) and "acme/nope" in unknown.message


def test_a_report_tells_intervals_the_difference_with_its_p_value_and_what_is_to_be_known(
    server: Workspace, made: str
) -> None:
    shown = command(server, "evaluations", "show", made)
    about, _, table = shown.stdout.partition("\n\n")
    assert "acme/other:1" in about
    heading, first, second = table.splitlines()
    assert " ".join(heading.split()) == "metric model interval against difference its interval p majority"
    assert " ".join(first.split()) == "accuracy 0.75 0.6789 to 0.8123 0.5 0.25 0.1 to 0.4 0.0123 0.3"
    assert " ".join(second.split()) == "AUC_macro 0.9 - - - - - -"
    for line in (
        "Against acme/other:1: 31 rows fixed, 2 broken.",
        "p: the probability of a difference this large if both were equally good.",
        "Not computed: AUC_micro, log_loss. There are no probabilities.",
        "Noted: 3 labels are numbers.",
        f"bedplate evaluations show {made} --page report.html",
    ):
        assert line in shown.stderr


def test_slices_by_the_columns_that_were_asked_for_are_told(server: Workspace) -> None:
    found = [
        {"by": "channel", "value": "mail", "rows": 30, "metrics": {"accuracy": 0.5}, "confidence": {}},
        {"by": "channel", "value": "chat", "rows": 90, "metrics": {}, "confidence": {}},
        {"by": "length", "value": "1 to 9", "rows": 60, "metrics": {"accuracy": 0.75}, "confidence": {}},
    ]
    about = {"model": "acme/sliced:1", "slices": found, "settings": {"slices": ["channel"]}}
    shown = command(server, "evaluations", "show", server.registry.evaluations.add({**REPORT, **about})).stdout
    told = [" ".join(line.split()) for line in shown.splitlines()[-3:]]
    assert told == ["by value rows accuracy", "channel mail 30 0.5", "channel chat 90 -"]


def test_its_page_and_its_predictions_come_as_files(server: Workspace, made: str, tmp_path: Path) -> None:
    page, rows = tmp_path / "report.html", tmp_path / "rows.parquet"
    where = ("--page", str(page), "--predictions", str(rows), "--format", "json")
    assert json.loads(command(server, "evaluations", "show", made, *where).stdout)["id"] == made
    assert page.read_text().startswith("<!doctype html>")
    assert pq.read_table(rows)["predicted"].to_pylist() == ["card"]


def test_a_file_that_cannot_be_what_was_asked_for_is_refused_before_anything_runs(
    server: Workspace, made: str, tmp_path: Path
) -> None:
    for name in ("rows.csv", "rows.JSONL"):
        for subject in (("evaluations", "show", made), ("evaluate", "acme/none:1", "--data", "tickets")):
            refused = command(server, *subject, "--predictions", str(tmp_path / name)).exception
            assert isinstance(refused, Refused) and "what is written there is Parquet" in refused.message
            assert "Name it rows.parquet" in refused.hint
            refused = command(server, *subject, "--page", str(tmp_path / name)).exception
            assert isinstance(refused, Refused) and "what is written there is HTML" in refused.message
            assert "Name it rows.html" in refused.hint
    missing = command(server, "evaluations", "show", made, "--page", str(tmp_path / "no" / "report.html")).exception
    assert isinstance(missing, NotFound)
    assert list(tmp_path.iterdir()) == []
    detached = command(server, "evaluate", "a", "--data", "b", "--page", str(tmp_path / "a.html"), "--detach").exception
    assert isinstance(detached, WrongUse) and "bedplate evaluations show ID" in detached.hint


def test_an_evaluation_of_nothing_is_told_that_a_model_is_missing_or_predictions(server: Workspace) -> None:
    refused = command(server, "evaluate", "--data", "holdout.csv", "--map", "label=intent").exception
    assert isinstance(refused, WrongUse) and refused.message == "evaluate needs a model, or a file of predictions."
    assert "--from-predictions" in refused.hint


@pytest.mark.parametrize("subject", [["a", "--against", "rules.csv"], ["rules.csv"], ["a", "--against", "./said.TXT"]])
def test_a_file_where_a_model_is_meant_leads_to_from_predictions(server: Workspace, subject: list[str]) -> None:
    refused = command(server, "evaluate", *subject, "--task", REPORT["task"], "--data", "tickets").exception
    assert isinstance(refused, Refused) and refused.message == f"{subject[-1]!r} is a file, and no model."
    assert f"--from-predictions {subject[-1]}" in refused.hint
