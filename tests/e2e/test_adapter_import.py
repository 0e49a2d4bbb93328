"""An adapter of a Hub and a model of pickles come in through real jobs, and score."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bedplate
from bedplate_registry.errors import BedplateError
from bedplate_registry.registry import Registry
from harness import bedplate_home, run_cli
from hub_server import serve_folders

TEXTS = ["my card is lost", "reset the password", "what is this"]


@pytest.fixture(scope="module")
def folders(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`encoder`, an adapter on it with a head of three labels and what the two say; a classifier as a pickle."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    root = tmp_path_factory.mktemp("folders")
    base = AutoModelForSequenceClassification.from_pretrained(models / "encoder", num_labels=3)
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=64, init_lora_weights=False, target_modules=["query", "value"], task_type="SEQ_CLS"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
        adapted = get_peft_model(base, config).eval()
    adapted.save_pretrained(root / "adapter")
    said = root / "adapter" / "adapter_config.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "base_model_name_or_path": "acme/encoder"}))
    tokenizer = AutoTokenizer.from_pretrained(models / "encoder")
    with torch.inference_mode():
        labels = [int(adapted(**tokenizer(text, return_tensors="pt")).logits.argmax()) for text in TEXTS]
    pickled = shutil.copytree(models / "classifier", root / "pickled")
    weights = load_file(pickled / "model.safetensors")
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    return {"adapter": root / "adapter", "labels": labels, "pickled": pickled}


@pytest.fixture(scope="module")
def hub(models: Path, folders: dict[str, Any]) -> Iterator[str]:
    served = {"acme/encoder": models / "encoder", "ann/adapter": folders["adapter"], "ann/pickled": folders["pickled"]}
    with serve_folders(served) as url:
        yield url


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with bedplate_home() as home:
        yield home


def test_an_adapter_comes_with_its_base_and_answers_as_peft_does(home: Path, hub: str, folders: dict[str, Any]) -> None:
    from bedplate_serving.predictors import load_predictor

    run_cli("import", "ann/adapter", "--hub", hub, home=home)
    with bedplate.connect(home=home) as ws:
        assert [model.ref for model in ws.models.list()] == ["acme/encoder:1", "ann/adapter:1"]
        models = Registry(home / "registry").models
        predictor = load_predictor(models.files_dir(models.get("ann/adapter")), "text-classification", device="cpu")
        labels = [answer[0]["label"] for answer in predictor.predict(TEXTS)]
        assert labels == [f"LABEL_{number}" for number in folders["labels"]]
        with pytest.raises(BedplateError, match="the adapter ann/adapter:1 needs it"):
            ws.models.get("acme/encoder:1").delete()


def test_pickles_are_converted_where_that_is_asked_for(home: Path, hub: str) -> None:
    run_cli("import", "ann/pickled", "--hub", hub, "--convert-weights", home=home)
    with bedplate.connect(home=home) as ws:
        files = {file["path"] for file in ws.models.get("ann/pickled").files()}
        assert "model.safetensors" in files and "pytorch_model.bin" not in files
        assert ws.models.get("ann/pickled").data["sample"]["answer"], "it was loaded, and answered"
