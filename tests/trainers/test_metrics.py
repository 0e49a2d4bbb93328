"""Metrics against numbers worked out by hand, and intervals against draws of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task
from bedplate_trainers.confidence import wilson
from bedplate_trainers.label_counts import count_labels
from bedplate_trainers.metrics.classification import (
    Predictions,
    applicable,
    classification_metric,
    left_out,
    score,
    score_what_applies,
)
from bedplate_trainers.metrics.of_task import metrics_of, module_path

# Right:   0 0 0 0 0 0 1 1 1 2      said: 0 0 0 0 0 1 1 1 2 2
TARGETS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
CHOSEN = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
THREE = Predictions(np.full((10, 3), 0.1) + 0.7 * np.eye(3)[CHOSEN], TARGETS)
TWO = Predictions(np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2]]), np.array([0, 0, 1, 1]))
# Rows with several labels: sigmoid scores above one half are said.
SEVERAL = Predictions(
    np.array([[0.9, 0.2, 0.1], [0.8, 0.7, 0.4], [0.2, 0.6, 0.3]]), np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0]])
)


def test_metrics_of_three_labels_are_those_worked_out_by_hand() -> None:
    recalls = np.array([5 / 6, 2 / 3, 1.0])
    precisions = np.array([1.0, 2 / 3, 1 / 2])
    f1 = 2 * recalls * precisions / (recalls + precisions)
    weights = np.array([0.6, 0.3, 0.1])
    found = score(THREE, applicable(3, multi_label=False))
    # weighted_accuracy: a right row counts 0.6, 0.3 or 0.1, as its label is frequent.
    right, all_rows = 5 * 0.6 + 2 * 0.3 + 1 * 0.1, 6 * 0.6 + 3 * 0.3 + 1 * 0.1
    expected = {
        "accuracy": 0.8,
        "balanced_accuracy": recalls.mean(),
        "weighted_accuracy": right / all_rows,
        "norm_macro_recall": (recalls.mean() - 1 / 3) / (1 - 1 / 3),
        "log_loss": -(8 * np.log(0.8) + 2 * np.log(0.1)) / 10,
        "f1_score_macro": f1.mean(),
        "f1_score_micro": 0.8,
        "f1_score_weighted": (f1 * weights).sum(),
        "precision_score_macro": precisions.mean(),
        "precision_score_weighted": (precisions * weights).sum(),
        "recall_score_macro": recalls.mean(),
        "recall_score_weighted": 0.8,
        # AUC of a label against the rest, by hand: pairs ordered right, ties one half.
        "AUC_macro": np.mean([(20 + 4 * 0.5) / 24, (2 * 6 + 1 * 6 * 0.5 + 2 * 0.5) / 21, (8 + 0.5) / 9]),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_norm_macro_recall_is_never_below_zero() -> None:
    wrong = Predictions(np.eye(2)[1 - TWO.targets], TWO.targets)
    assert score(wrong, ["norm_macro_recall"]) == {"norm_macro_recall": 0.0}


def test_matthews_correlation_of_two_labels_is_that_worked_out_by_hand() -> None:
    # tp 1, tn 2, fp 0, fn 1
    assert score(TWO, ["matthews_correlation"])["matthews_correlation"] == pytest.approx(2 / np.sqrt(1 * 2 * 2 * 3))


def test_binary_metrics_take_the_second_label_as_positive() -> None:
    found = score(TWO, [name for name in applicable(2, multi_label=False) if name.endswith("_binary")])
    expected = {
        "f1_score_binary": 2 / 3,
        "precision_score_binary": 1.0,
        "recall_score_binary": 0.5,
        "AUC_binary": 3 / 4,
        "average_precision_score_binary": 0.5 * 1 + 0.5 * 2 / 3,
    }
    assert found == pytest.approx(expected)


def test_several_labels_a_row_drop_what_does_not_apply() -> None:
    names = applicable(3, multi_label=True)
    assert not {"matthews_correlation", "weighted_accuracy", "f1_score_binary"} & set(names)
    found = score(SEVERAL, names)
    assert found["accuracy"] == pytest.approx(2 / 3)  # rows with all labels right
    assert found["f1_score_micro"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["f1_score_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_all_names_are_those_of_the_task_and_all_values_are_floats() -> None:
    found, missing = score_what_applies(TWO)
    assert set(found) == set(get_task("text-classification").metrics)
    assert not missing
    assert all(type(value) is float for value in found.values())


def test_a_metric_that_cannot_be_computed_is_refused_by_name() -> None:
    one_label = Predictions(TWO.probabilities, np.zeros(4, dtype=np.int64))
    with pytest.raises(Refused, match="AUC_macro"):
        score(one_label, ["accuracy", "AUC_macro"])
    with pytest.raises(Refused, match="f1_score_binary"):
        score(THREE, ["f1_score_binary"])
    found, missing = score_what_applies(one_label)
    assert found["accuracy"] == 0.75
    assert {"AUC_macro", "norm_macro_recall"} <= set(missing)


def test_a_label_that_the_rows_lack_does_not_spoil_the_auc() -> None:
    wider = Predictions(np.c_[TWO.probabilities, np.zeros(4)], TWO.targets)
    assert score(wider, ["AUC_macro"]) == pytest.approx(score(TWO, ["AUC_macro"]))


def test_the_evaluate_module_gives_the_same_without_the_hub_or_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    metric = classification_metric(labels=3)
    metric.add_batch(predictions=THREE.probabilities[:4].tolist(), references=TARGETS[:4].tolist())
    metric.add_batch(predictions=THREE.probabilities[4:].tolist(), references=TARGETS[4:].tolist())
    assert metric.compute() == pytest.approx(score(THREE, applicable(3, multi_label=False)))
    assert not list(tmp_path.iterdir())


def test_the_evaluate_module_takes_rows_with_several_labels() -> None:
    metric = classification_metric(["f1_score_micro"], labels=3, multi_label=True)
    found = metric.compute(predictions=SEVERAL.probabilities.tolist(), references=SEVERAL.targets.tolist())
    assert found == {"f1_score_micro": pytest.approx(0.75)}


@pytest.fixture(scope="module")
def loaded_from(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder to which `evaluate.load` copies what it loads; by itself it would take one under the home."""
    import evaluate

    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(folder)
        yield folder


