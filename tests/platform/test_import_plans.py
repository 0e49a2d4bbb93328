"""What an import would take: by REST, in Python and on the command line; the Hub is one of ours on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.machine import simulated
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden, NotFound
from bedplate_registry.hubserver import FolderSource, create_hub_app
from hub_server import Gate, serve_app
from light_server import light_server

TOKEN = "hf_planned"
HEADER = {
    "classifier.weight": {"dtype": "F32", "shape": [3, 8], "data_offsets": [0, 96]},
    "embeddings.weight": {"dtype": "F32", "shape": [32, 8], "data_offsets": [96, 1120]},
}
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "max_position_embeddings": 128,
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
}


def make_model(folder: Path, license: str = "apache-2.0") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    header = json.dumps(HEADER).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(1120))
    (folder / "README.md").write_text(f"---\nlicense: {license}\n---\n# A model\n")
    return folder


def make_adapter(folder: Path, base: str, **config: Any) -> Path:
    folder.mkdir(parents=True)
    said = {"peft_type": "LORA", "base_model_name_or_path": base, "task_type": "SEQ_CLS", "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(said | config))
    name = "base_model.model.bert.encoder.layer.0.output.dense.lora_A.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# An adapter\n")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hub")
    pickled = make_model(root / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    adapter = make_adapter(root / "adapter", "acme/open")
    folders = {
        "acme/open": (make_model(root / "open"), "a" * 40, {"pipeline_tag": "text-classification"}),
        "acme/asked": (make_model(root / "asked", "cc-by-nc-4.0"), "b" * 40, {}),
        "acme/denied": (make_model(root / "denied", "gpl-3.0"), "c" * 40, {}),
        "acme/pickled": (pickled, "d" * 40, {}),
        "ann/adapter": (adapter, "e" * 40, {}),
        "ann/asked": (make_adapter(root / "asked-too", "acme/asked"), "f" * 40, {}),
        "ann/lokr": (make_adapter(root / "lokr", "acme/open", peft_type="LOKR"), "9" * 40, {}),
    }
    with serve_app(Gate(create_hub_app(FolderSource(folders)), TOKEN)) as url:
        yield url


@pytest.fixture(scope="module")
def server(hub: str) -> Iterator[Workspace]:
    env = {"BEDPLATE_LICENSE_ASK": "cc-by-nc-*", "BEDPLATE_LICENSE_DENY": "gpl-3.0", "HF_TOKEN": TOKEN}
    with light_server(simulated("2xV100-32GB"), BEDPLATE_HUB_URL=hub, **env) as workspace:
        workspace.users.create("vera", "viewer")
        yield workspace


@pytest.fixture(scope="module")
def adapter_base(server: Workspace) -> str:
    """A classifier that is here."""
    from rest_server import publish_model

    return publish_model(server)


@pytest.fixture
def ws(server: Workspace, hub: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("BEDPLATE_HUB_URL", hub)
    monkeypatch.delenv("BEDPLATE_URL", raising=False)
    with bedplate.connect(home=server.home.path) as opened:
        yield opened


def test_a_plan_says_what_would_come_and_what_it_takes(ws: Any, server: Workspace) -> None:
    plan = ws.plan_import("acme/open")
    assert (plan["task"], plan["parameters"], plan["dtype"], plan["is_exact"]) == (
        "text-classification",
        280,
        "float32",
        True,
    )
    assert (plan["commit"], plan["here"], plan["fits"], plan["problem"]) == ("a" * 40, None, True, None)
    assert plan["license"] == {"id": "apache-2.0", "decision": "allowed", "message": ""}
    assert {file["path"] for file in plan["files"]} == {"config.json", "model.safetensors", "README.md"}
    assert plan["fetch_bytes"] == plan["size_bytes"] == sum(file["size_bytes"] for file in plan["files"])
    assert plan["estimate"]["serve_cpu"]["size_bytes"] >= 1 << 30
    found = plan["recommendation"]
    assert (found["device"], found["precision"], found["tokens"]) == ("cuda", "fp16", 128)
    assert list(ws.jobs.list()) == [] and list(ws.models.list()) == []
    assert TOKEN not in json.dumps(plan)


def test_the_policy_for_licenses_decides_in_the_plan(ws: Any) -> None:
    asked, denied = ws.plan_import("acme/asked"), ws.plan_import("acme/denied")
    assert (asked["license"]["decision"], asked["problem"]["code"]) == ("ask", "license-not-accepted")
    assert "--accept-license" in asked["license"]["message"]
    assert ws.plan_import("acme/asked", accept_license=True)["license"]["decision"] == "allowed"
    assert (denied["license"]["decision"], denied["problem"]["code"]) == ("denied", "license-denied")


def test_the_plan_of_an_adapter_is_that_of_the_two(ws: Any) -> None:
    whole, plan = ws.plan_import("acme/open"), ws.plan_import("ann/adapter")
    assert (plan["problem"], plan["task"], plan["is_exact"]) == (None, "text-classification", True)
    assert plan["parameters"] == whole["parameters"] + 16
    assert plan["fetch_bytes"] == plan["size_bytes"] + whole["size_bytes"]
    assert plan["license"]["id"] == "mit, apache-2.0"
    base = plan["base"]
    assert (base["source"], base["here"], base["commit"]) == ("acme/open", None, "a" * 40)
    assert (base["license"], base["fetch_bytes"]) == ("apache-2.0", whole["fetch_bytes"])
    assert ws.plan_import("ann/lokr")["problem"]["code"] == "bad-adapter"


def test_the_license_of_a_base_is_not_accepted_with_that_of_its_adapter(ws: Any) -> None:
    for options in ({}, {"accept_license": True}):
        problem = ws.plan_import("ann/asked", **options)["problem"]
        assert problem["code"] == "license-not-accepted" and "'cc-by-nc-4.0'" in problem["message"]
        assert "bedplate import acme/asked --accept-license" in problem["hint"]


def test_what_an_import_would_refuse_is_the_problem_of_the_plan(ws: Any) -> None:
    pickled = ws.plan_import("acme/pickled")
    assert (pickled["problem"]["code"], pickled["files"]) == ("pickle-weights", [])
    assert pickled["problem"]["hint"]
    other = ws.plan_import("acme/open", task="question-answering")
    assert (other["problem"]["code"], other["is_exact"]) == ("no-head", False)
    with pytest.raises(NotFound, match="no model 'acme/nobody'"):
        ws.plan_import("acme/nobody")


def test_only_who_may_import_may_plan_one(server: Workspace) -> None:
    from starlette.testclient import TestClient

    from bedplate.api.app import create_app

    with TestClient(create_app(server, stop=lambda: None), base_url="http://127.0.0.1") as client:
        key = server.keys.create("vera", ["admin"], owner="vera")[1]
        headers = {"Authorization": f"Bearer {key}"}
        answer = client.post("/api/v1/import-plans", json={"model_id": "acme/open"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, Forbidden.code)


def test_the_answer_is_as_described(server: Workspace, ws: Any) -> None:
    from bedplate.api.import_plans import EXAMPLE, ImportPlan

    for plan in (EXAMPLE, *(ws.plan_import(model) for model in ("acme/open", "acme/pickled", "ann/adapter"))):
        ImportPlan.model_validate(plan)


def invoke(server: Workspace, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["import", *arguments, "--home", str(server.home.path), "--dry-run"])


def test_the_command_shows_the_plan_and_starts_nothing(ws: Any, server: Workspace) -> None:
    shown = invoke(server, "acme/open")
    assert shown.exit_code == 0, shown.output
    lines = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in shown.stdout.splitlines()}
    assert lines["model"] == f"acme/open at commit {'a' * 12}"
    assert lines["license"] == "apache-2.0: allowed"
    assert lines["parameters"] == "280, float32"
    assert lines["on this machine"].startswith("fine-tune in fp16, 256 rows of 128 tokens on a GPU")
    assert "model.safetensors" in lines
    assert list(ws.jobs.list()) == []


def test_the_command_ends_with_1_where_the_import_would_be_refused(ws: Any, server: Workspace) -> None:
    shown = invoke(server, "acme/pickled")
    assert shown.exit_code == 1
    assert "has no safetensors weights" in shown.stdout
    as_json = invoke(server, "acme/pickled", "--format", "json")
    assert json.loads(as_json.stdout)["problem"]["code"] == "pickle-weights"


def test_a_folder_is_planned_without_an_upload(ws: Any, server: Workspace, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine")
    plan = ws.plan_import_folder(folder, "team/mine")
    assert (plan["name"], plan["task"], plan["parameters"]) == ("team/mine", "text-classification", 280)
    assert plan["recommendation"]["precision"] == "fp16"
    assert plan["license"]["decision"] is None
    shown = invoke(server, "--from", str(folder), "--name", "team/mine")
    assert (shown.exit_code, "team/mine" in shown.stdout) == (0, True)
    assert list(ws.jobs.list()) == []


def test_a_plan_of_a_folder_takes_a_base_and_an_acceptance(
    ws: Any, server: Workspace, tmp_path: Path, adapter_base: str
) -> None:
    adapter = make_adapter(tmp_path / "lora", "acme/open")
    line = ("--from", str(adapter), "--name", "team/lora", "--base", adapter_base, "--accept-license")
    shown = invoke(server, *line)
    assert shown.exit_code == 0 and "You accept it." in shown.stdout
    assert f"here as {adapter_base}" in shown.stdout and "text-classification" in shown.stdout
    model = make_model(tmp_path / "whole")
    whole = invoke(server, "--from", str(model), "--name", "team/whole", "--base", adapter_base)
    assert (whole.exit_code, "no adapter" in whole.stdout) == (1, True)
    missing = invoke(server, *line[:5], "acme/nobody:7")
    assert "acme/nobody" in str(missing.exception)
