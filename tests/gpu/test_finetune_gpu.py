"""What only a card can show: precisions, compilation, 4 bits, shards over two cards. Skipped where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bedplate_trainers.messages import DataFile, FinetuneRequest

pytestmark = pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no GPU")
LORA = {"apply_lora": True}


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The result of a short fine-tune on `gpus` cards, in processes of its own."""

    def train(gpus: int = 1, **settings: Any) -> dict[str, Any]:
        from bedplate_serving.testing import tiny_encoder

        labels = ("refund", "login", "late") * 40
        rows = [{"text": f"{word} {number}", "label": word} for number, word in enumerate(labels)]
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        request = FinetuneRequest(
            task="text-classification",
            model_dir=tiny_encoder(tmp_path / "base"),
            train=DataFile(data, "jsonl"),
            validation="auto",
            test="auto",
            columns={"sentence1": "text"},
            settings={"max_steps": 60, "learning_rate": 5e-3, **settings},
            work_dir=tmp_path / "work",
            output_dir=tmp_path / "model",
            device="cuda",
            processes=gpus,
        )
        (tmp_path / "request.json").write_text(json.dumps(request.to_json()))
        command = [sys.executable, "-m", "bedplate_trainers.standalone", str(tmp_path / "request.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=dict(os.environ))
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads((tmp_path / "result.json").read_text()))

    return train


def needs(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def needs_two_cards() -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("two cards are needed")


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16", "fp32"])
def test_it_learns_in_every_precision(trained: Callable[..., dict[str, Any]], precision: str) -> None:
    result = trained(precision=precision)
    assert result["report"]["metrics"]["accuracy"] > 0.9
    assert result["resolved"]["values"]["precision"] != "auto"


@pytest.mark.timeout(320)
def test_a_compiled_model_learns(trained: Callable[..., dict[str, Any]]) -> None:
    assert trained(torch_compile=True)["report"]["metrics"]["accuracy"] > 0.9


@pytest.mark.parametrize("settings", [LORA | {"load_in_4bit": True}, {"optim": "adamw_bnb_8bit"}])
def test_four_bits_and_an_optimizer_of_eight_learn(
    trained: Callable[..., dict[str, Any]], settings: dict[str, Any]
) -> None:
    needs("bitsandbytes")
    assert trained(**settings)["report"]["metrics"]["accuracy"] > 0.5


@pytest.mark.parametrize("settings", [{"fsdp": True}, {"deepspeed_stage": "2"}, {"deepspeed_stage": "3"}])
def test_a_model_in_shards_learns_and_is_saved_whole(
    trained: Callable[..., dict[str, Any]], settings: dict[str, Any], tmp_path: Path
) -> None:
    needs(*(["deepspeed"] if "deepspeed_stage" in settings else []))
    needs_two_cards()
    assert trained(gpus=2, **settings)["report"]["metrics"]["accuracy"] > 0.9
    assert (tmp_path / "model" / "model.safetensors").stat().st_size > 10_000
