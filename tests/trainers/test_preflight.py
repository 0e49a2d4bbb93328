"""A pre-flight measures what a run will take, and leaves no trace in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bedplate_registry.errors import NoRoom
from bedplate_trainers import preflight
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.preflight import Memory
from full_disk import small_disk

Maker = Callable[..., FinetuneRequest]
SETTINGS = {"num_train_epochs": 4, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_with_a_preflight_ends_like_one_without(
    make_request: Maker, synthetic: Any, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(synthetic(120), test=None, settings=SETTINGS)
    without = finetune(request, recorder, resume=False)
    assert without is not None
    assert without.forecast is None  # seven steps an epoch: measuring would take too much of it
    expected = weights(request.output_dir)

    monkeypatch.setattr(preflight, "WORTH", 10.0)
    second = replace(request, work_dir=tmp_path / "work2", output_dir=tmp_path / "model2")
    measured = finetune(second, recorder, resume=False)
    assert measured is not None
    assert weights(second.output_dir) == expected

    forecast: Any = measured.forecast
    assert forecast["steps"] == measured.steps
    assert forecast["seconds"] > 0
    assert 0 < forecast["memory_bytes"] < forecast["memory_limit_bytes"]
    written = sum(path.stat().st_size for path in next(second.work_dir.glob("checkpoint-*")).iterdir())
    assert forecast["checkpoint_bytes"] == pytest.approx(written, rel=0.2)
    assert forecast["disk_bytes"] > 3 * forecast["checkpoint_bytes"]
    assert recorder.messages[-1].startswith("Forecast: ")
    assert f"for {measured.steps} steps" in recorder.messages[-1]


@pytest.mark.parametrize("worth", [0.0, 10.0])
def test_a_disk_that_cannot_hold_the_run_is_refused_before_training(
    make_request: Maker, synthetic: Any, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: float
) -> None:
    monkeypatch.setattr(preflight, "WORTH", worth)
    with small_disk(tmp_path / "disk", 100) as disk:
        request = make_request(synthetic(40), validation=None, test=None, work_dir=disk / "work")
        with pytest.raises(NoRoom, match="for 3 checkpoints and the model") as caught:
            finetune(request, recorder, resume=False)
    assert "save_total_limit" in caught.value.hint
    assert not [phase for phase, *_ in recorder.phases if phase == "train"]


def test_the_memory_of_a_process_is_seen_to_rise_and_has_a_limit() -> None:
    memory = Memory(torch.device("cpu"))
    memory.start()
    before = memory.now()
    held = torch.ones(75_000_000)  # the kernel may take other pages of a long-lived process away meanwhile
    del held
    assert memory.peak() > before + 100_000_000
    assert memory.limit() > memory.now()
