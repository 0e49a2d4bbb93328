"""The graph of a deployed text encoder: made by a job, taken over by its replicas, used by jobs that score."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import bedplate
from bedplate.client import Endpoint, Job, RemoteWorkspace
from bedplate_serving.unix_sockets import is_listening, short_path
from harness import bedplate_home, free_port, processes_of, serving, wait_for, write_messages
from killable_server import kill

COLUMNS = {"sentence1": "text", "label": "intent"}


@pytest.fixture(scope="module")
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as folder, serving(folder, free_port()):
        yield folder


@pytest.fixture(scope="module")
def ws(home: Path) -> Iterator[RemoteWorkspace]:
    with bedplate.connect(home=home) as workspace:
        yield workspace


def graph_jobs(ws: RemoteWorkspace) -> list[Job]:
    return list(ws.jobs.list(kind="graph"))


def infos(home: Path) -> list[dict[str, Any]]:
    """What the replicas say of themselves."""
    found = []
    for socket in (home / "run" / "r").glob("*/s"):
        if is_listening(socket):
            with httpx.Client(transport=httpx.HTTPTransport(uds=short_path(socket)), timeout=30) as client:
                found.append(client.get("http://replica/info").json())
    return found


def by_label(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {one["label"]: one["score"] for one in answer}


def engines(home: Path) -> list[str]:
    return [str(info.get("engine")) for info in infos(home)]


@pytest.fixture(scope="module")
def endpoint(home: Path, ws: RemoteWorkspace) -> Endpoint:
    """An endpoint whose graph was made, by a job whose first attempt was killed."""
    endpoint = ws.deploy("acme/tiny-classifier", endpoint="tiny", device="cpu", wait=False)
    wait_for(lambda: processes_of(home, "bedplate.workers.graph"), seconds=120)
    for pid in processes_of(home, "bedplate.workers.graph"):
        kill(pid)
    return endpoint.wait(timeout_seconds=120)


def test_a_killed_job_is_tried_again_while_torch_answers_and_then_the_replica_changes_over(
    home: Path, ws: RemoteWorkspace, endpoint: Endpoint
) -> None:
    [job] = graph_jobs(ws)
    before = by_label(endpoint.score("my card is lost"))
    job.wait(timeout_seconds=200)
    assert (job.state, job.data["attempt"], job.owner) == ("succeeded", 2, "server")
    assert job.data["result"] == {"model": "acme/tiny-classifier:1", "engine": "onnxruntime"}
    wait_for(lambda: engines(home) == ["onnxruntime"], seconds=60)
    assert by_label(endpoint.score("my card is lost")) == pytest.approx(before, abs=1e-5)


def test_a_further_replica_starts_without_torch_and_no_further_job_is_submitted(
    home: Path, ws: RemoteWorkspace, endpoint: Endpoint
) -> None:
    [job] = graph_jobs(ws)
    job.wait(timeout_seconds=200)
    old = {info["pid"] for info in infos(home)}
    endpoint.update(instances={"main": 2})
    wait_for(lambda: engines(home) == ["onnxruntime"] * 2, seconds=120)
    [new] = {info["pid"] for info in infos(home)} - old
    assert "libtorch" not in Path(f"/proc/{new}/maps").read_text()
    assert [job.id for job in graph_jobs(ws)] == [job.id]


def test_a_replica_only_reads_what_was_derived(home: Path, endpoint: Endpoint) -> None:
    wait_for(lambda: infos(home), seconds=120)
    if "cage: running with" in (home / "logs" / "tiny-main.log").read_text():
        pytest.skip("this kernel allows no namespaces: bedplate doctor says so")
    mounts = Path(f"/proc/{infos(home)[0]['pid']}/mountinfo").read_text().splitlines()
    [options] = {line.split()[5] for line in mounts if f"{os.path.realpath(home)}/derived/" in line.split()[4]}
    assert "ro" in options.split(",")


def test_batch_and_evaluation_score_on_the_graph_as_torch_does(
    home: Path, ws: RemoteWorkspace, endpoint: Endpoint, tmp_path: Path
) -> None:
    rows = write_messages(tmp_path / "rows.csv", 40)
    graph_jobs(ws)[0].wait(timeout_seconds=200)
    jobs = [score(ws, rows, tmp_path / "graph.jsonl"), judge(ws, rows)]
    for job in jobs:
        assert "onnxruntime answers" in job.logs(1000)
    [graph] = (home / "derived").glob("*/graph")
    aside = graph.rename(graph.parent / "aside")
    others = [score(ws, rows, tmp_path / "torch.jsonl"), judge(ws, rows)]
    aside.rename(graph)
    for job in others:
        assert "onnxruntime answers" not in job.logs(1000)
    assert scores(tmp_path / "graph.jsonl") == pytest.approx(scores(tmp_path / "torch.jsonl"), abs=1e-5)
    assert jobs[1].data["result"]["metrics"] == pytest.approx(others[1].data["result"]["metrics"], abs=1e-4)


def score(ws: RemoteWorkspace, rows: Path, output: Path) -> Job:
    columns = {"sentence1": "text"}
    return ws.batch("acme/tiny-classifier", input=rows, output=output, columns=columns, device="cpu").wait(
        timeout_seconds=200
    )


def judge(ws: RemoteWorkspace, rows: Path) -> Job:
    job = ws.evaluate("acme/tiny-classifier", task="text-classification", data=rows, columns=COLUMNS, device="cpu")
    return job.wait(timeout_seconds=200)


def scores(file: Path) -> list[float]:
    return [json.loads(line)["score"] for line in file.read_text().splitlines()]
