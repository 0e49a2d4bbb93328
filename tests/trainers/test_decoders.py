"""Decoder-only models as bases of classifiers, taggers and question answering: they learn, and answer a text alone as
among others, whatever their tokenizers say of padding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto import modeling_auto

from bedplate_registry.decoders import DECODERS
from bedplate_registry.errors import Refused
from bedplate_registry.inspection import inspect_folder
from bedplate_registry.progress import SILENT
from bedplate_registry.tasks import finetunable_tasks, get_task
from bedplate_serving.predictors import load_predictor
from bedplate_serving.testing.causal import CAUSAL_FAMILIES, tiny_causal
from bedplate_trainers.finetune import FinetuneRequest, FinetuneResult, finetune
from bedplate_trainers.lora import over_base
from bedplate_trainers.pretrained import load_tokenizer, set_padding
from question_rows import question_rows
from tagged_rows import tagged_rows

Maker = Callable[..., FinetuneRequest]
HEADS = {
    "text-classification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "token-classification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "question-answering": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
}
TEXTS = ["login", "my invoice was late and the phone is slow, please help", "why", "the account was good"]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model as most come: its tokenizer has no token for padding, and pads in front."""

    def make(family: str) -> Path:
        folder = tiny_causal(tmp_path_factory.mktemp(family), family, chat_template=None)
        for name in ("tokenizer_config.json", "config.json"):
            path = folder / name
            said = json.loads(path.read_text())
            said = {key: value for key, value in said.items() if key not in ("pad_token", "pad_token_id")}
            path.write_text(json.dumps(said | ({"padding_side": "left"} if name.startswith("tokenizer") else {})))
        return folder

    return make


def tuned(request: FinetuneRequest) -> FinetuneResult:
    result = finetune(request, SILENT, resume=False)
    assert result is not None
    return result


def same_alone_as_together(predictor: Any) -> Any:
    together = predictor.probabilities(TEXTS)
    alone = np.concatenate([predictor.probabilities([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    return together


@pytest.mark.parametrize("model_type", sorted(DECODERS))
def test_the_table_has_the_heads_that_transformers_has_and_that_take_over_the_weights(model_type: str) -> None:
    writes = getattr(transformers, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])
    heads = {task: getattr(transformers, names[model_type]) for task, names in HEADS.items() if model_type in names}
    fitting = [task for task, head in heads.items() if head.base_model_prefix == writes.base_model_prefix]
    assert list(finetunable_tasks(model_type)) == fitting


@pytest.mark.parametrize("family", sorted(CAUSAL_FAMILIES.keys() & DECODERS.keys()))
def test_every_head_stands_on_the_weights_of_the_model(family: str, decoder: Callable[[str], Path]) -> None:
    folder = decoder(family)
    for task in finetunable_tasks(family):
        auto = getattr(transformers, get_task(task).auto_class)
        model, info = auto.from_pretrained(folder, output_loading_info=True)
        inside = tuple(f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_parameters())
        assert info["missing_keys"], "the head is new"
        assert not info["missing_keys"] & set(inside)


@pytest.mark.parametrize("family", sorted(CAUSAL_FAMILIES.keys() & DECODERS.keys()))
def test_the_features_that_a_probe_reads_are_those_of_the_text_alone(
    family: str, decoder: Callable[[str], Path]
) -> None:
    extractor = load_predictor(decoder(family), None, device="cpu")
    together = extractor.features(TEXTS)
    alone = np.concatenate([extractor.features([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-4)


# Plain loops with these settings (three seeds) came to 0.98 to 1.0 and to 0.68 to 0.93; a third is chance.
@pytest.mark.parametrize(("family", "floor"), [("gpt2", 0.9), ("llama", 0.6)])
def test_it_learns_to_classify_and_answers_a_text_alone_as_among_others(
    family: str, floor: float, decoder: Callable[[str], Path], make_request: Maker
) -> None:
    request = make_request(model_dir=decoder(family))
    result = tuned(request)
    assert result.report is not None
    assert result.report["metrics"]["accuracy"] > floor
    facts = inspect_folder(request.output_dir)
    assert (facts.task, facts.labels) == ("text-classification", ("access", "money", "parcel"))

    predictor = load_predictor(request.output_dir, "text-classification", device="cpu")
    together = same_alone_as_together(predictor)
    model = AutoModelForSequenceClassification.from_pretrained(request.output_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(request.output_dir)
    with torch.inference_mode():
        logits = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    assert np.allclose(together, logits.softmax(-1).numpy(), atol=1e-5), "as transformers reads what was saved"


def test_an_adapter_on_one_learns_and_is_served_over_its_base(
    decoder: Callable[[str], Path], make_request: Maker
) -> None:
    """Its base keeps its own tokenizer, which pads in front."""
    lora = {"apply_lora": True, "learning_rate": 7e-3, "merge_lora_weights": False}
    request = make_request(model_dir=decoder("gpt2"), settings=lora)
    result = tuned(request)
    assert result.report is not None
    assert result.report["metrics"]["accuracy"] > 0.75  # a plain loop around PEFT (three seeds): 0.85 to 1.0
    with over_base(request.model_dir, request.output_dir) as view:
        same_alone_as_together(load_predictor(view, "text-classification", device="cpu"))


def test_it_learns_to_tag_words(decoder: Callable[[str], Path], make_request: Maker) -> None:
    request = make_request(tagged_rows(300), task="token-classification", model_dir=decoder("qwen3"), columns={})
    report = tuned(request).report
    assert report is not None
    assert report["metrics"]["f1_score_micro"] > 0.7  # a plain loop (three seeds): 0.80 to 0.88


def test_it_learns_to_find_answers(decoder: Callable[[str], Path], make_request: Maker) -> None:
    request = make_request(question_rows(400), task="question-answering", model_dir=decoder("gpt2"), columns={})
    report = tuned(request).report
    assert report is not None
    assert report["metrics"]["exact_match"] > 85  # a plain loop (three seeds): 98 to 100


def test_a_tokenizer_without_any_token_to_pad_with_is_refused(decoder: Callable[[str], Path]) -> None:
    folder = decoder("llama")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), load_tokenizer(folder)
    tokenizer.eos_token = tokenizer.unk_token = tokenizer.bos_token = None
    with pytest.raises(Refused, match="no token that could stand for padding") as caught:
        set_padding(model, tokenizer)
    assert caught.value.code == "no-padding"
