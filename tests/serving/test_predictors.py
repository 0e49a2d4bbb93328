"""The predictors agree with transformers' own forward pass, cut what is too long and refuse what they cannot read."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from bedplate_registry.errors import Refused
from bedplate_registry.inspection import inspect_folder
from bedplate_registry.tasks import TASKS
from bedplate_serving.halving import outcomes
from bedplate_serving.predictors import BadItems, ItemError, can_serve, load_predictor
from bedplate_serving.predictors.base import cut
from bedplate_serving.predictors.check import main as check_main
from bedplate_serving.predictors.encoders import packed
from bedplate_serving.testing import (
    WORDS,
    tiny_masked_lm,
    tiny_question_answerer,
    tiny_text_classifier,
    tiny_token_classifier,
    tiny_vit,
)
from bedplate_serving.testing.causal import tiny_llama
from bedplate_serving.testing.seq2seq import tiny_bart, tiny_t5

NAMED_MODELS = ("tiny", "tiny_multi_label")


def texts(count: int, seed: int = 0) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=source.randint(1, 90))) for _ in range(count)]


def reference_logits(folder: Path, items: list[Any]) -> Any:
    """One text at a time through transformers alone: no padding, no batch, nothing of ours."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    for item in items:
        pair = (item["text"], item["text_pair"]) if isinstance(item, dict) else (item,)
        with torch.inference_mode():
            rows.append(model(**tokenizer(*pair, truncation=True, return_tensors="pt")).logits[0])
    return torch.stack(rows)


@pytest.mark.parametrize("name", NAMED_MODELS)
def test_probabilities_equal_transformers_own_forward(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    items: list[Any] = texts(40)
    items += [{"text": a, "text_pair": b} for a, b in zip(texts(20, 1), texts(20, 2), strict=True)]
    logits = reference_logits(folder, items)
    expected = torch.sigmoid(logits) if "multi" in name else torch.softmax(logits, -1)
    got = load_predictor(folder, "text-classification", device="cpu", threads=1).probabilities(items)
    assert np.abs(got - expected.numpy()).max() < 1e-5
    assert expected.std(0).min() > 1e-3, "a model that says the same of every text would pass with anything"


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "DistilBert", "Albert"])
def test_a_packed_batch_answers_as_each_text_alone(family: str, tiny: Path, tmp_path: Path) -> None:
    """Every architecture that is packed (Albert is not), against transformers' own forward of one text at a time."""
    kin = {"pad_token_id": 0} if "Rob" in family or family == "Camembert" else {}  # the tokenizer's
    width = {"hidden_size": 32, "dim": 32, "embedding_size": 32, "intermediate_size": 64, "hidden_dim": 64}
    depth = {"num_hidden_layers": 2, "n_layers": 2, "num_attention_heads": 4, "n_heads": 4}
    sizes = {"vocab_size": 200, "max_position_embeddings": 66, "type_vocab_size": 2, "num_labels": 3}
    config = getattr(transformers, f"{family}Config")(**width, **depth, **sizes, **kin)
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, tmp_path / name)
    predictor = load_predictor(tmp_path, "text-classification", device="cpu", threads=1)
    assert predictor.is_packed == (family != "Albert")
    items = texts(30)
    expected = torch.softmax(reference_logits(tmp_path, items), -1).numpy()
    assert np.abs(predictor.probabilities(items) - expected).max() < 1e-5
    assert expected.std(0).min() > 1e-3


