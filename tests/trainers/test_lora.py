"""LoRA: it learns with the body frozen, checkpoints hold the adapter alone, and the result is served like any model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bedplate_registry.errors import Refused
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_serving import testing
from bedplate_serving.predictors import load_predictor
from bedplate_serving.testing import seq2seq
from bedplate_trainers.checkpoints import complete_checkpoints
from bedplate_trainers.finetune import FinetuneRequest, FinetuneResult, finetune
from bedplate_trainers.lora import add_adapter, over_base
from bedplate_trainers.recipes.text_classification import prepare
from question_rows import question_rows
from tagged_rows import tagged_rows

Maker = Callable[..., FinetuneRequest]
LORA = {"apply_lora": True, "learning_rate": 7e-3}
ADAPTER = {"adapter_config.json", "adapter_model.safetensors", "config.json"}
TEXTS = ["my invoice was late", "login please", "why"]


def tuned(request: FinetuneRequest, reporter: Any = SILENT, *, resume: bool = False) -> FinetuneResult:
    result = finetune(request, reporter, resume=resume)
    assert result is not None
    return result


def answers(folder: Path) -> Any:
    return load_predictor(folder, "text-classification", device="cpu").probabilities(TEXTS)


def test_an_adapter_learns_and_is_merged_to_a_plain_model(make_request: Maker, base_dir: Path) -> None:
    request = make_request(settings=LORA | {"num_train_epochs": 20})
    result = tuned(request)
    assert result.report is not None
    assert result.report["metrics"]["accuracy"] > 0.8  # a plain loop around PEFT came to 0.96; a third is chance
    names = {path.name for path in request.output_dir.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}

    before, after = load_file(base_dir / "model.safetensors"), load_file(request.output_dir / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[f"bert.{name}"])}
    assert "encoder.layer.0.attention.self.query.weight" in changed
    body = {name for name in changed if not name.startswith("pooler")}  # which is trained whole, like the head
    assert all(name.startswith("encoder.") and before[name].ndim == 2 for name in body)

    for checkpoint in complete_checkpoints(request.work_dir):
        assert (checkpoint / "adapter_model.safetensors").is_file()
        assert not (checkpoint / "model.safetensors").exists()


def test_an_adapter_alone_is_served_over_its_base_and_names_no_path(make_request: Maker) -> None:
    merged = make_request(settings=LORA | {"num_train_epochs": 2})
    tuned(merged)
    request = replace(merged, output_dir=merged.output_dir.with_name("adapter"), model_name="team/base")
    request.settings["merge_lora_weights"] = False
    result = tuned(request)
    assert result.report is not None
    assert {path.name for path in request.output_dir.iterdir()} == ADAPTER
    config = json.loads((request.output_dir / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == ("team/base", "SEQ_CLS")
    assert str(request.model_dir) not in json.dumps(config)
    with over_base(request.model_dir, request.output_dir) as view:
        assert np.allclose(answers(view), answers(merged.output_dir), atol=1e-6)


def of_task(task: str, folder: Path) -> tuple[Path, list[dict[str, Any]], Any]:
    """A base, rows to train it on, and what the trained model is asked."""
    if task == "token-classification":
        return testing.tiny_encoder(folder), tagged_rows(40), [TEXTS[0]]
    if task == "question-answering":
        return (
            testing.tiny_encoder(folder),
            question_rows(40, without=0.3),
            [{"question": "which thing ?", "context": TEXTS[0]}],
        )
    names = ("document", "summary") if task == "summarization" else ("source", "target")
    rows = [dict(zip(names, (text, "money"), strict=True)) for text in TEXTS * 15]
    maker = seq2seq.tiny_t5 if task == "summarization" else partial(seq2seq.tiny_marian, languages=())
    return maker(folder), rows, TEXTS


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "summarization", "translation"])
def test_an_adapter_of_any_task_is_registered_and_answers_as_it_was_trained(
    task: str, make_request: Maker, tmp_path: Path
) -> None:
    base, rows, asked = of_task(task, tmp_path / "base")
    registry = Registry(tmp_path / "registry")
    settings = {"apply_lora": True, "merge_lora_weights": False, "max_steps": 2, "eval_strategy": "no"}
    request = make_request(rows, task=task, model_dir=base, columns={}, test=None, settings=settings)
    tuned(request)

    def publish(folder: Path, name: str, **more: Any) -> ModelVersion:
        draft = prepare_folder_import(
            registry, folder, name=Name.parse(name), check=lambda *_: {}, reporter=SILENT, **more
        )
        return registry.models.publish(draft)

    on = publish(base, "base").ref
    version = publish(request.output_dir, "adapter", task=task, base=on)
    assert version.adapter_base == on
    assert version.facts.size_bytes < (base / "model.safetensors").stat().st_size / 2
    predictor = load_predictor(registry.models.files_dir(version), task, device="cpu")
    with over_base(base, request.output_dir) as view:
        expected = load_predictor(view, task, device="cpu")
        assert predictor.predict(asked) == expected.predict(asked)


def test_a_head_of_another_size_comes_with_the_adapter(make_request: Maker, tmp_path: Path) -> None:
    from bedplate_serving.testing import tiny_text_classifier

    other = tiny_text_classifier(tmp_path / "other", labels=("x", "y"))
    settings = LORA | {"max_steps": 3, "merge_lora_weights": False}
    result = tuned(make_request(model_dir=other, settings=settings))
    assert result.labels == ("access", "money", "parcel")
    assert result.report is not None


def test_a_fine_tune_begins_with_an_adapter_merged_into_its_base(make_request: Maker) -> None:
    request = make_request(settings=LORA | {"num_train_epochs": 6, "merge_lora_weights": False})
    tuned(request)
    with over_base(request.model_dir, request.output_dir) as view:
        expected = answers(view)
        few = {"max_steps": 1, "learning_rate": 1e-9}
        again = make_request(model_dir=view, output_dir=request.output_dir.with_name("again"), settings=few)
        result = tuned(again)
    assert result.labels == ("access", "money", "parcel")
    assert np.allclose(answers(again.output_dir), expected, atol=1e-5)


def test_a_resumed_adapter_ends_where_an_undisturbed_one_does(make_request: Maker, recorder: Any) -> None:
    request = make_request(settings=LORA | {"num_train_epochs": 3, "lora_dropout": 0.1})
    tuned(request)
    expected = (request.output_dir / "model.safetensors").read_bytes()
    shutil.rmtree(request.output_dir)
    latest, before, *_ = complete_checkpoints(request.work_dir)
    shutil.rmtree(latest)
    tuned(request, recorder, resume=True)
    assert f"Resuming from {before.name}." in recorder.messages
    assert (request.output_dir / "model.safetensors").read_bytes() == expected


def test_layers_are_chosen_by_the_ends_of_their_names(make_request: Maker) -> None:
    prepared = prepare(make_request(settings=LORA | {"lora_target_modules": "query,output.dense"}), SILENT)
    model = add_adapter(prepared.plan.model, "text-classification", prepared.plan.settings)
    trained = {name for name, weights in model.named_parameters() if weights.requires_grad}
    layers = {name.partition(".lora_")[0].removeprefix("base_model.model.bert.") for name in trained if "lora_" in name}
    ends = ("attention.self.query", "attention.output.dense", "output.dense")
    assert layers == {f"encoder.layer.{number}.{end}" for number in (0, 1) for end in ends}
    assert {name.rpartition(".modules_to_save.")[0] for name in trained if "lora_" not in name} == {
        "base_model.model.classifier",
        "base_model.model.bert.pooler",
    }


def test_a_layer_that_the_model_lacks_is_refused_with_the_nearest(make_request: Maker) -> None:
    with pytest.raises(Refused, match="no layer 'queri' for a LoRA") as caught:
        tuned(make_request(settings=LORA | {"lora_target_modules": "queri"}))
    assert "'query'" in caught.value.hint


def test_activations_of_an_adapted_model_may_be_computed_twice(make_request: Maker, recorder: Any) -> None:
    plain = make_request(settings=LORA | {"max_steps": 4, "logging_steps": 1})
    tuned(plain, recorder)
    expected = [values["loss"] for _, values in recorder.figures if "loss" in values]
    recorder.figures.clear()
    tuned(make_request(settings=plain.settings | {"activation_checkpointing": True}), recorder)
    assert [values["loss"] for _, values in recorder.figures if "loss" in values] == pytest.approx(expected, abs=1e-5)
