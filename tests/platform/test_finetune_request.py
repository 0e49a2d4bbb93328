"""What is refused of a fine-tune before it waits for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict, Refused
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_registry.plans import ADAPTER_FILES

TASK = "text-classification"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(Settings.from_environment({"BEDPLATE_HOME": str(tmp_path / "home")}), address=None)
    yield made
    made.database.close()


@pytest.fixture
def rows(workspace: Workspace, tmp_path: Path) -> str:
    path = tmp_path / "tickets.csv"
    path.write_text("sentence1,label\n" + "my parcel is late,parcel\nlog me in,access\n" * 10)
    return workspace.registry.datasets.add(Name.parse("tickets"), path, path.name).ref


def publish(workspace: Workspace, *paths: str) -> str:
    files = []
    for path in paths:
        source = workspace.home.path / "source"
        source.write_text(path)
        blob = workspace.registry.blobs.put_file(source)
        files.append(FileEntry(path, blob.size_bytes, blob.sha256))
    facts = ModelFacts(
        TASK, "BertModel", "bert", 1000, "float32", 4000, finetunable_tasks=(TASK, "token-classification")
    )
    draft = ModelDraft(Name.parse("intents"), tuple(files), facts, Source("folder", "intents"))
    return workspace.registry.models.publish(draft).ref


def test_an_adapter_on_a_model_with_an_adapter_is_refused_since_it_would_have_no_base(workspace: Workspace) -> None:
    model = publish(workspace, "config.json", "model.safetensors", *ADAPTER_FILES)
    settings = {"apply_lora": True, "merge_lora_weights": False}
    request: dict[str, Any] = {"model": model, "task": TASK, "train": "tickets", "output": "better"}
    with pytest.raises(Conflict, match="intents:1 is an adapter, or a model with one") as caught:
        workspace.plan("finetune", request | {"settings": settings})
    assert caught.value.code == "bad-base"


@pytest.mark.parametrize("kind", ["finetune", "sweep"])
def test_what_needs_a_gpu_is_refused_before_there_is_a_job(workspace: Workspace, rows: str, kind: str) -> None:
    model = publish(workspace, "config.json", "model.safetensors")
    request: dict[str, Any] = {"model": model, "task": TASK, "train": rows, "output": "better", "device": "cpu"}
    request["settings"] = {"apply_lora": True, "load_in_4bit": True}
    if kind == "sweep":
        request |= {"search": {"seed": [1, 2]}}
    with pytest.raises(Refused, match="load_in_4bit=true needs a GPU, and the device is cpu") as caught:
        workspace.plan(kind, request)
    assert caught.value.code == "setting-needs"


def test_a_plan_says_of_each_setting_where_it_comes_from(workspace: Workspace, rows: str) -> None:
    model = publish(workspace, "config.json", "model.safetensors")
    request: dict[str, Any] = {"model": model, "task": TASK, "train": rows, "output": "better", "device": "cpu"}
    plan = workspace.plan("finetune", request | {"settings": {"seed": 42, "num_train_epochs": "auto"}})
    sources, values = plan.spec["forecast"]["sources"], plan.spec["forecast"]["values"]
    assert sources.keys() == values.keys()
    assert (sources["seed"], sources["weight_decay"]) == ("given", "default")
    assert sources["num_train_epochs"].startswith("chosen: about")
