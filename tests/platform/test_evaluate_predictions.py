"""Predictions that are there already, through the front door: refused before a job is made, judged, on leaderboards."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import bedplate
from bedplate_registry.errors import Refused
from bedplate_registry.leaderboard import find_board, origin_of, standings
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from harness import bedplate_home, run_cli, write_messages
from rest_server import CSV, MODEL, Rest, publish_model, rest_server

TASK = "text-classification"
COLUMNS = {"sentence1": "text", "label": "intent"}
SUMMARIES = b"dialogue,summary1,summary2\nhi there,a greeting,they say hi\nwhat now,a question,\n"


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as server:
        publish_model(server.workspace)
        yield server


def asked(rest: Rest, said: bytes, filename: str = "said.txt", **more: Any) -> Any:
    """The answer to a request that queues nothing."""
    uploads = {name: rest.upload(data) for name, data in (("data", CSV), ("predictions", said))}
    body = {
        "kind": "evaluate",
        "task": TASK,
        "data": {"upload": uploads["data"], "filename": "rows.csv"},
        "predictions": {"upload": uploads["predictions"], "filename": filename},
        "columns": COLUMNS,
        **more,
    }
    return rest.call("POST", "/api/v1/jobs", params={"dry_run": True}, json=body)


def test_a_request_has_a_model_or_predictions(rest: Rest) -> None:
    planned = asked(rest, b"card\nlogin\n", name="by hand")
    assert planned.status_code == 200, planned.text
    spec = planned.json()["spec"]
    assert (spec["model"], spec["name"], spec["predictions"]["format"]) == (None, "by hand", "txt")
    assert asked(rest, b"card\nlogin\n").json()["spec"]["name"] == "said.txt"
    for more, code in (({"model": MODEL}, "bad-setting"), ({"predictions": None}, "missing-setting")):
        refused = asked(rest, b"card\nlogin\n", **more)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
    nothing = asked(rest, b"", predictions=None, task=None).json()
    assert nothing["detail"] == "evaluate needs a model, or predictions.", "a task alone would not help"


@pytest.mark.parametrize("text", ["two\nlines.txt", "a\ttab.txt", "bell\x07.txt", "line\u2028separator.txt"])
def test_a_name_that_would_break_a_table_is_refused(rest: Rest, text: str) -> None:
    for refused in (asked(rest, b"card\nlogin\n", name=text), asked(rest, b"card\nlogin\n", text)):
        assert (refused.status_code, refused.json()["code"]) == (422, "bad-setting")
        assert repr(text) in refused.json()["detail"]
    assert asked(rest, b"card\nlogin\n", name="Wörter\u00a0von Hand \U0001f469\u200d\U0001f52c").status_code == 200


def test_a_file_without_a_column_of_predictions_is_refused_before_any_job(rest: Rest) -> None:
    refused = asked(rest, b"guess\ncard\nlogin\n", "said.csv")
    assert refused.json()["code"] == "missing-column"
    assert "predicted or prediction or predicted_label or label" in refused.json()["hint"]


def test_datasets_of_other_numbers_of_rows_are_refused_before_any_job(rest: Rest, tmp_path: Path) -> None:
    registry = rest.workspace.registry
    for name, filename, data in (("judged", "rows.csv", CSV), ("said", "said.csv", b"label\ncard\nlogin\ncard\n")):
        (tmp_path / filename).write_bytes(data)
        registry.datasets.add(Name.parse(name), tmp_path / filename, filename)
    refused = asked(rest, b"", data="judged", predictions="said")
    assert refused.json()["code"] == "row-count", refused.text
    assert refused.json()["detail"] == "The predictions have 3 rows, and the data has 2."


def test_the_data_itself_is_no_file_of_predictions_unless_it_has_a_column_of_them(rest: Rest) -> None:
    same = {"data": {"upload": rest.upload(CSV), "filename": "rows.csv"}}
    refused = asked(rest, CSV, "rows.csv", **same)
    assert refused.json()["code"] == "missing-column"  # its labels are in a column `intent`
    labeled = CSV.replace(b"intent", b"label", 1)
    same = {"data": {"upload": rest.upload(labeled), "filename": "rows.csv"}, "columns": {"sentence1": "text"}}
    refused = asked(rest, labeled, "rows.csv", **same)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad-predictions"), refused.text
    assert "'label' holds what is right" in refused.json()["detail"]
    first, *others = labeled.splitlines()
    both = b"\n".join([first + b",prediction", *(line + b",card" for line in others)])
    same["data"]["upload"] = rest.upload(both)
    assert asked(rest, both, "rows.csv", **same).status_code == 200


def test_several_columns_of_right_texts_are_kept_as_they_were_given_and_a_wrong_one_is_named(rest: Rest) -> None:
    given = {"task": "summarization", "columns": {"document": "dialogue", "summary": "summary1,summary2"}}
    data = {"upload": rest.upload(SUMMARIES), "filename": "rows.csv"}
    planned = asked(rest, b"a\nb\n", data=data, **given)
    assert planned.json()["spec"]["columns"] == given["columns"]
    given["columns"] = {"document": "dialogue", "summary": "summary1,summary3"}
    refused = asked(rest, b"a\nb\n", data=data, **given)
    assert refused.json()["code"] == "unknown-column"
    assert "no column 'summary3'" in refused.json()["detail"]


def test_a_file_is_judged_by_all_right_texts_of_each_row(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(SUMMARIES)
    (tmp_path / "said.txt").write_text("they say hi\na question\n")
    maps = ("--map", "document=dialogue", "--map", "summary=summary1,summary2")
    arguments = ("--from-predictions", str(tmp_path / "said.txt"), "--data", str(tmp_path / "data.csv"), *maps)
    with bedplate_home() as home:
        more = ("--predictions", str(tmp_path / "rows.parquet"), "--format", "json")
        report = json.loads(run_cli("evaluate", "--task", "summarization", *arguments, *more, home=home).stdout)
        assert report["metrics"]["rougeL"] == 1.0 and report["signatures"]["rouge"].startswith("nrefs:var|")
        assert report["data"]["columns"] == {"document": "dialogue", "summary": "summary1,summary2"}
        targets = [["a greeting", "they say hi"], ["a question"]]
        assert pq.read_table(tmp_path / "rows.parquet")["target"].to_pylist() == targets
        board = find_board(Registry(home / "registry").evaluations, "summarization", report["data"]["sha256"])
        assert [place.side.model for place in standings(board)] == ["said.txt (predictions)"]


def test_a_file_is_judged_and_stands_on_the_leaderboard_under_its_name(tmp_path: Path) -> None:
    data, said = write_messages(tmp_path / "holdout.csv", 40), tmp_path / "said.txt"
    with data.open() as file:
        right = [row["intent"] for row in csv.DictReader(file)]
    said.write_text("\n".join(["card" if at < 10 else label for at, label in enumerate(right)]) + "\n")
    share = sum(label == "card" for label in right[:10]) + 30
    maps = [part for pair in COLUMNS.items() for part in ("--map", "=".join(pair))]
    with bedplate_home() as home:
        arguments = ("--from-predictions", str(said), "--task", TASK, "--data", str(data), *maps, "--format", "json")
        done = run_cli("evaluate", *arguments, "--predictions", str(tmp_path / "rows.parquet"), home=home)
        report = json.loads(done.stdout)
        assert (report["model"], report["kind"]) == ("said.txt (predictions)", "predictions")
        assert report["metrics"]["accuracy"] == pytest.approx(share / 40)
        assert report["predictions_of"]["filename"] == "said.txt"
        assert pq.read_table(tmp_path / "rows.parquet")["predicted"].to_pylist()[0] == "card"
        registry = Registry(home / "registry")
        [first] = standings(find_board(registry.evaluations, TASK, report["data"]["sha256"]))
        assert (first.side.model, first.side.kind) == ("said.txt (predictions)", "predictions")
        assert origin_of(registry.models, first.side.model) == {"base": None, "state": "missing"}
        written = {
            "task": TASK,
            "data": str(data),
            "predictions": str(said),
            "columns": COLUMNS,
            "metrics": ["accuracy"],
        }
        (tmp_path / "evaluation.yaml").write_text(yaml.safe_dump(written | {"seed": 7, "name": "from a file"}))
        config = ("--config", str(tmp_path / "evaluation.yaml"), "--format", "json")
        by_file = json.loads(run_cli("evaluate", *config, "--name", "by flag", home=home).stdout)
        assert (by_file["model"], by_file["metrics"]) == ("by flag (predictions)", {"accuracy": share / 40})
        (tmp_path / "evaluation.yaml").write_text(yaml.safe_dump(written | {"metrcs": ["accuracy"]}))
        unknown = run_cli("evaluate", *config, home=home, check=False)
        assert (unknown.returncode, "'metrcs'" in unknown.stdout, "metrics" in unknown.stdout) == (1, True, True)
        said.write_text("card\n")
        refused = run_cli("evaluate", *arguments, home=home, check=False)
        assert refused.returncode == 1
        assert "The predictions have 1 rows, and the data has 40." in refused.stdout + refused.stderr


def test_settings_are_keywords_of_the_client_as_they_are_of_a_fine_tune(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(CSV)
    (tmp_path / "said.txt").write_text("card\nlogin\n")
    asked: dict[str, Any] = {"predictions": tmp_path / "said.txt", "data": tmp_path / "rows.csv", "columns": COLUMNS}
    asked |= {"task": TASK, "settings": {"confidence_draws": 0}}
    with bedplate_home() as home, bedplate.connect(home=home) as ws:
        report = ws.evaluate(None, **asked, metrics=["accuracy"], slices=["intent"]).wait().report
        assert (set(report.metrics), report.data["confidence"]) == ({"accuracy"}, {})
        assert {one["by"] for one in report.data["slices"]} >= {"intent"}
        with pytest.raises(Refused, match="metrcs") as refused:
            ws.evaluate(None, **asked, metrcs=["accuracy"])
    assert "'metrics'" in refused.value.hint