@pytest.mark.parametrize(
    ("task", "predictions", "references"),
    [
        ("text-classification", [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], [0, 1, 1]),
        ("token-classification", [["B-PER", "I-PER"], ["O"]], [["B-PER", "O"], ["O"]]),
        ("question-answering", ["the tower", ""], [["tower", "house"], []]),
        ("summarization", ["two towers", "a house"], ["the towers", "one house"]),
        ("translation", ["two red towers here", "a house"], [["two red towers there", "x"], ["one house"]]),
    ],
)
def test_evaluate_loads_the_module_of_a_task_from_its_folder(
    loaded_from: Path, task: str, predictions: list[Any], references: list[Any]
) -> None:
    import evaluate

    metric, module = evaluate.load(module_path(task)), metrics_of(task)
    expected, _ = module.score_what_applies(module.Predictions(predictions, references))
    assert metric.compute(predictions=predictions, references=references) == expected
    metric.add_batch(predictions=predictions[:1], references=references[:1])
    metric.add_batch(predictions=predictions[1:], references=references[1:])
    name = next(iter(expected))
    assert metric.compute(names=[name]) == {name: expected[name]}


def test_a_loaded_module_takes_options_by_name_and_refuses_others(loaded_from: Path) -> None:
    import evaluate

    metric, translation = evaluate.load(module_path("translation"), names=["bleu"]), metrics_of("translation")
    texts: dict[str, Any] = {"predictions": ["two towers"], "references": ["two tower"]}
    expected = translation.score(translation.Predictions(**texts, tokenizer="char"), ["bleu"])
    assert metric.compute(**texts, tokenizer="char") == expected
    with pytest.raises(Refused, match="no option 'tokeniser'") as refused:
        metric.compute(**texts, tokeniser="char")
    assert refused.value.hint == "Did you mean 'tokenizer'?"
    several = evaluate.load(module_path("text-classification"), "multilabel")
    found = several.compute(predictions=[[0.9, 0.8], [0.1, 0.6]], references=[[1, 1], [0, 0]], names=["accuracy"])
    assert found == {"accuracy": 0.5}


