"""The recipe of text classification on rows of our own: it learns, and what it leaves is a model like any other."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_trainers.finetune import DataFile, FinetuneRequest, FinetuneResult, finetune

Maker = Callable[..., FinetuneRequest]
Synthetic = Callable[..., list[dict[str, Any]]]


def tuned(request: FinetuneRequest, reporter: Any = SILENT) -> FinetuneResult:
    result = finetune(request, reporter, resume=False)
    assert result is not None
    return result


def test_it_learns_a_synthetic_set_and_reports_the_test(make_request: Maker, recorder: Any) -> None:
    request = make_request()
    result = tuned(request, recorder)
    report = result.report
    assert report is not None
    assert report["metrics"]["accuracy"] > 0.9  # a plain loop with these settings came to 1.0
    assert report["baselines"]["majority"]["accuracy"] < 0.6
    assert result.labels == ("access", "money", "parcel")
    assert (result.train_rows, result.validation_rows, result.test_rows) == (320, 40, 40)
    assert result.packages["torch"]
    assert json.loads(json.dumps(result.to_json()))["resolved"]["values"]["learning_rate"] == 5e-3

    figures = dict(recorder.figures)
    assert {"eval_loss", "eval_accuracy"} <= set(figures[result.steps])
    losses = [step for step, values in recorder.figures if "loss" in values]
    assert losses == list(range(1, result.steps + 1))
    for _, values in recorder.figures:
        assert ("loss" in values) == (values.get("samples_per_second", 0) > 0) == (values.get("memory_gb", 0) > 0.1)
    phases = list(dict.fromkeys(phase for phase, *_ in recorder.phases))
    assert phases == ["load", "tokenize", "train", "evaluate", "save", "test", "baselines"]
    trained = [(done, total) for phase, done, total, _ in recorder.phases if phase == "train"]
    assert trained == [(step, result.steps) for step in range(1, result.steps + 1)]


def test_the_steps_of_training_search_the_path_for_no_package(
    make_request: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Counter[str]):
        """Finds nothing, so the finders after it are asked as ever."""

        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            self[name] += 1

    asked = Asked()
    monkeypatch.setattr(sys, "meta_path", [asked, *sys.meta_path])
    steps = tuned(make_request(settings={"max_steps": 8, "per_device_train_batch_size": 4})).steps
    assert steps == 8
    assert [name for name, times in asked.items() if times >= steps] == []


def test_with_shuffled_labels_it_falls_to_chance(make_request: Maker, synthetic: Synthetic) -> None:
    rows = synthetic(400)
    labels = [row["label"] for row in rows]
    random.Random(1).shuffle(labels)
    report = tuned(make_request([row | {"label": label} for row, label in zip(rows, labels, strict=True)])).report
    assert report is not None
    assert report["metrics"]["accuracy"] < 0.6


def test_the_model_folder_is_plain_and_loads_as_transformers_loads_it(make_request: Maker) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from bedplate_serving.predictors import load_predictor

    request = make_request(settings={"num_train_epochs": 1})
    tuned(request)
    names = {path.name for path in request.output_dir.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    config = json.loads((request.output_dir / "config.json").read_text())
    assert config["id2label"] == {"0": "access", "1": "money", "2": "parcel"}
    assert str(request.model_dir) not in json.dumps(config)

    texts = ["my invoice was late", "login please", "why"]
    model = AutoModelForSequenceClassification.from_pretrained(request.output_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(request.output_dir)
    logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.detach()
    predicted = load_predictor(request.output_dir, "text-classification", device="cpu").probabilities(texts)
    assert np.allclose(predicted, logits.softmax(-1).numpy(), atol=1e-5)


def test_pairs_are_told_apart_by_their_second_text(make_request: Maker, synthetic: Synthetic) -> None:
    rows = [{"first": "please help", "second": row["text"], "label": row["label"]} for row in synthetic(400)]
    result = tuned(make_request(rows, columns={"sentence1": "first", "sentence2": "second"}))
    assert result.report is not None
    assert result.report["metrics"]["accuracy"] > 0.8
    assert {"text", "text_pair"} <= set((result.report["worst"] or [{"text": 1, "text_pair": 1}])[0])


def test_rows_with_several_labels_are_learned(make_request: Maker, synthetic: Synthetic) -> None:
    one, other = synthetic(500, seed=1), synthetic(500, seed=2)
    word = {"access": "login", "money": "refund", "parcel": "late"}
    rows = [
        {"text": f"{a['text']} {word[b['label']]}", "label": sorted({a["label"], b["label"]})}
        for a, b in zip(one, other, strict=True)
    ]
    request = make_request(rows)
    report = tuned(request).report
    assert report is not None
    assert report["multi_label"]
    assert report["metrics"]["f1_score_micro"] > 0.85
    assert json.loads((request.output_dir / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert np.array(report["confusion"]["per_label"]).shape == (3, 2, 2)


def test_class_weights_and_smoothing_train_too(make_request: Maker) -> None:
    settings = {
        "class_weights": "balanced",
        "label_smoothing_factor": 0.1,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 16,
    }
    report = tuned(make_request(settings=settings)).report
    assert report is not None
    assert report["metrics"]["accuracy"] > 0.8


def test_it_stops_early_and_keeps_the_best(make_request: Maker, recorder: Any) -> None:
    settings = {"num_train_epochs": 50, "early_stopping_patience": 2, "metric_for_best_model": "accuracy"}
    request = make_request(settings=settings)
    result = tuned(request, recorder)
    assert result.epochs < 50
    assert any(message.startswith("Stopped early") for message in recorder.messages)
    scores = {step: values["eval_accuracy"] for step, values in recorder.figures if "eval_accuracy" in values}
    assert result.best_step == max(scores, key=lambda step: (scores[step], -step))
    assert result.metrics["accuracy"] == pytest.approx(scores[result.best_step])


def test_restarts_bring_the_rate_back_to_its_highest(make_request: Maker, recorder: Any) -> None:
    settings = {"lr_scheduler_type": "cosine_with_restarts", "lr_num_cycles": 3, "warmup_steps": 0}
    settings |= {"max_steps": 12, "logging_steps": 1, "learning_rate": 1e-3}
    tuned(make_request(validation=None, test=None, settings=settings), recorder)
    rates = [values["learning_rate"] for _, values in recorder.figures if "learning_rate" in values]
    assert [later for earlier, later in pairwise(rates) if later > earlier] == pytest.approx([1e-3, 1e-3])


def test_a_model_is_served_with_texts_cut_where_they_were_in_training(make_request: Maker) -> None:
    from bedplate_serving.predictors import load_predictor

    request = make_request(test=None, settings={"max_steps": 2, "max_seq_length": 8})
    tuned(request)
    predictor = load_predictor(request.output_dir, "text-classification", device="cpu")
    assert predictor.context_length == 8
    long, cut = ({"text": " ".join(["refund"] * count)} for count in (30, 6))  # 6 words and two special tokens
    assert np.allclose(*predictor.probabilities([long, cut]))


def test_it_trains_without_validation_and_test(make_request: Maker) -> None:
    result = tuned(make_request(validation=None, test=None, settings={"max_steps": 5}))
    assert (result.steps, result.metrics, result.report) == (5, {}, None)


def test_a_head_for_the_same_labels_is_kept_and_another_replaced(
    make_request: Maker, tmp_path: Path, synthetic: Synthetic
) -> None:
    from bedplate_serving.testing import tiny_text_classifier

    same = tiny_text_classifier(tmp_path / "same", labels=("parcel", "money", "access"))
    other = tiny_text_classifier(tmp_path / "other", labels=("x", "y", "z"))
    few = {"max_steps": 1, "learning_rate": 1e-9}
    kept = tuned(make_request(model_dir=same, settings=few))
    assert kept.labels == ("parcel", "money", "access")
    replaced = tuned(make_request(model_dir=other, settings=few))
    assert replaced.labels == ("access", "money", "parcel")
    with pytest.raises(Refused, match="a head for 3 other labels"):
        tuned(make_request(model_dir=other, settings=few | {"ignore_mismatched_sizes": False}))


def test_a_test_label_that_training_lacks_is_refused_before_training(
    make_request: Maker, write_rows: Callable[..., DataFile], recorder: Any
) -> None:
    test = write_rows([{"text": "hello", "label": "weather"}], "test.jsonl")
    with pytest.raises(Refused, match=r"The test data has labels .*'weather' \(row 1\)"):
        tuned(make_request(test=test), recorder)
    assert "train" not in {phase for phase, *_ in recorder.phases}


@pytest.mark.parametrize("held", ["test", "validation"])
@pytest.mark.parametrize("pairs", ["training", "held"])
def test_pairs_in_one_file_and_single_texts_in_another_are_refused(
    make_request: Maker, write_rows: Callable[..., DataFile], synthetic: Synthetic, held: str, pairs: str
) -> None:
    rows = synthetic(60)
    second = [row | {"sentence2": "why"} for row in rows]
    file = write_rows(second if pairs == "held" else rows, "held.jsonl")
    with pytest.raises(Refused) as caught:
        tuned(make_request(rows if pairs == "held" else second, **{held: file}))
    has, has_not = ("training", held) if pairs == "training" else (held, "training")
    assert caught.value.code == "mixed-pairs"
    assert caught.value.message == f"The {has} data has a sentence2, and the {has_not} data has none."


def test_inputs_in_both_training_and_test_are_counted(
    make_request: Maker, write_rows: Callable[..., DataFile], synthetic: Synthetic, recorder: Any
) -> None:
    rows = synthetic(60)
    test = write_rows([row | {"text": row["text"].upper()} for row in rows[:3]], "test.jsonl")
    tuned(make_request(rows, test=test, validation=None, settings={"max_steps": 1}), recorder)
    assert "3 of 3 test rows have an input that the training rows have too." in recorder.messages


def test_too_few_rows_are_refused(make_request: Maker, synthetic: Synthetic) -> None:
    with pytest.raises(Refused, match="There are 8 rows to train on; at least 10 are needed"):
        tuned(make_request(synthetic(8), validation=None, test=None))


def test_a_task_without_a_recipe_is_refused_by_name(make_request: Maker) -> None:
    with pytest.raises(Refused, match="fill-mask cannot be fine-tuned by this release"):
        tuned(make_request(task="fill-mask"))


def test_a_request_survives_json(make_request: Maker) -> None:
    request = make_request()
    assert FinetuneRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_metric_that_the_validation_rows_give_no_value_is_refused_before_training(
    make_request: Maker, recorder: Any
) -> None:
    with pytest.raises(Refused, match="f1_score_binary"):
        finetune(make_request(settings={"metric_for_best_model": "f1_score_binary"}), recorder, resume=False)
    assert "train" not in {phase for phase, *_ in recorder.phases}


def test_a_label_that_every_row_has_still_has_a_loss() -> None:
    from bedplate_trainers.data import Example, Examples
    from bedplate_trainers.labels import LabelSet
    from bedplate_trainers.recipes.text_classification import make_objective
    from bedplate_trainers.settings import FinetuneSettings

    rows = tuple(Example(n, "text", None, labels) for n, labels in enumerate([("a", "b"), ("a",), ("a",)], 1))
    settings = FinetuneSettings.from_mapping({"class_weights": "balanced"})
    objective = make_objective(Examples(rows, True, False), LabelSet(("a", "b"), True), settings)
    assert objective.weights.min() > 0  # type: ignore[attr-defined]


def test_rows_are_counted_as_they_are_and_not_as_full_batches(make_request: Maker, synthetic: Synthetic) -> None:
    from bedplate_trainers.recipes.text_classification import prepare
    from bedplate_trainers.training import train

    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 256}
    plan = prepare(make_request(synthetic(48), validation=None, test=None, settings=settings), SILENT).plan
    trained = train(plan, SILENT, resume=False)
    assert trained.rows == 96
    assert trained.samples_per_second >= 96 / trained.seconds
