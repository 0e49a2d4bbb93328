"""Real files with real oddities, where they are beside the checkout. The full runs are benchmarks/finetune.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedplate_trainers.data import read_examples
from bedplate_trainers.labels import learn_labels
from bedplate_trainers.messages import DataFile
from bedplate_trainers.splits import overlap, split_off

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "text_classification"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.exists(), reason="the real datasets are not beside this checkout"),
]


def test_banking77_with_its_line_ends_and_quoted_newlines_is_read_whole() -> None:
    file = DataFile(FOLDER / "banking77" / "train.csv", "csv")
    rows = read_examples(file, {"sentence1": "text", "label": "category"}, "The data")
    assert len(rows) == 10_003
    assert len(learn_labels([row.labels for row in rows], False).names) == 77
    assert sum("\n" in row.text for row in rows) == 10
    split = split_off(rows, 0.1, 42, "validation")
    assert abs(len(split.held) - 1000) <= 2
    assert overlap(split.held, split.train) == 0
    assert len({row.labels for row in split.held}) == 77


def test_tweeteval_emotion_takes_its_class_names() -> None:
    file = DataFile(FOLDER / "tweeteval_emotion" / "train.jsonl", "jsonl")
    rows = read_examples(file, {"sentence1": "text"}, "The data", ["anger", "joy", "optimism", "sadness"])
    assert len(rows) == 3257
    assert {row.labels[0] for row in rows} == {"anger", "joy", "optimism", "sadness"}


def test_sick_pairs_are_read_from_tabs_with_either_line_end() -> None:
    columns = {"sentence1": "sentence_A", "sentence2": "sentence_B", "label": "entailment_judgment"}
    for name, count in (("SICK_train.txt", 4500), ("SICK_test_annotated.txt", 4927)):
        rows = read_examples(DataFile(FOLDER / "sick_pairs" / name, "tsv"), columns, "The data")
        assert len(rows) == count
        assert rows.is_pairs
        assert {row.labels[0] for row in rows} == {"NEUTRAL", "ENTAILMENT", "CONTRADICTION"}
