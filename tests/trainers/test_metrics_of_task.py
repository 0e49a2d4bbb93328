"""The registry of metrics, and those of fill-mask. (test_metrics.py loads the `evaluate` modules.)"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import TASKS
from bedplate_trainers.metrics import fill_mask
from bedplate_trainers.metrics.of_task import metrics_of, module_path, signatures_of

MEASURED = [task.name for task in TASKS.values() if task.metrics]
# Predictions and references of the five tasks that can be fine-tuned.
ROWS: dict[str, tuple[list[Any], list[Any]]] = {
    "text-classification": ([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], [0, 1, 1]),
    "token-classification": ([["B-PER", "I-PER"], ["O"]], [["B-PER", "O"], ["O"]]),
    "question-answering": (["the tower", ""], [["tower", "house"], []]),
    "summarization": (["two towers", "a house"], ["the towers", "one house"]),
    "translation": (["two red towers here", "a house"], [["two red towers there", "x"], ["one house"]]),
}


@pytest.mark.parametrize("task", MEASURED)
def test_each_task_has_a_function_for_each_of_its_metrics(task: str) -> None:
    module = metrics_of(task)
    assert set(module.METRICS.functions) == set(TASKS[task].metrics)  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ROWS)
def test_an_unknown_metric_is_refused_by_name_with_the_nearest_before_anything_is_computed(task: str) -> None:
    module = metrics_of(task)
    known = TASKS[task].metrics[0]
    with pytest.raises(Refused, match=f"{task} has no metric 'x{known}'") as refused:
        module.score(module.Predictions(*ROWS[task]), [f"x{known}"])
    assert refused.value.hint == f"Did you mean {known!r}?"


@pytest.mark.parametrize("task", ROWS)
def test_scores_are_floats_by_the_names_asked_for_in_their_order(task: str) -> None:
    module = metrics_of(task)
    names = list(reversed(TASKS[task].metrics))
    found = module.score(module.Predictions(*ROWS[task]), names)
    assert list(found) == names
    assert {type(value) for value in found.values()} == {float}


def test_a_task_without_metrics_and_one_without_a_module_are_refused() -> None:
    with pytest.raises(Refused, match="text-to-image has no metrics"):
        metrics_of("text-to-image")
    with pytest.raises(Refused, match="fill-mask has no evaluate module"):
        module_path("fill-mask")
    with pytest.raises(Refused, match="'sumarization'"):
        metrics_of("sumarization")


def test_only_texts_have_signatures() -> None:
    for task, rows in ROWS.items():
        names = set(signatures_of(task, metrics_of(task).Predictions(*rows)))
        assert names == {"summarization": {"rouge"}, "translation": {"bleu", "chrf"}}.get(task, set())


def test_probabilities_that_are_no_numbers_are_refused_by_row() -> None:
    with pytest.raises(Refused, match="Row 2 has a probability that is not a finite number"):
        metrics_of("text-classification").Predictions([[0.5, 0.5], [math.nan, 0.5]], [0, 1])


def test_no_rows_of_a_classifier_are_refused() -> None:
    module = metrics_of("text-classification")
    found, missing = module.score_what_applies(module.Predictions([], []))
    assert not found
    assert set(missing.values()) == {"There are no rows."}


def test_masks_have_the_scores_counted_by_hand() -> None:
    predictions = fill_mask.Predictions([1, 2, 6, math.inf], np.log([0.5, 0.25, 0.5, 0.25]))
    found = fill_mask.score(predictions, TASKS["fill-mask"].metrics)
    expected = {"top1_accuracy": 1 / 4, "top5_accuracy": 2 / 4, "mrr": (1 + 1 / 2 + 1 / 6) / 4}
    assert found == pytest.approx({**expected, "pseudo_perplexity": 2**1.5})


def test_equal_scores_stand_before_the_right_token() -> None:
    scores = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [1.0, 3.0, 3.0]])
    assert fill_mask.rank(scores, np.array([0, 2, 1])).tolist() == [3, 1, 2]


def test_masks_without_log_probabilities_have_no_pseudo_perplexity_and_bad_ranks_are_refused() -> None:
    found, missing = fill_mask.score_what_applies(fill_mask.Predictions([1]))
    assert found == {"top1_accuracy": 1, "top5_accuracy": 1, "mrr": 1}
    assert missing == {"pseudo_perplexity": "The log-probabilities of the right tokens are not known."}
    impossible = fill_mask.Predictions([1, 1], [-1.0, -math.inf])
    assert fill_mask.score_what_applies(impossible)[1] == {"pseudo_perplexity": "Row 2 has the log-probability -inf."}
    for bad in (0, math.nan):
        with pytest.raises(Refused, match="Row 2 has the rank"):
            fill_mask.Predictions([1, bad])


@pytest.mark.shared_data
def test_yardsticks_of_real_data_come_out_as_they_were_measured(shared_data: Path) -> None:
    """A second summary, a copy of the source, the commonest tag of each word: figures of the data's report."""

    def rows(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (shared_data / name).read_text(encoding="utf-8").splitlines()]

    dialogues = rows("summarization/dialogsum/dialogsum.test.jsonl")
    module = metrics_of("summarization")
    people = module.Predictions([row["summary2"] for row in dialogues], [row["summary1"] for row in dialogues])
    found = module.score(people, ["rouge1", "rouge2", "rougeL"])
    assert found == pytest.approx({"rouge1": 0.5296, "rouge2": 0.2602, "rougeL": 0.4451}, abs=1e-4)

    pairs = [row["translation"] for row in rows("translation/multi30k/test_2016_flickr.jsonl")]
    module = metrics_of("translation")
    copied = module.Predictions([pair["en"] for pair in pairs], [pair["de"] for pair in pairs])
    assert module.score(copied, ["bleu"])["bleu"] == pytest.approx(0.48, abs=0.005)

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows("token_classification/wnut17/train.jsonl"):
        for token, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            counts[token][tag] += 1
    test = rows("token_classification/wnut17/test.jsonl")
    said = [[counts[token].most_common(1)[0][0] if token in counts else "O" for token in row["tokens"]] for row in test]
    module = metrics_of("token-classification")
    found = module.score(
        module.Predictions(said, [row["ner_tags"] for row in test]),
        ["precision_score_micro", "recall_score_micro", "f1_score_micro", "accuracy"],
    )
    assert list(found.values()) == pytest.approx([0.212, 0.035, 0.060, 0.925], abs=5e-4)
