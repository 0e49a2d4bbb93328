"""What is refused of a fine-tune before it waits for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_registry.plans import ADAPTER_FILES

TASK = "text-classification"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(Settings.from_environment({"BEDPLATE_HOME": str(tmp_path / "home")}), address=None)
    yield made
    made.database.close()


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


@pytest.mark.parametrize("kind", ["finetune", "sweep"])
def test_a_model_with_an_adapter_is_refused_since_the_adapter_would_be_left_out(
    workspace: Workspace, kind: str
) -> None:
    model = publish(workspace, "config.json", "model.safetensors", *ADAPTER_FILES)
    request: dict[str, Any] = {"model": model, "task": TASK, "train": "tickets", "output": "better"}
    if kind == "sweep":
        request |= {"search": {"seed": [1, 2]}}
    with pytest.raises(Conflict, match="intents:1 is a base with an adapter") as caught:
        workspace.plan(kind, request)
    assert caught.value.code == "adapter-not-trained"
    assert "merge_and_unload" in caught.value.hint


def test_a_base_is_not_evaluated_for_a_task_that_has_no_probe(workspace: Workspace, tmp_path: Path) -> None:
    model = publish(workspace, "config.json", "model.safetensors")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"tokens": ["a"], "tags": ["O"]}\n')
    data = workspace.registry.datasets.add(Name.parse("rows"), rows, rows.name).ref
    with pytest.raises(Conflict, match="intents:1 has no head for token-classification") as caught:
        workspace.plan("evaluate", {"model": model, "task": "token-classification", "data": data, "train": data})
    assert caught.value.code == "no-probe"