def test_intervals_are_those_of_drawing_rows() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, size=400)
    chosen = np.where(generator.random(400) < 0.8, targets, generator.integers(0, 3, size=400))
    found = count_labels(targets, chosen, 3).intervals(draws=2000, seed=1)
    drawn = [np.mean((targets == chosen)[generator.integers(0, 400, size=400)]) for _ in range(2000)]
    assert found["accuracy"] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)
    low, high = found["f1_score_macro"]
    assert low < score(Predictions(np.eye(3)[chosen], targets), ["f1_score_macro"])["f1_score_macro"] < high


def test_labels_that_no_ranking_can_find_are_named() -> None:
    names = tuple(f"label {number}" for number in range(8))
    one_label = Predictions(np.full((4, 8), 0.1), np.full(4, 2), names=names)
    with pytest.raises(Refused) as caught:
        score(one_label, ["AUC_macro"])
    assert caught.value.hint == (
        "Every label is in all of these rows or in none: "
        "'label 0', 'label 1', 'label 2', 'label 3', 'label 4' and 3 more."
    )
    two_of_three = Predictions(np.eye(3)[[0, 1, 0]], np.array([0, 1, 1]), names=("a", "b", "parcel"))
    asked = ["AUC_macro", "AUC_micro", "accuracy", "average_precision_score_weighted"]
    assert left_out(two_of_three, asked) == {name: ["parcel"] for name in (asked[0], asked[3])}
    assert left_out(TWO, asked) == {}


def test_the_positive_label_is_the_one_that_binary_metrics_are_about() -> None:
    names = [name for name in applicable(2, multi_label=False) if name.endswith("_binary")]
    second, first = (score(Predictions(TWO.probabilities, TWO.targets, positive=place), names) for place in (1, 0))
    assert (second["precision_score_binary"], second["recall_score_binary"]) == (1.0, 0.5)
    assert (first["precision_score_binary"], first["recall_score_binary"]) == (pytest.approx(2 / 3), 1.0)
    mirrored = score(Predictions(TWO.probabilities[:, ::-1], 1 - TWO.targets), names)
    assert first == pytest.approx(mirrored)


@pytest.mark.parametrize("labels", [0, 1, 3])
def test_rows_without_any_label_have_an_accuracy_and_nothing_else(labels: int) -> None:
    said = np.zeros((4, labels))
    said[0] = 1.0
    found, missing = score_what_applies(Predictions(said, np.zeros((4, labels), dtype=np.int64)))
    assert found == {"accuracy": 0.75 if labels else 1.0}
    assert missing["f1_score_macro"] == "No row has a label."
    assert missing["AUC_macro"].startswith(
        "Every label is in all of these rows or in none: '0'" if labels else "No row"
    )


def test_a_share_of_rows_has_wilsons_interval() -> None:
    assert wilson(20, 20) == pytest.approx([0.8389, 1.0], abs=1e-4)  # the draws of twenty right rows are all the same
    assert wilson(15, 20) == pytest.approx([0.5313, 0.8881], abs=1e-4)
    right = np.zeros(20, dtype=np.int64)
    found = count_labels(right, right, 2).intervals(100, 0)
    assert found["accuracy"] == found["recall_score_micro"] == wilson(20, 20)


