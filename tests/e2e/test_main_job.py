"""The main job through real processes: import, data, evaluate, fine-tune, register, deploy, score, batch.

One server; every test runs once over the home's socket and once over TCP with a key.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import bedplate
from bedplate.client import Job, RemoteWorkspace
from bedplate_registry.blobs import digest_of
from harness import bedplate_home, free_port, serving, write_messages

COLUMNS = {"sentence1": "text", "label": "intent"}
TASK = "text-classification"
QUICK = {"max_steps": 30, "learning_rate": 5e-3, "per_device_train_batch_size": 16}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Path, int]]:
    with bedplate_home() as home:
        port = free_port()
        with serving(home, port):
            yield home, port


@pytest.fixture(scope="module", params=["socket", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ws(server: tuple[Path, int], transport: str) -> Iterator[RemoteWorkspace]:
    home, port = server
    if transport == "socket":
        with bedplate.connect(home=home) as workspace:
            yield workspace
        return
    with bedplate.connect(home=home) as local:
        key = local.connection.post("/api/v1/keys", {"name": "tests", "scopes": ["admin"]})["key"]
    with bedplate.connect(f"http://127.0.0.1:{port}", token=key) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def base(ws: RemoteWorkspace, hub: str) -> str:
    return ws.import_model("acme/tiny-encoder", hub=hub).ref


@pytest.fixture(scope="module")
def tuned(ws: RemoteWorkspace, transport: str, base: str, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """By one process, or over TCP by two, which train one model through gloo in their cage."""
    compute: dict[str, Any] = {"device": "cpu", "processes": {"socket": 1, "tcp": 2}[transport]}
    train = write_messages(tmp_path_factory.mktemp("data") / "train.csv", 160)
    job = ws.finetune(base, task=TASK, train=train, columns=COLUMNS, output="acme/intents", **compute, **QUICK)
    return job.wait(timeout_seconds=240)


@pytest.fixture(scope="module")
def endpoint(ws: RemoteWorkspace, tuned: Job) -> Iterator[bedplate.client.Endpoint]:
    made = ws.deploy(tuned.model, endpoint="intents")
    yield made
    made.delete()


def test_an_encoder_is_imported_by_its_id_as_a_base_pinned_to_its_commit(ws: RemoteWorkspace, base: str) -> None:
    model = ws.models.get(base)
    assert model.data["task"] is None
    assert model.data["source"]["commit"] == "a" * 40
    assert TASK in model.data["finetunable_tasks"]
    assert model.data["sample"] is not None


def test_importing_the_same_commit_again_is_a_no_op_that_says_so(ws: RemoteWorkspace, base: str, hub: str) -> None:
    job = ws.submit_import("acme/tiny-encoder", hub=hub).wait()
    assert job.result == {"model": base, "already_imported": True}


def test_a_classifier_keeps_its_task_and_labels_and_the_answer_it_gave_when_it_was_loaded(
    ws: RemoteWorkspace, hub: str
) -> None:
    model = ws.import_model("acme/tiny-classifier", hub=hub)
    assert model.task == TASK
    assert model.data["labels"] == ["card", "login", "refund"]
    assert {answer["label"] for answer in model.data["sample"]["answer"]} <= {"card", "login", "refund"}


def test_a_base_with_the_head_of_its_pretraining_is_imported_and_can_be_fine_tuned_and_deployed(
    ws: RemoteWorkspace, hub: str
) -> None:
    model = ws.import_model("acme/tiny-masked", hub=hub)
    assert model.task == "fill-mask"
    assert TASK in model.data["finetunable_tasks"]
    endpoint = ws.deploy(model, endpoint="masked").wait()
    assert {"token_str", "score"} <= set(endpoint.score("my [MASK] is lost")[0])
    endpoint.delete()


def test_an_output_name_that_differs_in_case_only_is_refused_before_training(
    ws: RemoteWorkspace, base: str, tuned: Job, tmp_path: Path
) -> None:
    train = write_messages(tmp_path / "train.csv", 30)
    with pytest.raises(bedplate.Conflict):
        ws.finetune(base, task=TASK, train=train, columns=COLUMNS, output="Acme/Intents")


def test_a_folder_is_imported_under_the_name_it_is_given(ws: RemoteWorkspace, models: Path) -> None:
    model = ws.submit_import_folder(models / "classifier", "from-disk").wait().model
    assert model.ref == "from-disk:1"
    assert model.data["source"]["kind"] == "folder"


def test_a_task_whose_head_is_missing_is_refused_and_nothing_is_published(ws: RemoteWorkspace, hub: str) -> None:
    with pytest.raises(bedplate.BedplateError, match="no head"):
        ws.import_model("acme/tiny-encoder", hub=hub, task=TASK, name="acme/headless")
    with pytest.raises(bedplate.NotFound):
        ws.models.get("acme/headless")


@pytest.mark.parametrize("name", ["https://hub/acme/tiny", "../../etc/passwd", "/etc", "acme/..", "a/b/c"])
def test_a_model_id_that_is_a_url_or_a_path_is_refused_at_once(ws: RemoteWorkspace, name: str) -> None:
    with pytest.raises(bedplate.Refused) as caught:
        ws.submit_import(name)
    assert caught.value.code == "bad-name"


def test_a_base_is_not_deployed_and_the_answer_says_why(ws: RemoteWorkspace, base: str) -> None:
    with pytest.raises(bedplate.Conflict, match="base without a head") as caught:
        ws.deploy(base, endpoint="base")
    assert "bedplate finetune" in caught.value.hint


def test_evaluating_a_base_without_training_data_is_refused(ws: RemoteWorkspace, base: str, tmp_path: Path) -> None:
    data = write_messages(tmp_path / "data.csv", 20)
    with pytest.raises(bedplate.Refused, match="training data"):
        ws.evaluate(base, data=data, task=TASK, columns=COLUMNS)


def test_an_unknown_training_setting_is_refused_with_the_nearest_name(
    ws: RemoteWorkspace, base: str, tmp_path: Path
) -> None:
    train = write_messages(tmp_path / "train.csv", 30)
    with pytest.raises(bedplate.Refused) as caught:
        ws.finetune(base, task=TASK, train=train, columns=COLUMNS, output="x", learning_rat=1e-3)
    assert "learning_rat" in caught.value.message
    assert "learning_rate" in caught.value.hint


def test_a_column_that_is_not_there_is_refused_before_a_job_exists(
    ws: RemoteWorkspace, base: str, tmp_path: Path
) -> None:
    train = write_messages(tmp_path / "train.csv", 30)
    before = len(ws.jobs.list())
    with pytest.raises(bedplate.Refused, match="body"):
        ws.finetune(base, task=TASK, train=train, columns={"sentence1": "body", "label": "intent"}, output="x")
    assert len(ws.jobs.list()) == before


def test_a_plan_resolves_every_setting_and_starts_nothing(ws: RemoteWorkspace, base: str, tmp_path: Path) -> None:
    train = write_messages(tmp_path / "train.csv", 30)
    before = len(ws.jobs.list())
    plan = ws.plan_finetune(base, task=TASK, train=train, columns=COLUMNS, output="x")
    assert plan["rows"] == 30
    assert isinstance(plan["forecast"]["values"]["learning_rate"], float)
    assert "learning_rate" in plan["forecast"]["reasons"]
    assert len(ws.jobs.list()) == before


def test_a_fine_tune_registers_a_model_with_its_lineage_and_a_test_report(
    ws: RemoteWorkspace, tuned: Job, base: str
) -> None:
    model = tuned.model
    assert model.task == TASK
    assert model.data["labels"] == ["card", "login", "refund"]
    lineage = model.data["lineage"]
    assert lineage["base"] == base
    assert len(lineage["data"]["train"]["sha256"]) == 64
    assert lineage["settings"]["values"]["max_steps"] == 30
    assert "torch" in lineage["packages"]
    report = tuned.report
    assert 0 <= report.metrics["accuracy"] <= 1
    assert report.data["model"] == model.ref
    assert set(report.data["baselines"]) == {"majority", "tfidf"}


def test_a_fine_tune_leaves_no_checkpoint_and_no_second_copy_of_its_weights(
    server: tuple[Path, int], tuned: Job
) -> None:
    folder = server[0] / "jobs" / tuned.id
    assert (folder / "spec.json").exists()
    assert not list(folder.rglob("*.safetensors"))
    assert not list(folder.rglob("optimizer.pt"))


def test_a_fine_tune_leaves_its_metrics_step_by_step(tuned: Job) -> None:
    steps = [row["step"] for row in tuned.metrics() if "loss" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] <= 30
    assert tuned.result["steps"] == 30


def test_events_stream_to_the_end_and_resume_after_the_last_one_seen(ws: RemoteWorkspace, tuned: Job) -> None:
    path = f"/api/v1/jobs/{tuned.id}/events"
    whole = ws.connection.request("GET", path).text
    ids = [int(line[4:]) for line in whole.splitlines() if line.startswith("id: ")]
    assert ids == list(range(1, len(ids) + 1))
    assert "event: metrics" in whole
    assert whole.rstrip().splitlines()[-2] == "event: state"
    rest = ws.connection.request("GET", path, headers={"Last-Event-ID": str(ids[-3])}).text
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == [f"id: {n}" for n in ids[-2:]]


def test_a_model_is_evaluated_against_its_base_on_the_same_rows(
    ws: RemoteWorkspace, tuned: Job, base: str, tmp_path: Path
) -> None:
    data = write_messages(tmp_path / "data.csv", 40, seed=1)
    train = write_messages(tmp_path / "train.csv", 60, seed=2)
    job = ws.evaluate(tuned.model, against=base, data=data, train=train, columns=COLUMNS, task=TASK)
    report = job.wait(timeout_seconds=200).report.data
    assert report["kind"] == "model"
    assert report["against"]["kind"] == "probe"
    assert report["against"]["model"] == base
    assert "accuracy" in report["difference"]
    about = {"sha256": digest_of(data).sha256, "filename": "data.csv", "dataset": None, "columns": COLUMNS}
    assert report["data"] == {**about, "rows": 40}


def test_a_single_text_a_list_and_a_pair_are_scored(endpoint: bedplate.client.Endpoint) -> None:
    single = endpoint.score("my card is lost")
    assert {answer["label"] for answer in single} == {"card", "login", "refund"}
    assert sum(answer["score"] for answer in single) == pytest.approx(1, abs=1e-4)
    several = endpoint.score(["my card is lost", "reset the password"])
    assert len(several) == 2
    for alone, in_a_list in zip(single, several[0], strict=True):
        assert in_a_list["label"] == alone["label"]
        assert in_a_list["score"] == pytest.approx(alone["score"], abs=1e-4)
    assert len(endpoint.score({"text": "my card", "text_pair": "is lost"}, top_k=1)) == 1


def test_the_released_hub_client_reads_the_answer(server: tuple[Path, int], endpoint: bedplate.client.Endpoint) -> None:
    from huggingface_hub import InferenceClient

    token = endpoint.key or (server[0] / "run" / "token").read_text()
    answers = InferenceClient(model=endpoint.url, token=token).text_classification("my card is lost")
    assert {answer.label for answer in answers} == {"card", "login", "refund"}
    assert all(0 <= answer.score <= 1 for answer in answers)


def test_both_azure_dialects_are_answered(server: tuple[Path, int], endpoint: bedplate.client.Endpoint) -> None:
    token = (server[0] / "run" / "token").read_text()
    for body in ({"input_data": ["my card is lost"]}, {"inputs": {"input_string": ["my card is lost"]}}):
        answer = httpx.post(f"{endpoint.url}/score", json=body, headers={"Authorization": f"Bearer {token}"}).json()
        assert len(answer) == 1
        assert set(answer[0]) == {"label", "score"}


def test_a_bad_item_gets_422_that_names_it_by_index(
    server: tuple[Path, int], endpoint: bedplate.client.Endpoint
) -> None:
    token = (server[0] / "run" / "token").read_text()
    headers = {"Authorization": f"Bearer {token}"}
    response = httpx.post(endpoint.url, json={"inputs": ["fine", 7, "fine", None]}, headers=headers)
    assert response.status_code == 422
    assert [error["index"] for error in response.json()["errors"]] == [1, 3]


def test_scoring_needs_a_key_and_says_which_model_answered(
    server: tuple[Path, int], endpoint: bedplate.client.Endpoint, tuned: Job
) -> None:
    assert httpx.post(endpoint.url, json={"inputs": "x"}).status_code == 401
    wrong = {"Authorization": "Bearer bp_wrong"}
    assert httpx.post(endpoint.url, json={"inputs": "x"}, headers=wrong).status_code == 401
    token = (server[0] / "run" / "token").read_text()
    good = httpx.post(endpoint.url, json={"inputs": "x"}, headers={"Authorization": f"Bearer {token}"})
    assert good.status_code == 200
    assert good.headers["x-bedplate-model"] == tuned.result["model"]
    assert good.headers["x-bedplate-deployment"] == "main"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])  # tests/serving has every pair of formats
def test_a_batch_keeps_rows_in_order_and_gives_a_reason_for_each_bad_one(
    ws: RemoteWorkspace, tuned: Job, tmp_path: Path, suffix: str
) -> None:
    texts = ["my card is lost", "", "reset the password", "where is my refund"]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(texts)))
    target = tmp_path / f"out.{suffix}"
    job = ws.batch(tuned.model, input=source, output=target, columns={"sentence1": "text"}).wait(timeout_seconds=120)
    rows = _rows(target)
    assert [str(row["n"]) for row in rows] == ["0", "1", "2", "3"]
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert rows[0]["label"] in ("card", "login", "refund")
    assert (job.result["rows"], job.result["errors"]) == (4, 1)


def _rows(path: Path) -> list[dict[str, object]]:
    from bedplate_registry.tables import format_of, read_rows

    return list(read_rows(path, format_of(path.name)))


def test_a_dataset_stands_where_a_file_may(ws: RemoteWorkspace, base: str, tmp_path: Path) -> None:
    added = ws.datasets.add("messages", write_messages(tmp_path / "train.csv", 30))
    assert added.rows == 30
    assert ws.datasets.add("messages", tmp_path / "train.csv") == added
    assert len(ws.datasets.preview("messages", 3)) == 3
    plan = ws.plan_finetune(base, task=TASK, train="messages", columns=COLUMNS, output="x")
    assert plan["train"]["dataset"] == added.ref


def test_the_same_idempotency_key_makes_one_job(ws: RemoteWorkspace, hub: str) -> None:
    request = {"model_id": "acme/tiny-encoder", "hub": hub}
    key = f"once-{id(ws)}"
    first = ws.submit("import", request, client_key=key)
    assert ws.submit("import", request, client_key=key).id == first.id
    first.wait()


def test_the_registry_is_a_hub_that_the_released_client_reads(
    ws: RemoteWorkspace, server: tuple[Path, int], tuned: Job
) -> None:
    from huggingface_hub import HfApi

    home, port = server
    api = HfApi(endpoint=f"http://127.0.0.1:{port}/hub", token=(home / "run" / "token").read_text())
    info = api.model_info("acme/intents")
    assert info.pipeline_tag == TASK
    assert "model.safetensors" in api.list_repo_files("acme/intents")


def test_csv_output_is_read_back_by_any_reader(ws: RemoteWorkspace, tuned: Job, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b'text\r\n"my card, the\nblue one, is lost"\r\n"=1+1"\r\n')
    target = tmp_path / "out.csv"
    ws.batch(tuned.model, input=source, output=target, columns={"sentence1": "text"}).wait(timeout_seconds=120)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["text"] == "my card, the\nblue one, is lost"
    assert not rows[1]["text"].startswith("=")
