"""A model with a PEFT adapter is served as one: it answers as PEFT's own unmerged forward does."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from bedplate_registry.errors import Refused
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft, ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_serving.predictors import load_predictor
from bedplate_serving.predictors.adapters import LoraSettings
from bedplate_serving.predictors.check import main as check_main
from bedplate_serving.predictors.loading import load_model
from bedplate_serving.testing import WORDS, tiny_encoder, tiny_text_classifier
from bedplate_serving.testing.causal import tiny_llama
from bedplate_serving.testing.seq2seq import tiny_t5

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT's own

TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=1 + 3 * seed)) for seed in range(6)]
LABELS = ("billing", "login", "other")


def add_adapter(folder: Path, auto_class: Any, home: str = "adapter", seed: int = 0, **settings: Any) -> Any:
    """Writes a LoRA of random numbers for the model in the folder; returns that model with it, unmerged."""
    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 4, "lora_alpha": 16, "init_lora_weights": False, **settings})
    adapted = get_peft_model(auto_class.from_pretrained(folder), config).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name or (parameter.requires_grad and name.endswith("bias")):
                parameter.normal_(std=0.3)
    adapted.save_pretrained(folder / home)
    (folder / home / "README.md").unlink()
    return adapted


def classifier(folder: Path, home: str = "adapter", **settings: Any) -> Any:
    tiny_text_classifier(folder, LABELS)
    defaults = {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}
    return add_adapter(folder, AutoModelForSequenceClassification, home, **{**defaults, **settings})


def probabilities(model: Any, folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0] for text in TEXTS]
    return torch.softmax(torch.stack(rows), -1)


def answers(folder: Path) -> torch.Tensor:
    predictor = load_predictor(folder, "text-classification", device="cpu", threads=1)
    return torch.tensor(predictor.probabilities(TEXTS), dtype=torch.float32)


@pytest.mark.parametrize("home", ["adapter", "."], ids=["in its own folder", "beside its base"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "rank_pattern": {"0.attention.self.query": 2}, "alpha_pattern": {"value": 3}},
        {"use_dora": True, "target_modules": "all-linear"},
        {"bias": "lora_only", "layers_to_transform": [1]},
    ],
    ids=["lora", "rslora", "dora", "bias"],
)
def test_a_classifier_with_an_adapter_answers_as_the_two_unmerged(
    home: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    adapted = classifier(tmp_path, home, **settings)
    expected = probabilities(adapted, tmp_path)
    assert (answers(tmp_path) - expected).abs().max() < 1e-4
    tiny_text_classifier(tmp_path / "plain", LABELS)
    assert (answers(tmp_path / "plain") - expected).abs().max() > 1e-2, "the adapter must change something"


def test_a_head_that_the_adapter_brings_stands_on_a_base_without_one(tmp_path: Path) -> None:
    adapted = classifier(tmp_path / "whole")
    tiny_encoder(tmp_path / "base")
    base = load_file(tmp_path / "whole" / "model.safetensors")
    without = {name: tensor for name, tensor in base.items() if not name.startswith("classifier")}
    save_file(without, tmp_path / "whole" / "model.safetensors", {"format": "pt"})
    assert (answers(tmp_path / "whole") - probabilities(adapted, tmp_path / "whole")).abs().max() < 1e-4


def test_an_encoder_decoder_with_an_adapter_writes_as_the_two_unmerged(tmp_path: Path) -> None:
    adapted = add_adapter(tiny_t5(tmp_path), AutoModelForSeq2SeqLM, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM")
    predictor = load_predictor(tmp_path, "summarization", device="cpu", threads=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS[1:4]:
        inputs = tokenizer("summarize: " + text, return_tensors="pt")
        expected = adapted.generate(**inputs, max_new_tokens=8, min_length=0)[0]
        raw = predictor.forward(
            predictor.encode([predictor.parse(text, predictor.parameters({"max_new_tokens": 8, "min_new_tokens": 0}))])
        )[0]
        assert list(raw.token_ids) == expected[1:].tolist()


def test_a_llama_with_an_adapter_predicts_as_the_two_unmerged(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"target_modules": ["q_proj", "v_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    adapted = add_adapter(tiny_llama(tmp_path), AutoModelForCausalLM, **settings)
    merged = load_model(AutoModelForCausalLM, tmp_path, "cpu")
    assert not isinstance(merged, PeftModel)
    inputs = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[4], return_tensors="pt")
    with torch.inference_mode():
        expected = adapted(input_ids=inputs.input_ids).logits
        assert (merged(input_ids=inputs.input_ids).logits - expected).abs().max() < 1e-4
        with adapted.disable_adapter():
            assert (adapted(input_ids=inputs.input_ids).logits - expected).abs().max() > 1e-2


def test_a_replica_serves_it(floor: Any, tmp_path: Path) -> None:
    expected = probabilities(classifier(tmp_path), tmp_path)
    replica = floor.replica(tmp_path)
    with replica.client() as client:
        rows = client.post("/", json={"inputs": TEXTS}).json()
    got = [[next(one["score"] for one in row if one["label"] == label) for label in LABELS] for row in rows]
    assert (torch.tensor(got) - expected).abs().max() < 1e-4
    replica.process.kill()


@pytest.mark.parametrize("home", ["adapter", "."], ids=["in its own folder", "beside its base"])
def test_an_import_takes_the_adapter_with_its_base(home: str, tmp_path: Path) -> None:
    """The head comes from the adapter: inspection must find it there."""
    expected = probabilities(classifier(tmp_path / "model", home), tmp_path / "model")
    registry = Registry(tmp_path / "registry")

    def check(folder: Path, facts: Any) -> dict[str, Any]:
        assert check_main([str(folder), "--task", str(facts.task)]) == 0
        return {}

    draft = prepare_folder_import(
        registry, tmp_path / "model", name=Name.parse("acme/adapted"), check=check, reporter=SILENT
    )
    assert isinstance(draft, ModelDraft)
    assert draft.facts.task == "text-classification"
    version = registry.models.publish(draft)
    paths = {entry.path for entry in version.files}
    assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= paths
    assert not {"adapter_config.json", "adapter_model.safetensors"} & paths
    assert (answers(registry.models.files_dir(version)) - expected).abs().max() < 1e-4


def bring(registry: Registry, folder: Path, name: str, **options: Any) -> ModelVersion:
    """Import and publish, as a job does."""

    def check(view: Path, facts: Any) -> dict[str, Any]:
        assert check_main([str(view), *(["--task", facts.task] if facts.task else [])]) == 0
        return {}

    draft = prepare_folder_import(registry, folder, name=Name.parse(name), check=check, reporter=SILENT, **options)
    return registry.models.publish(draft)


def test_an_adapter_alone_answers_as_peft_on_its_base(tmp_path: Path) -> None:
    """Of a base without a head: the adapter brings one of four labels."""
    base, registry = tiny_encoder(tmp_path / "base"), Registry(tmp_path / "registry")
    with_head = SimpleNamespace(
        from_pretrained=lambda folder: AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4)
    )
    settings = {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}
    expected = probabilities(add_adapter(base, with_head, "alone", **settings), base)
    adapter = (base / "alone").rename(tmp_path / "alone")
    bring(registry, base, "acme/base")
    version = bring(registry, adapter, "acme/alone", base="acme/base:1")
    assert version.facts.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert version.facts.size_bytes < sum(path.stat().st_size for path in adapter.iterdir()) + 2000
    assert (answers(registry.models.files_dir(version)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("make", "auto_class", "settings", "task"),
    [
        (tiny_llama, AutoModelForCausalLM, {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}, "text-generation"),
        (tiny_t5, AutoModelForSeq2SeqLM, {"target_modules": ["q"], "task_type": "SEQ_2_SEQ_LM"}, "summarization"),
        (tiny_encoder, AutoModel, {"target_modules": ["query"], "task_type": "FEATURE_EXTRACTION"}, None),
        (
            tiny_encoder,
            AutoModelForTokenClassification,
            {"target_modules": ["key"], "task_type": "TOKEN_CLS"},
            "token-classification",
        ),
        (
            tiny_encoder,
            AutoModelForQuestionAnswering,
            {"target_modules": ["key"], "task_type": "QUESTION_ANS"},
            "question-answering",
        ),
    ],
    ids=["causal", "seq2seq", "features", "tokens", "answers"],
)
def test_an_adapter_alone_of_each_kind_loads(
    make: Any, auto_class: Any, settings: dict[str, Any], task: str | None, tmp_path: Path
) -> None:
    base, registry = tmp_path / "base", Registry(tmp_path / "registry")
    make(base)
    add_adapter(base, auto_class, "alone", **settings)
    adapter = (base / "alone").rename(tmp_path / "alone")
    bring(registry, base, "acme/base")
    assert bring(registry, adapter, "acme/alone", base="acme/base:1").task == task


def edited(**changes: Any) -> Callable[[Path], None]:
    def edit(home: Path) -> None:
        path = home / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def without_weights(home: Path) -> None:
    (home / "adapter_model.safetensors").unlink()


def torn(home: Path) -> None:
    path = home / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def reweighted(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def edit(home: Path) -> None:
        tensors = load_file(home / "adapter_model.safetensors")
        change(tensors)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, home / "adapter_model.safetensors")

    return edit


def lose(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(name for name in tensors if "lora_A" in name)]


def gain(tensors: dict[str, torch.Tensor]) -> None:
    name = min(name for name in tensors if "lora_A" in name)
    tensors[name.replace("layer.0", "layer.9")] = tensors[name]


def spoil(tensors: dict[str, torch.Tensor]) -> None:
    tensors[min(name for name in tensors if "lora_A" in name)][:] = float("nan")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edited(peft_type="PROMPT_TUNING"), "only LORA"),
        (edited(megatron_config={"a": 1}, megatron_core="os"), "megatron_config"),
        (edited(init_lora_weights="pissa"), "init_lora_weights = pissa"),
        (edited(layer_replication=[[0, 2], [1, 2]]), "layer_replication"),
        (edited(r=10**9), "r = 1000000000"),
        (edited(target_modules=["nothing"]), "does not fit"),
        (edited(target_modules=["query"]), "no place for"),
        (edited(r=8), "size mismatch"),
        (edited(some_new_trick={"on": True}), "some_new_trick"),
        (without_weights, "has no adapter_model.safetensors"),
        (torn, "cannot be read"),
        (reweighted(lose), "weights lack"),
        (reweighted(gain), "no place for"),
        (reweighted(spoil), "cannot be merged"),
        # Patterns that would run for years, and one that is none.
        (edited(target_modules=r"(\w+|[\w.]+)+x!"), "target_modules"),
        (edited(exclude_modules="([a-z.0-9_]+)+!"), "exclude_modules"),
        (edited(rank_pattern={"([a-z.0-9_]+)+!": 2}), "rank_pattern"),
        (edited(target_modules="(a|aa)" * 40), "target_modules"),
        (edited(target_modules="(a|a|a|a)x"), "target_modules"),
        (edited(target_modules="a.*b.*c.*d.*e"), "target_modules"),
        (edited(layers_pattern="("), "layers_pattern"),
    ],
)
def test_an_adapter_that_is_unsafe_or_does_not_fit_is_refused(
    change: Callable[[Path], None], said: str, adapted_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(adapted_folder, tmp_path / "model")
    change(folder / "adapter")
    with pytest.raises(Refused) as refused:
        load_model(AutoModelForSequenceClassification, folder, "cpu", head="text-classification")
    assert refused.value.code == "bad-adapter"
    assert said in refused.value.message
    assert refused.value.hint and str(tmp_path) not in refused.value.message


@pytest.mark.parametrize(
    "pattern", ["all-linear", r".*\.(query|value)", r".*layer\.\d+\.attention\.self\.(?:query|value)", "query"]
)
def test_patterns_as_people_write_them_are_taken(pattern: str) -> None:
    assert LoraSettings(target_modules=pattern).target_modules == pattern


@pytest.fixture(scope="module")
def adapted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapted") / "model"
    classifier(folder)
    return folder


def test_an_adapter_of_another_base_is_refused(adapted_folder: Path, tmp_path: Path) -> None:
    tiny_text_classifier(tmp_path, LABELS, shape="minilm")
    shutil.copytree(adapted_folder / "adapter", tmp_path / "adapter")
    with pytest.raises(Refused, match="does not fit its base: size mismatch"):
        load_model(AutoModelForSequenceClassification, tmp_path, "cpu")


def test_the_base_that_an_adapter_names_is_never_fetched(adapted_folder: Path, tmp_path: Path) -> None:
    """Nor is the code that its auto_mapping names: an import refuses it by name."""
    folder = shutil.copytree(adapted_folder, tmp_path / "model")
    edited(base_model_name_or_path="evil/model", revision="main")(folder / "adapter")
    assert torch.equal(answers(folder), answers(adapted_folder))
    edited(auto_mapping={"base_model_class": "Popen", "parent_library": "subprocess"})(folder / "adapter")
    with pytest.raises(Refused) as refused:
        prepare_folder_import(
            Registry(tmp_path / "r"), folder, name=Name.parse("x"), check=lambda *_: {}, reporter=SILENT
        )
    assert refused.value.code == "remote-code"
    assert "auto_mapping" in refused.value.message


def test_an_import_refuses_an_adapter_without_weights(adapted_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(adapted_folder, tmp_path / "model")
    without_weights(folder / "adapter")
    with pytest.raises(Refused, match="has no adapter_model"):
        prepare_folder_import(
            Registry(tmp_path / "r"), folder, name=Name.parse("x"), check=lambda *_: {}, reporter=SILENT
        )
