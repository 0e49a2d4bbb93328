"""A fine-tune that keeps its adapter registers a few kilobytes on its base, which score, and are trained further."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bedplate
from harness import bedplate_home, run_cli

BASE, TASK = "acme/tiny-encoder", "text-classification"
WORDS = {"access": "login", "money": "refund", "parcel": "late"}


@pytest.fixture(scope="module")
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as home:
        yield home


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    labels = sorted(WORDS) * 20
    lines = [json.dumps({"text": f"{WORDS[label]} {number}", "label": label}) for number, label in enumerate(labels)]
    path.write_text("\n".join(lines))
    return path


def finetune(home: Path, model: str, rows: Path, output: str, *flags: str) -> str:
    given = ("--task", TASK, "--train", str(rows), "--map", "sentence1=text", "--output", output, "--device", "cpu")
    return run_cli("finetune", model, *given, "--set", "max_steps=3", *flags, home=home).stdout


def test_an_adapter_is_registered_on_its_base_scores_and_is_trained_further(
    home: Path, rows: Path, tmp_path: Path
) -> None:
    lora = ("--set", "apply_lora=true", "--set", "merge_lora_weights=false")
    planned = finetune(home, BASE, rows, "intents", *lora, "--dry-run")
    lines: dict[str, str] = {line.split()[0]: line for line in planned.splitlines() if line.split()}
    assert "given" in lines["apply_lora"] and "chosen: 10 times" in lines["learning_rate"]
    assert "default" in lines["lora_r"]

    finetune(home, BASE, rows, "intents", *lora)
    with bedplate.connect(home=home) as ws:
        made: dict[str, Any] = ws.models.get("intents:1").data
        assert made["lineage"]["adapter_base"] == f"{BASE}:1"
        names = {file["path"] for file in made["files"]}
        assert names == {"adapter/adapter_config.json", "adapter/adapter_model.safetensors", "config.json"}
        scored = tmp_path / "scored.jsonl"
        ws.batch("intents", input=rows, output=scored, columns={"sentence1": "text"}).wait(timeout_seconds=240)
        assert {json.loads(line)["label"] for line in scored.read_text().splitlines()} <= set(WORDS)

    finetune(home, "intents", rows, "again")
    with bedplate.connect(home=home) as ws:
        again: dict[str, Any] = ws.models.get("again:1").data
        assert again["lineage"]["base"] == "intents:1" and "adapter_base" not in again["lineage"]
        assert "model.safetensors" in {file["path"] for file in again["files"]}
