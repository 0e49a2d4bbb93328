"""Where memory runs out a run goes on in smaller parts, and comes to what it would have come to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification

from bedplate_registry.errors import BedplateError
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.ladder import Ladder, is_out_of_memory
from bedplate_trainers.remedies import next_remedy
from bedplate_trainers.settings import FinetuneSettings

Maker = Callable[..., FinetuneRequest]
forward = BertForSequenceClassification.forward


@pytest.fixture
def short(
    make_request: Maker, base_dir: Path, tmp_path: Path, synthetic: Callable[..., Any]
) -> Callable[..., FinetuneRequest]:
    """Six steps without dropout, on nothing but training rows: 103, so that the last batch of an epoch is odd."""
    calm = tmp_path / "calm"
    calm.mkdir()
    for path in base_dir.iterdir():
        (calm / path.name).write_bytes(path.read_bytes())
    config = json.loads((calm / "config.json").read_text())
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (calm / "config.json").write_text(json.dumps(config | none))

    def make(size: int = 16, accumulation: int = 1, **settings: Any) -> FinetuneRequest:
        batch = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        rows = synthetic(103)
        given = {"max_steps": 9, "logging_steps": 1, "eval_strategy": "no", **batch, **settings}
        return make_request(rows, model_dir=calm, validation=None, test=None, settings=given)

    return make


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[int]]]:
    """A model that runs out of memory beyond so many rows, like a card; gives the rows of each forward pass."""

    def limit(most: int) -> list[int]:
        seen: list[int] = []

        def limited(self: Any, input_ids: torch.Tensor, **inputs: Any) -> Any:
            if self.training:
                seen.append(len(input_ids))
                if len(input_ids) > most:
                    raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(input_ids)} GiB.")
            return forward(self, input_ids=input_ids, **inputs)

        monkeypatch.setattr(BertForSequenceClassification, "forward", limited)
        return seen

    yield limit


def losses(request: FinetuneRequest, recorder: Any, *, resume: bool = False) -> list[float]:
    """Of each step."""
    recorder.figures.clear()
    assert finetune(request, recorder, resume=resume) is not None
    return [values["loss"] for _, values in recorder.figures if "loss" in values]


def test_the_loss_curve_is_the_same_for_any_size_of_micro_batch(short: Maker, memory_for: Any, recorder: Any) -> None:
    expected = losses(short(16, 1), recorder)
    assert expected[-1] < expected[0]
    for size, accumulation in ((4, 4), (8, 2), (1, 16)):
        seen = memory_for(size)
        assert losses(short(size, accumulation), recorder) == pytest.approx(expected, abs=1e-4)
        assert max(seen) == size


def test_a_run_out_of_memory_goes_on_in_smaller_parts(short: Maker, memory_for: Any, recorder: Any) -> None:
    expected = losses(short(16), recorder)
    seen = memory_for(5)
    request = short(16)
    recorder.figures.clear()
    result = finetune(request, recorder, resume=False)
    assert result is not None
    assert [values["loss"] for _, values in recorder.figures if "loss" in values] == pytest.approx(expected, abs=1e-4)
    assert seen[:3] == [16, 8, 4]
    assert recorder.messages[-2:] == [
        "Out of memory: 16 rows a step now go through the model in 2 parts of 8. The result stays the same.",
        "Out of memory: 16 rows a step now go through the model in 4 parts of 4. The result stays the same.",
    ]
    assert result.resolved["changed"] == {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}

    # Whoever resumes it begins where it was.
    for checkpoint in request.work_dir.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    seen.clear()
    losses(request, recorder, resume=True)
    assert max(seen) == 4


@pytest.fixture
def only_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has memory for a step only where an adapter is trained."""

    def limited(self: Any, input_ids: torch.Tensor, **inputs: Any) -> Any:
        if self.training and not any("lora_" in name for name, _ in self.named_parameters()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", limited)


@pytest.mark.usefixtures("only_adapters")
def test_where_all_weights_do_not_fit_an_adapter_is_trained_and_merged(short: Maker, recorder: Any) -> None:
    request = short(2)
    assert losses(request, recorder)[-1] > 0
    told = recorder.messages[-1]
    assert "the run starts again, and a LoRA adapter and the head are trained" in told
    assert "apply_lora=false forbids it. learning_rate stays 0.005" in told
    names = {path.name for path in request.output_dir.iterdir()}
    assert "model.safetensors" in names
    assert not any(name.startswith("adapter") for name in names)

    # Whoever resumes it goes on with the adapter, and whoever begins again begins with all weights.
    result = finetune(request, recorder, resume=True)
    assert result is not None
    assert result.resolved["changed"] == {"apply_lora": True}
    assert result.resolved["values"]["apply_lora"] is True
    assert result.resolved["reasons"]["apply_lora"] == "memory did not do without"
    assert len(list(request.work_dir.glob("checkpoint-*/adapter_model.safetensors"))) == 1
    recorder.messages.clear()
    losses(request, recorder)
    assert [text for text in recorder.messages if "starts again" in text] == [told]


@pytest.mark.usefixtures("only_adapters")
def test_an_adapter_is_not_trained_against_the_users_choice(short: Maker, recorder: Any) -> None:
    with pytest.raises(BedplateError, match="not even one row at a time"):
        losses(short(2, apply_lora=False), recorder)


@pytest.mark.parametrize(
    ("settings", "device", "has_it", "expected"),
    [
        ({}, "cpu", False, "apply_lora"),
        ({"apply_lora": False}, "cuda", True, None),
        ({"apply_lora": True}, "cuda", True, "load_in_4bit"),
        ({"apply_lora": True}, "cuda", False, None),
        ({"apply_lora": True}, "cpu", True, None),
        ({"apply_lora": True, "load_in_4bit": False}, "cuda", True, None),
        ({"apply_lora": True, "load_in_4bit": True}, "cuda", True, None),
        ({"deepspeed_stage": "2"}, "cuda", True, None),
    ],
)
def test_what_changes_the_result_gives_way_only_where_it_was_left_open_and_can(
    make_request: Maker, settings: dict[str, Any], device: str, has_it: bool, expected: str | None
) -> None:
    request = make_request(settings=settings)
    assert next_remedy(request, device, find=lambda package: "here" if has_it else None) == expected


def test_two_encoders_that_are_joined_get_no_adapter(make_request: Maker) -> None:
    assert next_remedy(make_request(task="summarization", columns={}), "cpu") is None


def test_where_one_row_does_not_fit_the_user_is_told_what_to_do(short: Maker, memory_for: Any, recorder: Any) -> None:
    memory_for(0)
    request = short(2)
    with pytest.raises(BedplateError, match="not even one row at a time") as caught:
        losses(request, recorder)
    assert caught.value.code == "out-of-memory"
    assert "apply_lora" in caught.value.hint
    rung = json.loads((request.work_dir / "ladder.json").read_text())
    assert rung == {"micro_batch": 1, "recomputes": True}


@pytest.mark.parametrize(("rows", "rungs"), [(7, [4, 2, 1]), (6, [3, 2, 1]), (1, [])])
def test_odd_sizes_are_halved_and_a_step_keeps_its_rows(tmp_path: Path, rows: int, rungs: list[int]) -> None:
    settings = replace(FinetuneSettings(), per_device_train_batch_size=rows, activation_checkpointing=True)
    ladder = Ladder(settings, tmp_path)
    for rung in rungs:
        ladder.step_down(None)
        assert (ladder.micro_batch, ladder.step_rows) == (rung, rows)
        assert Ladder(settings, tmp_path).micro_batch == rung
    with pytest.raises(BedplateError):
        ladder.step_down(None)
    Ladder.forget(tmp_path)
    assert Ladder(settings, tmp_path).micro_batch == rows


def test_a_real_lack_of_host_memory_is_known_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
