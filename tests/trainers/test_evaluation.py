"""Evaluation of models and bases, alone and against each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.testing import tiny_text_classifier
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.finetune import DataFile, finetune

Writer = Callable[..., DataFile]
Synthetic = Callable[..., list[dict[str, Any]]]
COLUMNS = {"sentence1": "text"}
LABELS = ("access", "money", "parcel")


def report_on(model: Path, data: DataFile, reporter: Any = SILENT, **more: Any) -> dict[str, Any]:
    request = EvaluateRequest("text-classification", model, data, COLUMNS, device="cpu", **more)
    return evaluate(EvaluateRequest.from_json(json.loads(json.dumps(request.to_json()))), reporter)


def test_a_tuned_model_is_measured_against_its_base(
    make_request: Callable[..., Any], write_rows: Writer, synthetic: Synthetic, base_dir: Path
) -> None:
    request = make_request(validation=None, test=None)
    finetune(request, SILENT, resume=False)
    data = write_rows(synthetic(150, seed=9), "data.jsonl")
    report = report_on(request.output_dir, data, against_dir=base_dir, train=request.train)
    json.dumps(report)
    assert (report["kind"], report["against"]["kind"]) == ("model", "probe")
    assert report["data"]["rows"] == 150
    assert set(report["baselines"]) == {"majority", "tfidf"}
    low, high = report["confidence"]["accuracy"]
    assert low <= report["metrics"]["accuracy"] <= high
    gap = report["metrics"]["accuracy"] - report["against"]["metrics"]["accuracy"]
    assert report["difference"]["accuracy"]["value"] == pytest.approx(gap)
    assert [entry["label"] for entry in report["classes"]] == list(LABELS)
    assert np.array(report["confusion"]["matrix"]).sum() == 150


def test_a_base_without_training_data_is_refused_with_what_to_do(
    write_rows: Writer, synthetic: Synthetic, base_dir: Path
) -> None:
    with pytest.raises(Refused, match="is a base") as caught:
        report_on(base_dir, write_rows(synthetic(20)))
    assert "--train" in caught.value.hint


def test_a_probe_learns_from_frozen_features(write_rows: Writer, synthetic: Synthetic, base_dir: Path) -> None:
    train, data = write_rows(synthetic(300), "train.jsonl"), write_rows(synthetic(100, seed=3), "data.jsonl")
    report = report_on(base_dir, data, train=train)
    assert report["kind"] == "probe"
    assert report["metrics"]["accuracy"] > report["baselines"]["majority"]["accuracy"]


def test_wrong_rows_come_surest_first_with_their_row_numbers(
    tmp_path: Path, write_rows: Writer, synthetic: Synthetic
) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    rows = synthetic(80)
    report = report_on(model, write_rows(rows))
    worst = report["worst"]
    assert len(worst) == min(20, 80 - round(80 * report["metrics"]["accuracy"]))
    assert [row["confidence"] for row in worst] == sorted((row["confidence"] for row in worst), reverse=True)
    for row in worst:
        assert row["text"] == rows[row["row"] - 1]["text"]
        assert row["label"] == rows[row["row"] - 1]["label"] != row["predicted"]


def test_labels_the_model_does_not_have_are_refused_by_name(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model")
    with pytest.raises(Refused, match=r"'neutral' \(row 2\)"):
        report_on(model, write_rows([{"text": "a", "label": "positive"}, {"text": "b", "label": "neutral"}]))


def test_integer_labels_stand_for_the_models_labels_in_order(tmp_path: Path, write_rows: Writer, recorder: Any) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=("no", "yes"))
    rows = [{"text": "good phone", "label": 0}, {"text": "bad app", "label": 1}]
    named = [row | {"label": ("no", "yes")[row["label"]]} for row in rows]
    names = report_on(model, write_rows(named, "b.jsonl"), recorder)
    assert recorder.messages == []
    numbers = report_on(model, write_rows(rows, "a.jsonl"), recorder)
    assert numbers["metrics"] == names["metrics"]
    assert recorder.messages == ["The data numbers its labels; the model's names were taken in order: 0 no, 1 yes."]


def test_numbers_that_do_not_count_from_zero_are_refused_unless_they_are_named(
    tmp_path: Path, write_rows: Writer
) -> None:
    stars = ("awful", "bad", "fair", "good", "great")
    model = tiny_text_classifier(tmp_path / "model", labels=stars)
    ratings = write_rows([{"text": f"phone {n}", "label": n} for n in (1, 2, 3, 4)])
    with pytest.raises(Refused, match=r"The data has the labels 1, 2, 3, 4 and no 0") as caught:
        report_on(model, ratings)
    assert caught.value.code == "unknown-label"
    assert "awful, bad, fair, good, great" in caught.value.hint
    report = report_on(model, ratings, settings={"class_names": stars})
    assert [entry["support"] for entry in report["classes"]] == [0, 1, 1, 1, 1]


def test_two_models_with_different_labels_are_compared_by_name(
    tmp_path: Path, write_rows: Writer, synthetic: Synthetic
) -> None:
    first = tiny_text_classifier(tmp_path / "first", labels=LABELS)
    second = tiny_text_classifier(tmp_path / "second", labels=("weather", "parcel", "money", "access"), seed=1)
    report = report_on(first, write_rows(synthetic(100)), against_dir=second)
    gap = report["metrics"]["accuracy"] - report["against"]["metrics"]["accuracy"]
    assert report["difference"]["accuracy"]["value"] == pytest.approx(gap)
    assert report["baselines"] == {}


def test_a_positive_label_that_cannot_be_is_refused_before_a_row_is_scored(
    tmp_path: Path, write_rows: Writer, synthetic: Synthetic, recorder: Any
) -> None:
    rows = [{"text": "good phone", "label": "yes"}, {"text": "bad app", "label": "no"}]
    model = tiny_text_classifier(tmp_path / "model", labels=("no", "yes"))
    with pytest.raises(Refused, match="no label 'yess', which positive_label") as caught:
        report_on(model, write_rows(rows), recorder, settings={"positive_label": "yess"})
    assert caught.value.hint == "Did you mean 'yes'?"
    model = tiny_text_classifier(tmp_path / "three", labels=LABELS)
    with pytest.raises(Refused, match="of 3 labels none is the positive one"):
        report_on(model, write_rows(synthetic(30), "three.jsonl"), recorder, settings={"positive_label": "money"})
    assert {phase for phase, *_ in recorder.phases} == {"load"}
    two = report_on(tmp_path / "model", write_rows(rows), settings={"positive_label": "no"})
    assert two["positive_label"] == "no"


def test_only_the_metrics_asked_for_are_reported(tmp_path: Path, write_rows: Writer, synthetic: Synthetic) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    report = report_on(model, write_rows(synthetic(30)), settings={"metrics": ["log_loss"], "confidence_draws": 0})
    assert list(report["metrics"]) == ["log_loss"]
    assert report["confidence"] == {}


def test_a_metric_asked_for_that_cannot_be_computed_fails_the_evaluation(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    with pytest.raises(Refused, match="AUC_macro"):
        report_on(model, write_rows([{"text": "a", "label": "money"}] * 3), settings={"metrics": ["AUC_macro"]})


def test_multi_label_data_for_a_single_label_model_is_refused(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    with pytest.raises(Refused, match="a list of labels a row"):
        report_on(model, write_rows([{"text": "a", "label": ["money"]}]))


def test_baselines_learn_from_numbers_where_the_model_has_names(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=("no", "yes"))
    numbered = [{"text": f"{('bad', 'good')[n % 2]} phone {n}", "label": n % 2} for n in range(20)]
    named = [{"text": row["text"], "label": ("no", "yes")[n % 2]} for n, row in enumerate(numbered)]
    train = write_rows(numbered, "train.jsonl")
    for data in (write_rows(numbered, "numbers.jsonl"), write_rows(named, "names.jsonl")):
        assert report_on(model, data, train=train)["baselines"]["tfidf"]["accuracy"] == 1.0


@pytest.mark.parametrize("many", [False, True])
def test_a_label_that_only_the_tested_rows_have_counts_against_the_baselines(
    tmp_path: Path, write_rows: Writer, many: bool
) -> None:
    def row(text: str, label: str) -> dict[str, Any]:
        return {"text": text, "label": [label] if many else label}

    model = tiny_text_classifier(tmp_path / "model", labels=LABELS, multi_label=many)
    train = [row(f"login {n}", "access") for n in range(12)] + [row(f"invoice {n}", "money") for n in range(10)]
    data = [row("login 3", "access"), row("invoice 4", "money"), row("late 1", "parcel"), row("late 2", "parcel")]
    report = report_on(model, write_rows(data, "data.jsonl"), train=write_rows(train, "train.jsonl"))
    assert report["baselines"]["majority"]["accuracy"] == 0.25
    assert report["baselines"]["tfidf"]["accuracy"] == 0.5


def test_training_data_with_lists_beside_data_with_single_labels_is_refused(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    data = write_rows([{"text": "login", "label": "access"}], "data.jsonl")
    train = write_rows([{"text": "a", "label": ["money"]}, {"text": "b", "label": ["access"]}], "train.jsonl")
    with pytest.raises(Refused, match="The training data has a list of labels a row"):
        report_on(model, data, train=train)


def test_a_probe_that_learns_from_pairs_is_not_asked_about_single_texts(
    write_rows: Writer, synthetic: Synthetic, base_dir: Path
) -> None:
    train = write_rows([row | {"sentence2": "why"} for row in synthetic(30)], "train.jsonl")
    with pytest.raises(Refused, match="The training data has a sentence2, and the data has none") as caught:
        report_on(base_dir, write_rows(synthetic(10), "data.jsonl"), train=train)
    assert caught.value.code == "mixed-pairs"
