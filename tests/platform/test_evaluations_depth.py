"""What a model said of each row: written by the worker, kept beside the report, downloaded by every way there is."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bedplate
from awaited import Awaited
from bedplate.compute import Lease
from bedplate.job_folder import DamagedFolder
from bedplate.kinds import KINDS
from bedplate.kinds.base import Context
from bedplate.row_files import rows_file
from bedplate.workspace import Workspace
from bedplate_registry import durable
from bedplate_registry.errors import NotFound, Refused, Unavailable
from bedplate_registry.registry import Registry
from harness import bedplate_home, run_cli, write_messages
from light_server import light_server
from rest_server import MODEL, Rest, publish_model, rest_server

TASK = "text-classification"
COLUMNS = {"sentence1": "text", "label": "intent"}
REPORT: dict[str, Any] = {"model": MODEL, "task": TASK, "kind": "model", "metrics": {"accuracy": 0.5}}
TOLD = {"predictions": {"rows": 2, "columns": ["row", "right"]}}


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"row": [1, 2], "right": [True, False]}), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as server:
        publish_model(server.workspace)
        yield server


@pytest.fixture
def kept(rest: Rest) -> str:
    return rest.workspace.registry.evaluations.add({**REPORT, **TOLD}, io.BytesIO(parquet()))


# --- in the registry


def test_a_report_and_its_rows_are_both_there_or_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = Registry(tmp_path).evaluations
    id = evaluations.add(REPORT, io.BytesIO(b"rows"))
    assert evaluations.predictions(id).read_bytes() == b"rows"
    assert evaluations.predictions(id).stat().st_mode & 0o222 == 0

    def full(operation: str, path: Path) -> None:
        if operation == "before write" and path.name == "predictions.parquet":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "fault_hook", full)
    with pytest.raises(Unavailable, match="full"):
        evaluations.add(REPORT, io.BytesIO(b"rows"))
    assert [path.name for path in evaluations.root.iterdir()] == [id]


def test_rows_that_were_not_kept_are_not_found(tmp_path: Path) -> None:
    evaluations = Registry(tmp_path).evaluations
    with pytest.raises(NotFound) as caught:
        evaluations.predictions(evaluations.add(REPORT))
    assert (caught.value.code, "--predictions" in caught.value.hint) == ("no-predictions", True)
    with pytest.raises(NotFound, match="There is no evaluation"):
        evaluations.predictions("../models")


# --- at the end of a job


@pytest.fixture
def ended(rest: Rest) -> tuple[Context, str, Path]:
    """The server's context, an evaluation that its worker has just left, and the file of rows that goes with it."""
    workspace = rest.workspace
    queued = workspace.jobs.submit("evaluate", {"model": MODEL, "against": None}, owner="root")
    running = workspace.jobs.claim(queued, Lease(1, 1 << 30))
    assert running is not None
    folder = workspace.job_folder(queued.id)
    folder.create(queued.spec)
    return workspace.context, queued.id, rows_file(folder.path, running.epoch)


def finish(ended: tuple[Context, str, Path]) -> str:
    context, job_id, _ = ended
    answer = KINDS["evaluate"].finish(context, job_id, {"model": MODEL, "against": None}, {"report": REPORT | TOLD})
    return str(answer["evaluation"])


def test_the_end_of_a_job_keeps_its_rows_once_however_often_it_is_finished(
    rest: Rest, ended: tuple[Context, str, Path]
) -> None:
    ended[2].write_bytes(parquet())
    first = finish(ended)
    assert finish(ended) == first
    assert rest.workspace.registry.evaluations.predictions(first).read_bytes() == parquet()
    assert not ended[2].exists(), "there would be two copies"


