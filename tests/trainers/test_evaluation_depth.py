"""What a report says beyond its metrics: rows, slices, changes and their chance, curves, calibration, latency."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.testing import tiny_question_answerer, tiny_text_classifier
from bedplate_trainers import influence
from bedplate_trainers.calibration import calibration
from bedplate_trainers.changes import changes
from bedplate_trainers.confidence import Counted, newcombe, wilson
from bedplate_trainers.curves import curves
from bedplate_trainers.data import Example, Examples
from bedplate_trainers.evaluation import EvaluateRequest, examine
from bedplate_trainers.examiners import Setup, class_report, get_examiner, tag_report
from bedplate_trainers.examiners.class_report import Judged
from bedplate_trainers.examiners.writing import Written
from bedplate_trainers.finetune import DataFile, finetune
from bedplate_trainers.influence import influences_of
from bedplate_trainers.judged import RowPrediction
from bedplate_trainers.label_counts import count_labels
from bedplate_trainers.labels import LabelSet
from bedplate_trainers.latency import time_single
from bedplate_trainers.metrics.classification import METRICS, RANKED, Predictions, score_what_applies
from bedplate_trainers.row_predictions import RowFile
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.slice_columns import read_columns
from bedplate_trainers.slices import slices_of
from bedplate_trainers.tagged import TaggedRow, TaggedRows
from bedplate_trainers.text_pairs import TextPair, TextPairs
from question_rows import question_rows

Writer = Callable[..., DataFile]
Synthetic = Callable[..., list[dict[str, Any]]]
LABELS = ("access", "money", "parcel")
COLUMNS = {"sentence1": "text"}


ROW = RowPrediction(1, {"source": "a"}, "b", "c", 0.0, None)


@dataclass
class Scores:
    """Rows that were written, with a score each."""

    rows: list[RowPrediction]
    margin: float = 0.1

    def row_predictions(self) -> Iterator[RowPrediction]:
        return iter(self.rows)


def judged(
    said: list[str], right: list[str], texts: list[str] | None = None, names: tuple[str, ...] = LABELS
) -> Judged:
    """A model that says these labels, each with a probability of 0.8."""
    texts = texts or ["a text"] * len(right)
    rows = tuple(Example(n, text, None, (label,)) for n, (text, label) in enumerate(zip(texts, right, strict=True), 1))
    probabilities = np.full((len(said), len(names)), 0.2 / (len(names) - 1))
    probabilities[np.arange(len(said)), [names.index(label) for label in said]] = 0.8
    return Judged("model", LabelSet(names, False), Examples(rows, False, False), probabilities, 1.0)


def written(texts: list[str], *targets: list[str]) -> Any:
    """Summaries as rows, with as many right ones each as lists are given."""
    pairs = TextPairs(tuple(TextPair(n, "a long text", right) for n, right in enumerate(zip(*targets, strict=True), 1)))
    examiner: Any = get_examiner(Setup("summarization", {}, "cpu", SILENT))
    return examiner.rows_of(Written("summarization", pairs, tuple(texts), 1.0))


# --- rows


def test_a_file_has_every_row_with_what_the_model_said_of_it(
    tmp_path: Path, write_rows: Writer, synthetic: Synthetic
) -> None:
    rows = [row | {"channel": ("mail", None)[n % 2], "score": n} for n, row in enumerate(synthetic(40))]
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    settings = {"slices": ["channel", "score"]}
    request = EvaluateRequest("text-classification", model, write_rows(rows), COLUMNS, settings=settings, device="cpu")
    found = examine(request, SILENT)
    about = found.rows.write(tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    names = ["row", "sentence1", "target", "predicted", "score", "right", "channel", "data.score"]
    assert about == {"rows": 40, "columns": names} and table.column_names == names
    lines = table.to_pylist()
    assert [line["row"] for line in lines] == [*range(1, 41)]
    for line, row in zip(lines, rows, strict=True):
        assert (line["sentence1"], line["target"]) == (row["text"], row["label"])
        assert line["right"] == (line["predicted"] == line["target"]) and 1 / 3 <= line["score"] <= 1
        assert (line["channel"], line["data.score"]) == (row["channel"] or "(none)", str(row["score"]))
    assert np.mean([line["right"] for line in lines]) == pytest.approx(found.report["metrics"]["accuracy"])


def test_of_several_labels_a_row_has_lists_and_is_right_where_all_are(tmp_path: Path) -> None:
    rows = (Example(1, "a", None, ("money", "parcel")), Example(2, "b", None, ()))
    probabilities = np.array([[0.1, 0.9, 0.7], [0.2, 0.6, 0.1]])
    model = Judged("model", LabelSet(LABELS, True), Examples(rows, True, False), probabilities, 1.0)
    RowFile(model, {}).write(tmp_path / "rows.parquet")
    first, second = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert (first["target"], first["predicted"], first["right"]) == (["money", "parcel"], ["money", "parcel"], True)
    assert (second["target"], second["predicted"], second["right"]) == ([], ["money"], False)
    assert (first["score"], second["score"]) == (0.7, 0.6)  # of the decision it was least sure of


def test_a_tagged_row_is_right_in_all_its_words(tmp_path: Path) -> None:
    rows = TaggedRows((TaggedRow(1, ("a", "b"), ("O", "B-X")), TaggedRow(2, ("c",), ("B-X",))))
    model = tag_report.Judged(LabelSet(("O", "B-X"), False), rows, [["O", "O"], ["B-X"]], [[0.9, 0.5], [0.8]], 1.0)
    RowFile(model, {}).write(tmp_path / "rows.parquet")
    lines = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [line["right"] for line in lines] == [False, True]
    assert [line["score"] for line in lines] == [0.5, 0.8]
    assert lines[0]["tokens"] == ["a", "b"] and lines[0]["predicted"] == ["O", "O"]


def test_a_tagger_is_as_sure_of_an_entity_as_of_its_least_sure_word() -> None:
    tags = (("B-X", "I-X", "O", "B-Y"), ("O", "B-X"), ("O",))
    said = [["B-X", "I-X", "O", "B-X"], ["O", "O"], ["O"]]
    sure = [[0.9, 0.75, 0.99, 0.35], [0.6, 0.6], [0.7]]
    rows = TaggedRows(tuple(TaggedRow(n, tuple("word" for _ in row), row) for n, row in enumerate(tags, 1)))
    model = tag_report.Judged(LabelSet(("O", "B-X", "I-X", "B-Y"), False), rows, said, sure, 1.0)
    found = tag_report.make_report(model, EvaluateSettings())["calibration"]
    assert [(one["confidence"], one["accuracy"], one["rows"]) for one in found["bins"]] == [(0.35, 0, 1), (0.75, 1, 1)]
    assert found["expected_calibration_error"] == pytest.approx((0.35 + 0.25) / 2)
    nothing_said = replace(model, tags=[["O"] * len(row) for row in tags])
    assert tag_report.make_report(nothing_said, EvaluateSettings())["calibration"] is None
    untold = replace(model, confidence=None)
    assert tag_report.make_report(untold, EvaluateSettings())["calibration"] is None


def test_a_written_row_has_a_score_and_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    RowFile(written(["one two", "six"], ["one two", "one two"]), {}).write(tmp_path / "rows.parquet")
    lines = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [line["score"] for line in lines] == [1.0, 0.0]
    assert [line["right"] for line in lines] == [None, None]
    assert lines[1]["document"] == "a long text"


# --- against another model


def test_rows_that_one_model_has_right_and_the_other_wrong_are_fixed_or_broken() -> None:
    right = ["money", "access", "parcel", "money"]
    before = judged(["access", "access", "parcel", "parcel"], right)
    after = judged(["money", "access", "money", "access"], right)
    found = changes(before, after, "label")
    assert (found["fixed"], found["broken"]) == (1, 1)
    shared = {"sentence1": "a text"}
    assert found["examples"] == [
        {"row": 1, **shared, "label": "money", "before": "access", "after": "money", "change": "fixed"},
        {"row": 3, **shared, "label": "parcel", "before": "parcel", "after": "money", "change": "broken"},
    ]


def test_many_changes_are_counted_and_fifty_of_each_kind_are_shown() -> None:
    right = ["money"] * 200
    before = judged(["money"] * 80 + ["access"] * 120, right, ["x" * 900] * 200)
    found = changes(before, judged(["access"] * 80 + ["money"] * 120, right, ["x" * 900] * 200), "label")
    assert (found["fixed"], found["broken"], len(found["examples"])) == (120, 80, 100)
    assert max(len(example["sentence1"]) for example in found["examples"]) == 500


def test_a_text_is_fixed_where_its_score_rises_by_a_margin_and_not_by_less() -> None:
    targets = ["one two three four five six seven eight nine ten eleven twelve"] * 3
    words = targets[0].split()
    before = written([" ".join(words[:6]), "zero", " ".join(words)], targets)
    after = written([" ".join(words[:7]), " ".join(words), "zero"], targets)  # 0.67 to 0.74, 0 to 1, 1 to 0
    found = changes(before, after, "target")
    assert [(example["row"], example["change"]) for example in found["examples"]] == [(2, "fixed"), (3, "broken")]


def test_scores_that_differ_by_the_margin_but_for_rounding_count_as_changed() -> None:
    rows = [replace(ROW, score=score) for score in (0.5, 0.4)], [replace(ROW, score=score) for score in (0.6, 0.5)]
    before, after = (Scores(part) for part in rows)
    assert changes(before, after, "target")["fixed"] == 2


def test_figures_that_are_equal_but_for_rounding_count_as_far_apart() -> None:
    """Two of the four exchanges of two rows are as far apart as these are. Perplexities are large."""
    generator, tokens = np.random.default_rng(1), np.array([3.0, 2.0])
    mine, other = (np.column_stack([generator.random(2) * 20 + 20, tokens]) for _ in range(2))
    figures = lambda sums: {"mean": np.exp(sums[:, 0] / sums[:, 1])}  # noqa: E731
    found = Counted.of(mine, figures).difference(Counted.of(other, figures), 0, 0)["mean"]
    assert found["p_value"] == pytest.approx(0.5, abs=0.05)


def test_randomization_finds_the_share_of_all_exchanges() -> None:
    generator = np.random.default_rng(3)
    mine, other = generator.random((9, 1)), generator.random((9, 1)) + 0.2
    gap = mine.mean() - other.mean()
    signs = np.array([*product((1, -1), repeat=9)])
    exact = np.mean(np.abs((signs * (mine - other)[:, 0]).mean(axis=1)) >= abs(gap) - 1e-12)
    figures = lambda sums: {"mean": sums[:, 0] / 9}  # noqa: E731
    found = Counted.of(mine, figures).difference(Counted.of(other, figures), 200, 0)["mean"]
    assert found["value"] == pytest.approx(gap)
    assert found["p_value"] == pytest.approx(exact, abs=0.04)


def test_a_model_that_is_much_better_differs_and_one_that_is_the_same_does_not() -> None:
    right = ["money", "access", "parcel"] * 40
    good, bad = judged(right, right), judged(["money"] * 120, right)
    settings = EvaluateSettings()
    apart = class_report.difference(good, bad, settings)
    assert apart["f1_score_macro"]["p_value"] == pytest.approx(1 / 1001)
    assert apart["accuracy"]["p_value"] < 1e-12
    assert class_report.difference(bad, bad, settings)["f1_score_macro"]["p_value"] == 1.0


def test_without_draws_a_difference_has_a_value_and_a_chance_and_no_interval() -> None:
    right = ["money", "access", "parcel"] * 40
    good, bad = judged(right, right), judged(["money"] * 120, right)
    apart = class_report.difference(good, bad, EvaluateSettings(confidence_draws=0))
    assert all({"value"} <= set(one) <= {"value", "p_value"} for one in apart.values())
    assert apart["accuracy"]["value"] == pytest.approx(2 / 3) and apart["accuracy"]["p_value"] < 1e-12


def test_every_metric_of_both_models_has_a_difference_and_those_asked_for_alone_where_some_are() -> None:
    right = ["money", "access", "parcel"] * 40
    good, bad = judged(right, right), judged(["money"] * 120, right)
    whole = class_report.make_report(good, EvaluateSettings(confidence_draws=50))
    apart = class_report.difference(good, bad, EvaluateSettings(confidence_draws=50))
    assert set(apart) == set(whole["metrics"])
    assert set(apart["AUC_macro"]) == {"value"}  # one ranks all rightly and the other one none
    mixed = judged(["money", "money", *right[2:]], right)
    apart = class_report.difference(mixed, bad, EvaluateSettings(confidence_draws=50))
    assert {name for name, one in apart.items() if {"low", "high", "p_value"} <= one.keys()} == set(apart)
    perfect = {f"{base}_{how}" for base in RANKED for how in ("macro", "micro", "weighted")}  # which draws cannot move
    assert set(whole["confidence"]) == set(apart) - perfect - {"log_loss"}  # its rows are all alike
    settings = EvaluateSettings(metrics=("AUC_macro", "recall_score_weighted"), confidence_draws=50)
    assert list(class_report.make_report(good, settings)["confidence"]) == ["recall_score_weighted"]
    assert list(class_report.make_report(bad, settings)["confidence"]) == ["recall_score_weighted"]
    assert list(class_report.make_report(mixed, settings)["confidence"]) == ["AUC_macro", "recall_score_weighted"]
    assert set(class_report.difference(good, bad, settings)) == {"AUC_macro", "recall_score_weighted"}


def test_what_rows_are_made_of_is_counted_once_and_parts_take_of_it() -> None:
    rows = written(["one two", "six", "one"] * 20, ["one two", "one two", "one two"] * 20)
    assert rows.counted is rows.counted
    places = np.arange(0, 60, 3)
    part, alone = rows.counted.part(places), written(["one two"] * 20, ["one two"] * 20)
    assert part.values == alone.counted.values == dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), 1.0)
    assert part.intervals(50, 0) == alone.counted.intervals(50, 0)


def noisy(targets: Any, share: float, generator: Any) -> Any:
    """Labels that are right with this chance and else one of the two others."""
    wrong = (targets + generator.integers(1, 3, size=len(targets))) % 3
    return np.where(generator.random(len(targets)) < share, targets, wrong)


def test_two_models_that_are_equally_good_are_told_apart_in_one_of_twenty_cases(capsys: Any) -> None:
    generator, pairs = np.random.default_rng(0), 1000
    found = dict.fromkeys(("accuracy", "f1_score_macro", "score"), 0)
    for seed in range(pairs):
        targets = generator.choice(3, 100, p=(0.5, 0.3, 0.2))
        mine, other = (count_labels(targets, noisy(targets, 0.7, generator), 3) for _ in range(2))
        values = mine.difference(other, 0, seed)
        first, second = (
            Counted.of(generator.beta(2, 1, (100, 1)), lambda sums: {"score": sums[:, 0] / 100}) for _ in range(2)
        )
        values |= first.difference(second, 0, seed)
        for name in found:
            found[name] += values[name]["p_value"] < 0.05
    rates = {name: count / pairs for name, count in found.items()}
    with capsys.disabled():
        print(f"\nfalse positives at 5 % over {pairs} pairs of equals: {rates}")
    assert max(rates.values()) <= 0.075
    assert min(rates["f1_score_macro"], rates["score"]) >= 0.03  # a test that never rejects tells nothing


def test_a_95_percent_interval_has_the_true_value_in_about_95_of_100_cases(capsys: Any) -> None:
    generator, sets = np.random.default_rng(1), 1000
    targets = generator.choice(3, 1_000_000, p=(0.5, 0.3, 0.2))
    said = noisy(targets, 0.75, generator)
    truth = {"accuracy": 0.75, "f1_score_macro": sk.f1_score(targets, said, average="macro")}
    inside = dict.fromkeys(truth, 0)
    for seed in range(sets):
        targets = generator.choice(3, 250, p=(0.5, 0.3, 0.2))
        ends = count_labels(targets, noisy(targets, 0.75, generator), 3).intervals(1000, seed)
        for name, value in truth.items():
            inside[name] += ends[name][0] <= value <= ends[name][1]
    rates = {name: count / sets for name, count in inside.items()}
    with capsys.disabled():
        print(f"\ncoverage of the 95 % interval over {sets} sets: {rates}")
    assert all(0.93 <= rate <= 0.97 for rate in rates.values())


@pytest.mark.parametrize(("rows", "share"), [(20, 0.95), (50, 0.98)])
def test_an_interval_of_a_few_rows_that_are_nearly_all_right_has_the_true_value_as_well(
    rows: int, share: float, capsys: Any
) -> None:
    generator, sets, inside = np.random.default_rng(2), 1000, 0
    targets = np.zeros(rows, dtype=np.int64)
    for seed in range(sets):
        low, high = count_labels(targets, noisy(targets, share, generator), 3).intervals(1, seed)["accuracy"]
        inside += low <= share <= high
        assert high - low > 0.05
    with capsys.disabled():
        print(f"\ncoverage of {rows} rows of which {share:.0%} are right: {inside / sets}")
    assert 0.9 <= inside / sets <= 0.98


def ranked(rows: int, generator: Any) -> Predictions:
    """Probabilities of three labels that tell them apart somewhat."""
    targets = generator.choice(3, rows, p=(0.5, 0.3, 0.2))
    return Predictions(fresh(targets, generator), targets)


@pytest.mark.parametrize("many", [False, True])
def test_an_influence_is_how_much_a_metric_of_scikit_learn_changes_with_the_weight_of_a_row(many: bool) -> None:
    drawn = ranked(40, np.random.default_rng(0))
    hot = np.eye(3)[drawn.targets]
    hot[:6] = (1, 1, 0) if many else hot[:6]
    tied = np.round(drawn.probabilities + 0.01, 1)
    found = Predictions(tied, hot) if many else Predictions(tied / tied.sum(axis=1, keepdims=True), drawn.targets)
    metrics = score_what_applies(found)[0]
    for name, of_rows in influences_of(found, metrics).items():
        changed = []
        for row, weight in product(range(40), (1e-5, -1e-5)):
            weights = np.ones(40)
            weights[row] += weight
            changed.append(weighed(name, found, hot, weights))
        slopes = (np.array(changed[::2]) - changed[1::2]) / 2e-5
        assert of_rows == pytest.approx(40 * slopes, abs=1e-6), name
        assert metrics[name] == pytest.approx(weighed(name, found, hot, np.ones(40)))


def weighed(name: str, found: Predictions, hot: Any, weights: Any) -> float:
    """By scikit-learn, which takes a weight for each row."""
    base, _, how = name.rpartition("_")
    if name == "log_loss":
        return float(sk.log_loss(found.targets, found.probabilities, sample_weight=weights))
    metric = {"AUC": sk.roc_auc_score, "average_precision_score": sk.average_precision_score}[base]
    if how == "micro":
        return float(metric(hot.ravel(), found.probabilities.ravel(), sample_weight=np.repeat(weights, 3)))
    each = [metric(hot[:, n], found.probabilities[:, n], sample_weight=weights) for n in range(3)]
    return float(np.average(each, weights=weights @ hot if how == "weighted" else None))


def test_intervals_and_tests_of_rankings_hold_what_they_say(capsys: Any) -> None:
    generator, sets = np.random.default_rng(4), 1000
    names = ("AUC_macro", "AUC_weighted", "AUC_micro", "average_precision_score_macro", "log_loss")
    truth = METRICS.score(ranked(200_000, generator), names)
    inside, apart = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for _ in range(sets):
        one = ranked(120, generator)
        other = replace(one, probabilities=fresh(one.targets, generator))
        figures, others = METRICS.score(one, names), METRICS.score(other, names)
        for name, (low, high) in influence.intervals(one, figures).items():
            inside[name] += low <= truth[name] <= high
        values = {name: figures[name] - others[name] for name in names}
        for name, difference in influence.differences(one, other, values).items():
            apart[name] += difference["p_value"] < 0.05
    coverage, rejected = ({name: count / sets for name, count in counts.items()} for counts in (inside, apart))
    with capsys.disabled():
        print(f"\ncoverage of rankings over {sets} sets: {coverage}\nfalse positives at 5 %: {rejected}")
    assert all(0.92 <= rate <= 0.98 for rate in coverage.values())
    assert all(0.03 <= rate <= 0.08 for rate in rejected.values())


def fresh(targets: Any, generator: Any) -> Any:
    """Probabilities as good as those of `ranked`, of the same rows."""
    scores = np.exp(generator.normal(size=(len(targets), 3)) + 1.5 * np.eye(3)[targets])
    return scores / scores.sum(axis=1, keepdims=True)


def test_the_interval_of_how_far_two_shares_are_apart_is_newcombes() -> None:
    assert newcombe(36, 12, 2, 0) == pytest.approx([0.0569, 0.3404], abs=1e-4)  # an example of his paper
    low, high = wilson(20, 20)
    assert newcombe(20, 0, 0, 0) == pytest.approx([low - high, high - low])  # nothing is known of how they err together
    assert newcombe(4, 3, 9, 4) == pytest.approx([-end for end in reversed(newcombe(4, 9, 3, 4))])


@pytest.mark.parametrize(
    ("rows", "kinds"), [(20, (0.94, 0.03, 0.02)), (50, (0.96, 0.02, 0.01)), (250, (0.6, 0.2, 0.1))]
)
def test_the_interval_of_a_difference_has_the_true_value_also_where_both_are_nearly_always_right(
    rows: int, kinds: tuple[float, float, float], capsys: Any
) -> None:
    generator, pairs, inside = np.random.default_rng(3), 1000, 0
    targets = np.zeros(rows, dtype=np.int64)
    for seed in range(pairs):
        kind = generator.choice(4, rows, p=(*kinds, 1 - sum(kinds)))
        mine, other = (count_labels(targets, 1 - np.isin(kind, right), 3) for right in ([0, 1], [0, 2]))
        apart = mine.difference(other, 1, seed, ("accuracy",))["accuracy"]
        inside += apart["low"] <= kinds[1] - kinds[2] <= apart["high"]
    with capsys.disabled():
        print(f"\ncoverage of the difference of {rows} rows of which both have {kinds[0]:.0%} right: {inside / pairs}")
    assert inside / pairs >= 0.93


# --- labels


def test_a_report_names_the_positive_label_and_takes_another() -> None:
    right = ["no", "yes"] * 10
    said = ["no", "no"] * 5 + right[10:]
    model = judged(said, right, names=("no", "yes"))
    second = class_report.make_report(model, EvaluateSettings(confidence_draws=0))
    other = replace(model, positive=model.labels.positive("no"))
    first = class_report.make_report(other, EvaluateSettings(confidence_draws=0))
    assert (second["positive_label"], first["positive_label"]) == ("yes", "no")
    assert (second["metrics"]["recall_score_binary"], first["metrics"]["recall_score_binary"]) == (0.5, 1.0)
    assert second["metrics"]["accuracy"] == first["metrics"]["accuracy"]
    assert "positive_label" not in class_report.make_report(judged([*LABELS], [*LABELS]), EvaluateSettings())


def test_two_models_that_mean_another_label_have_no_difference_in_binary_metrics() -> None:
    right = ["no", "yes"] * 10
    mine, other = (judged(right, right, names=names) for names in (("no", "yes"), ("yes", "no")))
    assert "f1_score_macro" in class_report.difference(mine, other, EvaluateSettings())
    assert "f1_score_binary" not in class_report.difference(mine, other, EvaluateSettings())
    mine, other = (replace(one, positive=one.labels.positive("yes")) for one in (mine, other))
    assert class_report.difference(mine, other, EvaluateSettings())["f1_score_binary"]["value"] == 0


def test_a_report_says_which_labels_are_left_out_of_a_mean() -> None:
    right = ["money", "access"] * 6
    report = class_report.make_report(judged(right, right), EvaluateSettings(confidence_draws=0))
    means = [f"{base}_{how}" for base in ("AUC", "average_precision_score") for how in ("macro", "weighted")]
    assert report["left_out"] == {name: ["parcel"] for name in means}
    everywhere = judged([*LABELS] * 4, [*LABELS] * 4)
    assert "left_out" not in class_report.make_report(everywhere, EvaluateSettings(confidence_draws=0))


@pytest.mark.parametrize("names", [(), ("money", "parcel")])
def test_lists_of_labels_that_are_all_empty_have_a_report(names: tuple[str, ...], tmp_path: Path) -> None:
    rows = Examples(tuple(Example(n, "text", None, ()) for n in range(1, 13)), True, False)
    model = Judged("predictions", LabelSet(names, True), rows, np.zeros((12, len(names))), 1.0, labels_only=True)
    report = json.loads(json.dumps(class_report.make_report(model, EvaluateSettings()), allow_nan=False))
    assert report["metrics"] == {"accuracy": 1.0} and list(report["confidence"]) == ["accuracy"]
    assert report["not_computed"]["f1_score_macro"] == "No row has a label."
    assert [one["support"] for one in report["classes"]] == [0] * len(names)
    RowFile(model, {}).write(tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist()[0]["predicted"] == []


def test_of_many_labels_the_rarest_stand_together_in_the_confusion_matrix() -> None:
    names = (*(f"label {n:03}" for n in range(300)), "(others)")
    right = [names[n] for n in range(300) for _ in range(1 + (n < 199))]
    report = class_report.make_report(judged([names[0], *right[1:]], right, names=names), EvaluateSettings())
    labels, matrix = report["confusion"]["labels"], np.array(report["confusion"]["matrix"])
    assert labels == [*names[:199], "((others))"] and matrix.shape == (200, 200)
    assert (matrix.sum(), matrix[-1, -1], matrix[0, 0]) == (len(right), 101, 2)
    assert len(report["classes"]) == 301


def test_of_lists_of_labels_a_difference_is_of_what_each_report_says() -> None:
    rows = Examples(tuple(Example(n, "text", None, ("ab"[n % 2],)) for n in range(1, 21)), True, False)
    hot = np.array([[n % 2 == 0, n % 2 == 1] for n in range(1, 21)], dtype=float)
    mine = Judged("model", LabelSet(("a", "b"), True), rows, hot, 1.0)
    other = Judged("model", LabelSet(("a", "b", "c"), True), rows, np.column_stack([hot, np.zeros(20)]), 1.0)
    first, second = (class_report.make_report(one, EvaluateSettings())["metrics"] for one in (mine, other))
    assert (first["f1_score_macro"], second["f1_score_macro"]) == (1.0, pytest.approx(2 / 3))
    for name, apart in class_report.difference(mine, other, EvaluateSettings()).items():
        assert apart["value"] == pytest.approx(first[name] - second[name]), name


# --- slices


def test_a_value_that_is_made_up_is_told_from_a_real_one(write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "x": value} for value in ("(none)", None, "", "b")])
    assert read_columns(data, ["x"]) == {"x": ["(none)", "((none))", "((none))", "b"]}
    values = ["(others)"] * 3 + [f"rare {number}" for number in range(60)]
    right = ["money"] * len(values)
    found = [one for one in slices_of(judged(right, right), EvaluateSettings(), {"x": values}) if one["by"] == "x"]
    assert (found[0]["value"], found[0]["rows"]) == ("(others)", 3)
    assert (found[-1]["value"], found[-1]["rows"]) == ("((others))", 11)


def test_long_values_that_begin_alike_are_apart(write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "x": "y" * 150 + end} for end in ("one", "two", "one")])
    first, second, third = read_columns(data, ["x"])["x"]
    assert first == third != second and max(map(len, (first, second))) == 100
    assert first.startswith("yyy") and "… " in first


def test_a_dot_reaches_into_an_object_unless_a_column_has_the_whole_name(write_rows: Writer, tmp_path: Path) -> None:
    rows = [{"about": {"by": "mail", "who": {"age": 3}}, "a.b": "whole", "a": {"b": "part"}}, {"about": {}, "a": {}}]
    names = ["about.by", "about.who.age", "a.b"]
    found = read_columns(write_rows(rows), names)
    assert [found[name] for name in names] == [["mail", "(none)"], ["3", "(none)"], ["whole", "(none)"]]
    (tmp_path / "cells.csv").write_text('text,about\nx,"{""by"": ""mail""}"\n')
    assert read_columns(DataFile(tmp_path / "cells.csv", "csv"), ["about.by"]) == {"about.by": ["mail"]}
    with pytest.raises(Refused, match=r"No row has 'about\.nobody'"):
        read_columns(write_rows(rows), ["about.nobody"])


def test_a_cell_that_nests_too_deep_to_be_read_has_no_names(write_rows: Writer) -> None:
    data = write_rows([{"about": '{"by":' * 100_000}, {"about": '{"by": "mail"}'}])
    assert read_columns(data, ["about.by"]) == {"about.by": ["(none)", "mail"]}


def test_columns_of_a_file_of_rows_have_names_of_their_own(tmp_path: Path) -> None:
    model = judged([*LABELS], [*LABELS])
    columns = {name: [f"{name} {n}" for n in range(3)] for name in ("target", "data.target", "length")}
    about = RowFile(model, columns).write(tmp_path / "rows.parquet")
    assert about["columns"][-3:] == ["data.data.target", "data.target", "length"]
    line = pq.read_table(tmp_path / "rows.parquet").to_pylist()[0]
    assert (line["data.data.target"], line["data.target"], line["target"]) == ("target 0", "data.target 0", "access")
    assert {one["by"] for one in slices_of(model, EvaluateSettings(), columns)} == {
        "length", "target", "data.target", "data.length"
    }  # fmt: skip


def test_a_slice_has_the_metrics_that_its_rows_have_alone() -> None:
    right = ["money", "access", "parcel", "money", "access"] * 12
    said = ["money"] * 30 + ["access"] * 30
    texts = ["x" * (1 + n % 7) for n in range(60)]
    channels = ["mail"] * 40 + ["chat"] * 20
    whole = judged(said, right, texts)
    found = slices_of(whole, EvaluateSettings(), {"channel": channels})
    [mail, chat] = [one for one in found if one["by"] == "channel"]
    assert (mail["value"], mail["rows"], chat["value"], chat["rows"]) == ("mail", 40, "chat", 20)
    alone = class_report.make_report(judged(said[40:], right[40:]), EvaluateSettings())
    for name in ("accuracy", "f1_score_macro"):
        assert chat["metrics"][name] == pytest.approx(alone["metrics"][name])
        assert chat["confidence"][name] == pytest.approx(alone["confidence"][name])
    lengths = [one for one in found if one["by"] == "length"]
    assert [one["value"] for one in lengths] == ["1 to 2", "3 to 4", "5 to 6", "7"]
    assert sum(one["rows"] for one in lengths) == 60


def test_a_slice_of_few_rows_has_no_interval_and_what_has_no_value_there_is_left_out() -> None:
    right = ["money"] * 5 + ["money", "access"] * 10
    settings = EvaluateSettings(metrics=("accuracy", "AUC_macro"))
    few, many = slices_of(judged(right, right), settings, {"kind": ["few"] * 5 + ["many"] * 20})[::-1][:2]
    assert (few["rows"], few["metrics"], few["confidence"]) == (5, {"accuracy": 1.0}, {})
    assert (many["rows"], many["metrics"]) == (20, {"accuracy": 1.0, "AUC_macro": 1.0})
    assert set(many["confidence"]) == {"accuracy"}


def test_a_column_that_is_called_length_is_beside_the_quartiles() -> None:
    right = ["money"] * 20
    found = slices_of(judged(right, right), EvaluateSettings(), {"length": ["short"] * 20})
    assert [(one["by"], one["value"]) for one in found] == [("length", "6"), ("data.length", "short")]


def test_rare_values_of_a_column_are_one_slice() -> None:
    values = ["common"] * 10 + [f"rare {number}" for number in range(70)]
    right = ["money"] * 80
    found = [one for one in slices_of(judged(right, right), EvaluateSettings(), {"x": values}) if one["by"] == "x"]
    assert (found[0]["value"], found[0]["rows"]) == ("common", 10)
    assert (found[-1]["value"], found[-1]["rows"], len(found)) == ("(others)", 21, 51)


def test_a_slice_without_entities_has_no_f1() -> None:
    rows = TaggedRows((TaggedRow(1, ("a",), ("O",)), TaggedRow(2, ("longer",), ("B-X",))))
    model = tag_report.Judged(LabelSet(("O", "B-X"), False), rows, [["O"], ["B-X"]], [[0.9], [0.9]], 1.0)
    short, long = slices_of(model, EvaluateSettings(), {})
    found = ("f1_score_micro", "precision_score_micro", "recall_score_micro")
    assert (short["metrics"], long["metrics"]) == ({"accuracy": 1.0}, {"accuracy": 1.0, **dict.fromkeys(found, 1.0)})


def test_a_column_that_the_data_lacks_is_refused_with_the_nearest(write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "label": "b", "channel": "mail", "year": 2024, "tags": ["x"]}])
    with pytest.raises(Refused, match="'chanel'") as caught:
        read_columns(data, ["chanel"])
    assert (caught.value.code, caught.value.hint) == ("unknown-column", "Did you mean 'channel'?")
    assert read_columns(data, ["channel", "year", "tags"]) == {"channel": ["mail"], "year": ["2024"], "tags": ['["x"]']}


def test_questions_with_and_without_an_answer_are_slices(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_question_answerer(tmp_path / "model")
    data = write_rows(question_rows(30, without=0.4))
    request = EvaluateRequest("question-answering", model, data, {}, device="cpu", settings={"latency_rows": 5})
    found = examine(request, SILENT)
    report = found.report
    parts = {one["value"]: one for one in report["slices"] if one["by"] == "answer"}
    assert parts["no answer"]["rows"] == report["questions_without_answer"]
    for value, prefix in (("has answer", "has_answer_"), ("no answer", "no_answer_")):
        assert parts[value]["metrics"]["f1_score"] == pytest.approx(report["metrics"][f"{prefix}f1_score"])
    assert sum(one["rows"] for one in report["calibration"]["bins"]) == 30
    assert report["latency"]["rows"] == 5
    assert "curves" not in report
    [note] = report["notes"]  # what the job's log has too
    assert "questions have no answer" in note
    found.rows.write(tmp_path / "rows.parquet")
    lines = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert np.mean([line["score"] for line in lines]) == pytest.approx(report["metrics"]["f1_score"])
    assert 100 * np.mean([line["right"] for line in lines]) == pytest.approx(report["metrics"]["exact_match"])


# --- curves, calibration, latency


def test_curves_are_thinned_and_keep_their_shape() -> None:
    generator = np.random.default_rng(0)
    targets = generator.choice(3, 5000, p=(0.9, 0.09, 0.01))
    raw = generator.random((5000, 3)) + np.eye(3)[targets] * 0.6
    found = curves(Predictions(raw / raw.sum(axis=1, keepdims=True), targets), LABELS)
    assert [one["label"] for one in found["roc"]] == list(LABELS)  # the most frequent first
    for precision_recall, roc in zip(found["precision_recall"], found["roc"], strict=True):
        for one, x, y in (
            (precision_recall, "recall", "precision"),
            (roc, *("false_positive_rate", "true_positive_rate")),
        ):
            assert 10 < len(one[x]) <= 100 and len(one[x]) == len(one[y])
            assert one[x] == sorted(one[x]) and one[x][-1] == 1.0
        area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
        assert area == pytest.approx(roc["area"], abs=0.005)
        steps = np.diff(precision_recall["recall"], prepend=0.0) * precision_recall["precision"]
        assert steps.sum() == pytest.approx(precision_recall["average_precision"], abs=0.02)


def test_a_small_curve_is_whole_and_a_label_that_all_rows_have_has_none() -> None:
    scores = np.array([0.9, 0.6, 0.7, 0.2])
    hot = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]])
    found = curves(Predictions(np.stack([scores] * 3, axis=1), hot), LABELS)
    assert [one["label"] for one in found["roc"]] == ["access"]
    assert found["roc"][0]["area"] == 0.75
    assert found["precision_recall"][0]["precision"] == pytest.approx([1, 1, 0.5, 2 / 3, 0.5], abs=1e-4)
    assert found["precision_recall"][0]["recall"] == [0, 0.5, 0.5, 1, 1]


def test_calibration_is_the_gap_between_what_was_said_and_what_was_right() -> None:
    confidence = np.array([0.95, 0.85, 0.9, 0.1, 0.0, 1.0])
    right = np.array([True, True, False, True, False, False])
    found = calibration(confidence, right)
    bins = {(one["low"], one["high"]): one for one in found["bins"]}
    assert {edges: one["rows"] for edges, one in bins.items()} == {(0.0, 0.1): 2, (0.8, 0.9): 2, (0.9, 1.0): 2}
    assert bins[0.8, 0.9]["confidence"] == pytest.approx(0.875)
    assert bins[0.8, 0.9]["accuracy"] == 0.5
    gaps = 2 * abs(0.05 - 0.5) + 2 * abs(0.875 - 0.5) + 2 * abs(0.975 - 0.5)
    assert found["expected_calibration_error"] == pytest.approx(gaps / 6)


def test_single_rows_are_timed_from_all_parts_of_the_data() -> None:
    asked: list[list[int]] = []
    found = time_single(range(1000), asked.append, 50)
    assert found is not None and found["rows"] == 50
    assert all(len(rows) == 1 for rows in asked)
    assert (asked[1], asked[-1]) == ([0], [980])
    assert 0 <= found["p50_ms"] <= found["p95_ms"]
    assert time_single([1, 2], asked.append, 0) is None


def test_a_fine_tunes_test_report_is_as_deep(make_request: Callable[..., Any]) -> None:
    result = finetune(make_request(settings={"max_steps": 2, "num_train_epochs": 1}), SILENT, resume=False)
    assert result is not None and result.report is not None
    report = json.loads(json.dumps(result.report, allow_nan=False))
    rows = report["data"]["rows"]
    assert sum(one["rows"] for one in report["slices"] if one["by"] == "length") == rows
    assert [one["label"] for one in report["curves"]["roc"]]
    assert sum(one["rows"] for one in report["calibration"]["bins"]) == rows
    assert report["latency"]["rows"] == min(rows, 50)