def test_fewer_than_ten_rows_have_no_interval() -> None:
    nine, ten = (count_labels(TARGETS[:rows], CHOSEN[:rows], 3) for rows in (9, 10))
    assert nine.intervals(100, 0) == {} and "accuracy" in ten.intervals(100, 0)
    assert set(nine.difference(nine, 100, 0)["accuracy"]) == {"value", "p_value"}


@pytest.mark.parametrize("many", [False, True])
def test_rankings_are_those_of_scikit_learn(many: bool) -> None:
    generator = np.random.default_rng(4)
    scores = generator.integers(1, 9, (60, 4)) / 8  # many are equal
    targets = generator.integers(0, 2, (60, 4)) if many else generator.integers(0, 4, 60)
    hot = targets if many else np.eye(4, dtype=int)[targets]
    for average in ("macro", "micro", "weighted"):
        found = score(Predictions(scores, targets), [f"AUC_{average}", f"average_precision_score_{average}"])
        expected = (
            sk.roc_auc_score(hot, scores, average=average),
            sk.average_precision_score(hot, scores, average=average),
        )
        assert tuple(found.values()) == pytest.approx(expected)


def test_other_metrics_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    scores = generator.random((60, 4))
    scores[:5] = np.eye(4)[0]  # some are sure, and a few of these wrong
    scores /= scores.sum(axis=1, keepdims=True)
    targets, said = generator.integers(0, 4, 60), scores.argmax(axis=1)
    found = score(Predictions(scores, targets), ["log_loss", "matthews_correlation", "weighted_accuracy"])
    weights = np.bincount(targets)[targets]
    assert found["log_loss"] == pytest.approx(
        sk.log_loss(targets, scores.astype(np.float64), labels=range(4)), rel=1e-6
    )
    assert found["matthews_correlation"] == pytest.approx(sk.matthews_corrcoef(targets, said))
    assert found["weighted_accuracy"] == pytest.approx(sk.accuracy_score(targets, said, sample_weight=weights))


@pytest.mark.parametrize("many", [False, True])
def test_averages_over_labels_are_those_of_scikit_learn(many: bool) -> None:
    generator = np.random.default_rng(7)
    shape = (200, 6) if many else (200,)
    targets, chosen = (generator.integers(0, 2 if many else 5, shape) for _ in range(2))  # of six labels five occur
    found = count_labels(targets, chosen, 6).values
    for name in ("precision_score", "recall_score", "f1_score"):
        for average in ("macro", "micro", "weighted"):
            expected = getattr(sk, name)(targets, chosen, average=average, zero_division=0)
            assert found[f"{name}_{average}"] == pytest.approx(expected), (name, average)
    assert found["accuracy"] == sk.accuracy_score(targets, chosen)
    if not many:
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(targets, chosen))


def test_intervals_are_the_same_for_the_same_seed() -> None:
    counted = count_labels(TARGETS, CHOSEN, 3)
    assert counted.intervals(200, 5) == counted.intervals(200, 5)


def test_a_model_does_not_differ_from_itself() -> None:
    counted = count_labels(TARGETS, CHOSEN, 3)
    apart = counted.difference(counted, 200, 0)
    assert apart["f1_score_macro"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}
    accuracy = apart["accuracy"]  # what has not come in so few rows may come in others
    assert (accuracy["value"], accuracy["p_value"]) == (0, 1) and accuracy["low"] == -accuracy["high"] < 0


def test_a_difference_has_mcnemars_exact_p_value() -> None:
    targets = np.zeros(20, dtype=np.int64)
    mine, other = targets.copy(), targets.copy()
    other[:8] = 1  # wrong in eight rows that the first has right
    mine[19] = 1  # and right in one that the first has wrong
    found = count_labels(targets, mine, 2).difference(count_labels(targets, other, 2), 500, 0)["accuracy"]
    assert found["value"] == pytest.approx(7 / 20)
    assert found["low"] > 0
    assert found["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)