def test_a_link_or_a_missing_file_in_place_of_the_rows_is_refused(
    rest: Rest, ended: tuple[Context, str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DamagedFolder):
        finish(ended)
    (tmp_path / "secret").write_text("a token")
    ended[2].symlink_to(tmp_path / "secret")
    with pytest.raises(DamagedFolder):
        finish(ended)
    assert not [one for one in rest.workspace.registry.evaluations.heads() if one.get("job") == ended[1]]


def test_slices_by_a_column_that_the_data_lacks_are_refused_before_a_job_exists(rest: Rest) -> None:
    sha256 = rest.upload(b"text,intent,channel\nmy card is lost,card,mail\n")
    request = {"model": MODEL, "task": TASK, "columns": COLUMNS, "settings": {"slices": ["chanel"]}}
    tickets = {"upload": sha256, "filename": "tickets.csv"}
    request |= {"data": tickets, "train": tickets}
    answer = rest.call("POST", "/api/v1/jobs", json={"kind": "evaluate", **request})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-column"), answer.text
    assert "chanel" in answer.json()["detail"] and "channel" in answer.json()["hint"]


# --- by REST, Python and the command line


def test_rows_are_downloaded_whole_or_in_part_and_only_with_a_key(rest: Rest, kept: str) -> None:
    path = f"/api/v1/evaluations/{kept}/predictions"
    whole = rest.call("GET", path, user="ana")
    assert (whole.status_code, whole.content) == (200, parquet())
    assert whole.headers["content-type"] == "application/vnd.apache.parquet"
    assert f"{kept}.parquet" in whole.headers["content-disposition"]
    part = rest.call("GET", path, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"PAR1")
    assert rest.client.get(path).status_code == 401
    missing = rest.call("GET", f"/api/v1/evaluations/{rest.workspace.registry.evaluations.add(REPORT)}/predictions")
    assert (missing.status_code, missing.json()["code"]) == (404, "no-predictions")


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_a_report_writes_its_rows_to_a_file_of_the_callers(server: Workspace, tmp_path: Path, way: str) -> None:
    id = server.registry.evaluations.add(REPORT | TOLD, io.BytesIO(parquet()))
    home = server.home.path
    with asyncio.Runner() as runner:
        found = Awaited(bedplate.aconnect(home=home), runner) if way == "asyncio" else bedplate.connect(home=home)
        with found as ws:
            report = ws.evaluations.get(id)
            assert report.predictions(tmp_path / "rows.parquet") == tmp_path / "rows.parquet"
            assert pq.read_table(tmp_path / "rows.parquet").to_pylist()[1] == {"row": 2, "right": False}
            with pytest.raises(NotFound, match="no folder"):
                report.predictions(tmp_path / "none" / "rows.parquet")
            with pytest.raises(Refused, match="is a folder"):
                report.predictions(tmp_path)


def test_a_command_that_does_not_wait_for_the_rows_is_wrong_use(tmp_path: Path) -> None:
    done = run_cli(
        *("evaluate", "a", "--data", "b", "--predictions", "rows.parquet", "--detach"), home=tmp_path, check=False
    )
    assert (done.returncode, "--detach" in done.stderr) == (2, True), done.stderr


def test_an_evaluation_by_command_leaves_its_rows_and_their_slices(stock: Path, tmp_path: Path) -> None:
    data, rows = write_messages(tmp_path / "data.csv", 30), tmp_path / "rows.parquet"
    with bedplate_home(stock) as home:
        done = run_cli(
            *("evaluate", "acme/tiny-classifier", "--task", TASK, "--data", str(data), "--predictions", str(rows)),
            *("--map", "sentence1=text", "--map", "label=intent", "--set", "slices=intent", "--device", "cpu"),
            *("--format", "json"),
            home=home,
        )
        report = json.loads(done.stdout)
        assert not list((home / "jobs").rglob("predictions*"))
    lines = pq.read_table(rows).to_pylist()
    assert report["predictions"]["rows"] == len(lines) == 30
    assert report["predictions"]["columns"] == list(lines[0])
    assert sum(line["right"] for line in lines) / 30 == pytest.approx(report["metrics"]["accuracy"])
    by_intent = {one["value"]: one["rows"] for one in report["slices"] if one["by"] == "intent"}
    assert by_intent == {name: sum(line["intent"] == name for line in lines) for name in by_intent}
    assert report["latency"]["rows"] == 30 and report["calibration"]["bins"] and report["curves"]["roc"]