@pytest.mark.parametrize("family", ["XLNet", "GPT2", "Albert"])
def test_a_tokenizer_that_pads_on_the_left_changes_no_answer(family: str, tiny: Path, tmp_path: Path) -> None:
    """XLNet reads the last token; GPT-2 and Albert count positions, which padding in front must not shift."""
    sizes = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64} if family == "XLNet" else {}
    sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 66} if family == "GPT2" else {}
    sizes |= {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4} if family == "Albert" else {}
    config = getattr(transformers, f"{family}Config")(vocab_size=200, num_labels=3, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(tmp_path)
    shutil.copy(tiny / "tokenizer.json", tmp_path / "tokenizer.json")
    settings = json.loads((tiny / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    items = texts(30)
    predictor = load_predictor(tmp_path, "text-classification", device="cpu", threads=1)
    assert predictor.context_length == 64
    expected = torch.softmax(reference_logits(tmp_path, items), -1).numpy()
    assert np.abs(predictor.probabilities(items) - expected).max() < 1e-5
    assert expected.std(0).min() > 1e-3


def test_predict_keeps_the_order_whatever_the_batches(tiny: Path) -> None:
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
    items = texts(50)
    alone = [predictor.predict([item])[0] for item in items]
    for budget in (1, 64, 300, 100_000):
        together = predictor.predict(items, token_budget=budget)
        assert [answer[0]["label"] for answer in together] == [answer[0]["label"] for answer in alone]
        assert max(abs(a[0]["score"] - b[0]["score"]) for a, b in zip(together, alone, strict=True)) < 1e-5


def test_answers_are_sorted_and_follow_the_parameters(tiny: Path) -> None:
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
    [answer] = predictor.predict(["my card is lost"])
    assert {one["label"] for one in answer} == {"negative", "neutral", "positive"}
    assert [one["score"] for one in answer] == sorted((one["score"] for one in answer), reverse=True)
    assert sum(one["score"] for one in answer) == pytest.approx(1.0)
    [top] = predictor.predict(["my card is lost"], {"top_k": 1})
    assert top == answer[:1]
    [raw] = predictor.predict(["my card is lost"], {"function_to_apply": "none"})
    logits = reference_logits(tiny, ["my card is lost"])[0]
    assert raw[0]["score"] == pytest.approx(float(logits.max()), abs=1e-5)
    [sigmoid] = predictor.predict(["my card is lost"], {"function_to_apply": "sigmoid"})
    assert sigmoid[0]["score"] == pytest.approx(float(torch.sigmoid(logits.max())), abs=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"topk": 1}, "no parameter 'topk'"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": True}, "top_k is True"),
        ({"top_k": "3"}, "top_k is '3'"),
        ({"function_to_apply": "relu"}, "function_to_apply is 'relu'"),
        ({"function_to_apply": ["softmax"]}, "function_to_apply is"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_and_value(tiny: Path, parameters: Any, message: str) -> None:
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
    with pytest.raises(Refused, match=message):
        predictor.parameters(parameters)


def test_an_unknown_parameter_is_answered_with_the_nearest_known(tiny: Path) -> None:
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
    with pytest.raises(Refused) as caught:
        predictor.parameters({"topk": 1})
    assert caught.value.hint == "Did you mean 'top_k'?"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (3, "not int"),
        (None, "not null"),
        (["a", "b"], "not a list"),
        ("", "text is empty"),
        (" \n", "text is empty"),
        ({}, 'no "text"'),
        ({"text": 1}, "text must be a string, not int"),
        ({"text": "a", "text_pair": ["b"]}, "text_pair must be a string, not a list"),
        ({"text": "a", "pair": "b"}, "unknown key 'pair'"),
        ("half \ud800 a pair", "half a surrogate pair at character 5"),
    ],
)
def test_an_item_that_is_no_text_says_why(tiny: Path, item: Any, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        load_predictor(tiny, "text-classification", device="cpu", threads=1).parse(item)


def test_predict_names_every_bad_item_by_its_index(tiny: Path) -> None:
    with pytest.raises(BadItems) as caught:
        load_predictor(tiny, "text-classification", device="cpu", threads=1).predict(["fine", 3, "fine too", ""])
    assert [index for index, _ in caught.value.errors] == [1, 3]


def test_a_text_beyond_the_context_is_cut_and_marked(tiny: Path) -> None:
    predictor = load_predictor(tiny, "text-classification", device="cpu", threads=1)
    short, long, book, blanks = predictor.encode(
        [predictor.parse(text) for text in ("card", "card " * 70, "refund money " * 100_000, " " * 50_000 + "card")]
    )
    assert [one.truncated for one in (short, long, book, blanks)] == [False, True, True, False]
    assert long.length == book.length == predictor.context_length == 64
    assert list(blanks.ids) == list(short.ids), "blanks cost no tokens: nothing of this text may be lost"
    expected = torch.softmax(reference_logits(tiny, ["refund money " * 40]), -1)[0]
    assert predictor.probabilities(["refund money " * 100_000])[0] == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_text_that_the_tokenizer_makes_nothing_of_is_refused_and_harms_no_other(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    file = tmp_path / "model/tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))  # it adds the special tokens
    predictor = load_predictor(tmp_path / "model", "text-classification", device="cpu", threads=1)
    assert predictor.engine == "torch-packed"
    fine, nothing = predictor.parse("my card is lost"), predictor.parse("\u200b")
    seen = outcomes(lambda items: predictor.forward(predictor.encode(items)), [nothing, fine, nothing])
    assert np.array_equal(seen[1], predictor.forward(predictor.encode([fine]))[0])
    for error in (seen[0], seen[2]):
        assert isinstance(error, ItemError) and error.message == "holds nothing that this model's tokenizer knows"


def test_features_are_the_mean_of_the_last_hidden_states(tiny_base: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_base), AutoModel.from_pretrained(tiny_base).eval()
    items = texts(10)
    expected = []
    for item in items:
        with torch.inference_mode():
            inputs = tokenizer(item, truncation=True, return_tensors="pt")
            expected.append(model(**inputs).last_hidden_state[0].mean(0).numpy())
    got = load_predictor(tiny_base, None, device="cpu", threads=1).features(items)
    assert np.abs(got - np.stack(expected)).max() < 1e-5


def test_a_base_asked_to_classify_is_refused_instead_of_answering_at_random(tiny_base: Path) -> None:
    with pytest.raises(Refused, match=r"no head for text-classification.*classifier") as caught:
        load_predictor(tiny_base, "text-classification", device="cpu")
    assert caught.value.code == "no-head"


@pytest.mark.parametrize("task", ["base", "check", "text", "../secrets-x", "text-generation-x", "Text_Classification"])
def test_a_task_without_a_predictor_is_refused(tiny: Path, task: str) -> None:
    with pytest.raises(Refused, match="cannot be served"):
        load_predictor(tiny, task)


@pytest.mark.parametrize("budget", [1, 7, 100])
def test_cut_covers_all_items_once_within_the_budget(budget: int) -> None:
    lengths = [1, 2, 3, 8, 8, 9, 30]
    ranges = list(cut(lengths, budget))
    assert [index for start, end in ranges for index in range(start, end)] == list(range(len(lengths)))
    for start, end in ranges:
        assert end == start + 1 or max(lengths[start:end]) * (end - start) <= budget
    assert list(cut([], budget)) == []


def check(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "bedplate_serving.predictors.check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout.strip().splitlines()[-1])


def test_the_load_check_answers_a_sample(tiny: Path) -> None:
    code, report = check(str(tiny), "--task", "text-classification")
    assert code == 0
    assert report["ok"]
    assert {one["label"] for one in report["sample"]["answer"]} == {"negative", "neutral", "positive"}


def test_the_load_check_of_a_damaged_model_is_one_line_of_json(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    code, report = check(str(tmp_path), "--task", "text-classification")
    assert code == 1
    assert report["error"]["code"] == "load-failed"
    assert str(tmp_path) not in json.dumps(report)


MASKED = {"Bert": "cls.predictions", "DistilBert": "vocab_transform", "Roberta": "lm_head", "Electra": "generator_pred"}


def masked_language_model(family: str, tiny: Path, folder: Path, head: str = "ForMaskedLM") -> Path:
    """A base as the Hub has it: an encoder that kept the head of its pretraining, and no pooler."""
    width = {"hidden_size": 32, "dim": 32, "embedding_size": 32, "intermediate_size": 64, "hidden_dim": 64}
    depth = {"num_hidden_layers": 2, "n_layers": 2, "num_attention_heads": 4, "n_heads": 4}
    kin = {"pad_token_id": 1} if family == "Roberta" else {}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=200, max_position_embeddings=66, **width, **depth, **kin
    )
    torch.manual_seed(0)
    getattr(transformers, f"{family}{head}")(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, folder / name)
    return folder


@pytest.mark.parametrize("family", MASKED)
def test_a_base_with_its_masked_head_gives_the_features_of_its_encoder(family: str, tiny: Path, tmp_path: Path) -> None:
    folder = masked_language_model(family, tiny, tmp_path)
    facts = inspect_folder(folder)
    assert facts.task == "fill-mask" and "text-classification" in facts.finetunable_tasks
    assert any(name.startswith(MASKED[family]) for name in load_file(folder / "model.safetensors"))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(**tokenizer("my card is lost", return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
    got = load_predictor(folder, None, device="cpu", threads=1).features(["my card is lost"])[0]
    assert np.abs(got - expected).max() < 1e-5 and np.abs(expected).max() > 0.1


def test_layer_norms_by_their_old_names_are_read(tiny: Path, tmp_path: Path) -> None:
    """bert-base-uncased was saved when they were called gamma and beta."""
    folder = masked_language_model("Bert", tiny, tmp_path)
    expected = load_predictor(folder, None, device="cpu", threads=1).features(["my card is lost"])
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    assert sum("gamma" in name for name in old) == 6
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    assert np.array_equal(load_predictor(folder, None, device="cpu", threads=1).features(["my card is lost"]), expected)


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Roberta"])
def test_the_load_check_of_a_base_with_its_masked_head_fills_a_mask(
    family: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = masked_language_model(family, tiny, tmp_path)
    assert check_main([str(folder), "--task", "fill-mask"]) == 0
    sample = json.loads(capsys.readouterr().out)["sample"]
    assert "[MASK]" in sample["request"] and len(sample["answer"]) == 5


def test_the_discriminator_of_electra_is_a_base(tiny: Path, tmp_path: Path) -> None:
    folder = masked_language_model("Electra", tiny, tmp_path, "ForPreTraining")
    assert any(name.startswith("discriminator_predictions.") for name in load_file(folder / "model.safetensors"))
    assert inspect_folder(folder).task is None


def test_the_load_check_of_a_tokenizer_that_panics_is_one_line_of_json(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    file = tmp_path / "model/tokenizer.json"
    tokenizer = json.loads(file.read_text())
    charsmap = base64.b64encode((4).to_bytes(4, "little") + b"\xff\xff\xff\x7f").decode()  # points out of itself
    steps = [tokenizer["normalizer"], {"type": "Precompiled", "precompiled_charsmap": charsmap}]
    file.write_text(json.dumps(tokenizer | {"normalizer": {"type": "Sequence", "normalizers": steps}}))
    assert check_main([str(tmp_path / "model"), "--task", "text-classification"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "load-failed"


def test_a_packed_pass_that_answers_otherwise_than_the_padded_one_is_not_used(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it would where the positions of one text went on in the next."""
    right = packed.pack

    def wrong(*arguments: Any, **named: Any) -> Any:
        row = right(*arguments, **named)
        return replace(row, positions=np.arange(len(row.ids)) % 64)

    monkeypatch.setattr(packed, "pack", wrong)
    assert load_predictor(tiny, "text-classification", device="cpu", threads=1).engine == "torch-padded"


def test_the_load_check_for_a_task_nobody_serves_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_main([str(tiny), "--task", "depth-estimation"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "no-predictor" and "'depth-estimation' cannot be served" in error["message"]


def test_what_this_release_can_serve_is_told_without_loading_anything() -> None:
    assert all(can_serve(task) for task in TASKS)
    assert not any(can_serve(task) for task in ("depth-estimation", "base", "../a-b", "Text_Classification", ""))


TINY: dict[str, Callable[[Path], Path]] = {
    "text-classification": tiny_text_classifier,
    "token-classification": tiny_token_classifier,
    "question-answering": tiny_question_answerer,
    "fill-mask": tiny_masked_lm,
    "text-generation": tiny_llama,
    "summarization": tiny_bart,
    "translation": tiny_t5,
    "image-classification": tiny_vit,
}
# What a stranger may write into config.json is without end; some of it, and what libraries make of it.
HEADS = ("num_attention_heads", "encoder_attention_heads", "num_heads")
SILLY: list[dict[str, Any]] = [
    {"id2label": {"5": "x"}, "num_hidden_layers": "two"},  # StrictDataclassFieldValidationError
    dict.fromkeys(HEADS, 0),  # ZeroDivisionError
    dict.fromkeys(("vocab_size", "image_size"), 10**400),  # OverflowError
    dict.fromkeys(("vocab_size", "image_size"), -1),  # RuntimeError
    {"hidden_act": {}, "activation_function": {}, "feed_forward_proj": {}},  # TypeError
]


@pytest.fixture(scope="module")
def tiny_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("tiny")
    return cache(lambda task: TINY[task](root / task))


@pytest.mark.parametrize("number", range(len(SILLY)))
@pytest.mark.parametrize("task", TINY)
def test_a_config_that_cannot_be_is_refused_in_one_line_that_tells_no_path(
    task: str, number: int, tiny_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_of(task), tmp_path / "model"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | SILLY[number]))
    with pytest.raises(Refused) as caught:
        load_predictor(folder, task, device="cpu", threads=1)
    assert "\n" not in caught.value.message and str(tmp_path) not in caught.value.message
    assert check_main([str(folder), "--task", task]) == 1
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["code"] == caught.value.code and str(tmp_path) not in error["message"]


def test_the_load_check_writes_no_longer_text_than_the_sample_of_its_task(
    tiny_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, task = tiny_of("text-generation"), "text-generation"
    assert check_main([str(folder), "--task", task]) == 0
    sample = json.loads(capsys.readouterr().out.splitlines()[-1])["sample"]
    predictor: Any = load_predictor(folder, task, device="cpu", threads=1)
    [few] = predictor.predict([sample["request"]], predictor.sample_parameters())
    [many] = predictor.predict([sample["request"]])
    assert sample["answer"] == few != many
