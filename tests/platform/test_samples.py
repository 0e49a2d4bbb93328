"""The sample of a deployment: what each replica must answer before it gets traffic, kept with its answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.cli.output import WrongUse
from bedplate.client import RemoteWorkspace
from bedplate.compute import Lease
from bedplate.database import Database, deployments
from bedplate.endpoints import MAX_SAMPLE_BYTES, EndpointStore
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict, Refused
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_serving.testing import tiny_text_classifier
from harness import free_port, wait_for
from light_server import light_server

SAMPLE: dict[str, Any] = {"inputs": ["my card is lost", "reset it"], "parameters": {"top_k": 1}}


def publish(workspace: Workspace, folder: Path) -> str:
    registry, files = workspace.registry, []
    for path in sorted(folder.iterdir()):
        blob = registry.blobs.put_file(path)
        files.append(FileEntry(path.name, blob.size_bytes, blob.sha256))
    facts = ModelFacts("text-classification", "BertForSequenceClassification", "bert", 1000, "float32", 4000)
    draft = ModelDraft(Name.parse("support-intent"), tuple(files), facts, Source("folder", "support-intent"))
    return registry.models.publish(draft).ref


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tiny_text_classifier(tmp_path_factory.mktemp("tiny") / "model", ("card", "login"))
    with light_server(port=free_port()) as workspace:
        publish(workspace, folder)
        yield workspace
        for endpoint in workspace.endpoints.all():
            workspace.delete_endpoint(endpoint.name)
        wait_for(lambda: not workspace.endpoints.replicas())


@pytest.fixture(scope="module")
def ws(server: Workspace) -> Iterator[RemoteWorkspace]:
    with bedplate.connect(home=server.home.path) as ws:
        yield ws


def is_the_same(answer: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
    assert [one["label"] for one in answer] == [one["label"] for one in kept]
    assert [one["score"] for one in answer] == pytest.approx([one["score"] for one in kept], abs=1e-4)


@pytest.fixture
def store(server: Workspace) -> EndpointStore:
    return server.endpoints


def test_a_deployments_own_sample_is_answered_before_it_is_ready_and_kept_with_the_answer(ws: RemoteWorkspace) -> None:
    endpoint = ws.deploy("support-intent", endpoint="support", device="cpu", sample=SAMPLE)
    kept = endpoint.samples["main"]
    assert kept["request"] == SAMPLE
    assert [len(one) for one in kept["answer"]] == [1, 1]
    for answer in (endpoint.score(SAMPLE["inputs"], top_k=1)[0], endpoint.score(SAMPLE["inputs"][0], top_k=1)):
        is_the_same(answer, kept["answer"][0])
    again = ws.deploy("support-intent", endpoint="support", device="cpu", sample=SAMPLE)
    assert again.samples["main"] == kept
    with pytest.raises(Conflict, match="has answered another sample") as caught:
        ws.deploy("support-intent", endpoint="support", device="cpu", sample={"inputs": "other"})
    assert caught.value.code == "other-sample"


def test_a_sample_that_the_model_cannot_answer_fails_the_start_with_the_reason(
    ws: RemoteWorkspace, server: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "sample.json"
    file.write_text(json.dumps({"inputs": ["good", ""]}))
    home = ("--home", str(server.home.path))
    options = ("--endpoint", "empty", "--device", "cpu", "--detach", "--sample", str(file))
    done = CliRunner().invoke(app, ["deploy", "support-intent", *options, *home])
    assert done.exit_code == 0, done.output
    endpoint = ws.endpoints.get("empty")
    wait_for(lambda: endpoint.refresh().deployments[0]["error"] is not None)
    error = endpoint.deployments[0]["error"]
    assert error["code"] == "replica-failed"
    assert "item 1: text is empty" in error["message"]
    assert endpoint.samples["main"] == {"request": {"inputs": ["good", ""]}, "answer": None}
    endpoint.delete()


def test_without_one_it_is_the_tasks_own(server: Workspace, ws: RemoteWorkspace) -> None:
    endpoint = ws.deploy("support-intent", endpoint="plain", device="cpu")
    sample = endpoint.samples["main"]
    is_the_same(endpoint.score(sample["request"]["inputs"]), sample["answer"][0])
    shown = CliRunner().invoke(app, ["endpoints", "show", "plain", "--home", str(server.home.path)])
    assert json.dumps(sample["request"]) in shown.output


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ({}, 'has no "inputs"'),
        ({"inputs": None}, 'has no "inputs"'),
        ({"inputs": "a", "stream": True}, "unknown key 'stream'"),
        ({"inputs": float("nan")}, "not finite"),
        ({"inputs": "é" * (MAX_SAMPLE_BYTES // 2)}, "bytes"),
    ],
)
def test_what_is_no_sample_is_refused(store: EndpointStore, sample: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        store.deploy("odd-one", "m:1", "text-classification", sample=sample)
    assert caught.value.code == "bad-sample"
    assert "odd-one" not in [endpoint.name for endpoint in store.all()]


def test_until_it_is_answered_it_can_be_given_anew(store: EndpointStore) -> None:
    def deploy(**sample: Any) -> None:
        store.deploy("anew", "support-intent:1", "text-classification", instances=1, sample=sample or None)

    deploy(inputs="wrong")
    deploy(inputs="right")
    deploy()
    [row] = store.deployments("anew")
    assert row.sample == {"request": {"inputs": "right"}, "answer": None}
    store.delete("anew")


def test_a_deployment_that_is_wished_for_again_keeps_its_share(store: EndpointStore) -> None:
    store.deploy("again", "support-intent:1", "text-classification")
    store.deploy("again", "support-intent:2", "text-classification", deployment="canary")
    store.deploy("again", "support-intent:1", "text-classification", instances=2)
    assert {row.name: row.traffic for row in store.deployments("again")} == {"main": 100, "canary": 0}
    store.delete("again")


LEASE = Lease(cores=1, memory_bytes=1 << 30)


@pytest.fixture
def lonely(database: Database) -> EndpointStore:
    """A store that nobody looks after, with one deployment and its replica, which is ready."""
    store = EndpointStore(database)
    store.deploy("support", "support-intent:1", "text-classification")
    replica = store.add_replica(store.deployments()[0], LEASE)
    assert replica is not None
    store.move_replica(replica, "ready")
    return store


def test_replicas_that_were_there_before_a_sample_was_given_are_replaced(lonely: EndpointStore) -> None:
    def states() -> list[str]:
        return [replica.state for replica in lonely.replicas()]

    def deploy(sample: dict[str, Any] | None) -> None:
        lonely.deploy("support", "support-intent:1", "text-classification", sample=sample)

    [before] = lonely.deployments()
    deploy(None)
    assert states() == ["ready"]
    deploy(SAMPLE)
    assert states() == ["stopping"]
    assert lonely.missing() == lonely.deployments()
    assert lonely.add_replica(before, LEASE) is None, "a round that began before must not start one with the old sample"
    assert lonely.add_replica(lonely.deployments()[0], LEASE) is not None
    deploy(SAMPLE)
    assert states() == ["stopping", "starting"], "it is no other sample"


def test_the_answer_to_an_earlier_sample_is_not_kept(lonely: EndpointStore) -> None:
    [before] = lonely.deployments()
    lonely.deploy("support", "support-intent:1", "text-classification", sample=SAMPLE)
    lonely.keep_sample(before, {"request": {"inputs": "its own"}, "answer": [1]})
    [now] = lonely.deployments()
    assert now.sample == {"request": SAMPLE, "answer": None}
    lonely.keep_sample(now, {"request": SAMPLE, "answer": [2]})
    assert lonely.deployments()[0].sample == {"request": SAMPLE, "answer": [2]}


def test_a_sample_given_while_a_replica_starts_is_the_one_that_is_answered(
    ws: RemoteWorkspace, server: Workspace
) -> None:
    server.deploy("hurried", "support-intent", device="cpu", sample={"inputs": "good", "parameters": {}})
    wait_for(lambda: server.endpoints.replicas("hurried"))
    endpoint = ws.deploy("support-intent", endpoint="hurried", device="cpu", sample=SAMPLE)
    assert endpoint.samples["main"]["request"] == SAMPLE
    assert len(endpoint.samples["main"]["answer"]) == 2


def test_a_ready_replica_is_asked_for_its_sample_until_it_is_known(ws: RemoteWorkspace, server: Workspace) -> None:
    """As after an upgrade from a version that kept none."""
    endpoint = ws.deploy("support-intent", endpoint="plain", device="cpu")
    known, replicas = endpoint.samples["main"], server.endpoints.replicas("plain")
    with server.endpoints._database.begin() as connection:
        connection.execute(sa.update(deployments).where(deployments.c.endpoint == "plain").values(sample=sa.null()))
    wait_for(lambda: server.endpoints.deployments("plain")[0].sample)
    assert endpoint.refresh().samples["main"] == known
    assert [one.id for one in server.endpoints.replicas("plain")] == [one.id for one in replicas]


def test_a_batch_endpoint_and_a_file_that_is_no_sample_are_refused_on_the_command_line(
    server: Workspace, tmp_path: Path
) -> None:
    def run(*arguments: str) -> BaseException | None:
        command = ["deploy", "support-intent", "--endpoint", "nightly", *arguments]
        return CliRunner().invoke(app, [*command, "--home", str(server.home.path)]).exception

    file = tmp_path / "sample.json"
    for text in ("{", "[1]", "[" * 100_000):
        file.write_text(text)
        refused = run("--sample", str(file))
        assert isinstance(refused, Refused)
        assert refused.code == "bad-sample"
    assert isinstance(run("--batch", "--sample", str(file)), WrongUse)


def test_a_wish_that_is_only_tried_out_leaves_no_trace_in_either_database(lonely: EndpointStore) -> None:
    before = (lonely.all(), lonely.deployments(), lonely.replicas())
    options = {"deployment": "green", "traffic": 30, "sample": SAMPLE, "dry_run": True}
    wished = lonely.deploy("support", "support-intent:2", "text-classification", **options)  # type: ignore[arg-type]
    assert (wished.is_new, wished.traffic) == (False, {"main": 70, "green": 30})
    assert lonely.deploy("other", "support-intent:2", "text-classification", dry_run=True).is_new
    assert (lonely.all(), lonely.deployments(), lonely.replicas()) == before
