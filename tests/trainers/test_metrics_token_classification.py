"""Entities and their scores against seqeval, against a count by hand, and on tags as they should not be."""

from __future__ import annotations

import random

import numpy as np
import pytest
import seqeval.metrics
from seqeval.scheme import BILOU

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task
from bedplate_trainers.metrics.token_classification import Predictions, entities, score, score_what_applies

NAMES = get_task("token-classification").metrics
SCORED = [name for name in NAMES if name != "accuracy"]


def random_rows(tags: list[str], seed: int, rows: int = 300) -> list[list[str]]:
    lengths = random.Random(0)
    chosen = random.Random(seed)
    return [chosen.choices(tags, k=lengths.randint(0, 9)) for _ in range(rows)]


def by_seqeval(said: list[list[str]], right: list[list[str]], name: str, **how: object) -> float:
    if name == "accuracy":
        return float(seqeval.metrics.accuracy_score(right, said))
    base, _, average = name.rpartition("_")
    return float(getattr(seqeval.metrics, base)(right, said, average=average, zero_division=0, **how))


@pytest.mark.parametrize(
    "tags",
    [
        ["O", "O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-creative-work"],  # I- without B- too
        ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"],
        ["O", "B", "I"],
        ["O", "B-Ö", "I-Ö", "B-人", "I-人", "B-a b", "I-a b"],
    ],
)
def test_every_metric_of_random_tags_is_that_of_seqeval(tags: list[str]) -> None:
    said, right = random_rows(tags, 1), random_rows(tags, 2)
    found = score(Predictions(said, right), NAMES)
    for name in NAMES:
        assert found[name] == pytest.approx(by_seqeval(said, right, name), abs=1e-12), name


def test_bilou_is_what_seqeval_reads_with_that_scheme() -> None:
    pieces = [["O"], ["U-PER"], ["B-PER", "L-PER"], ["B-LOC", "I-LOC", "L-LOC"], ["U-LOC"]]
    generator = random.Random(0)
    right = [[tag for piece in generator.choices(pieces, k=5) for tag in piece] for _ in range(100)]
    # Half of the rows are one entity short, and some have one that is not there.
    lost = {"U-PER": "O", "U-LOC": "O", "O": "U-LOC"}
    said = [[lost.get(tag, tag) for tag in row] if number % 2 else row for number, row in enumerate(right)]
    found = score(Predictions(said, right), SCORED)
    for name in SCORED:
        assert found[name] == pytest.approx(by_seqeval(said, right, name, mode="strict", scheme=BILOU), abs=1e-12), name


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["I-PER", "I-PER"], [("PER", 0, 2)]),
        (["B-PER", "B-PER"], [("PER", 0, 1), ("PER", 1, 2)]),
        (["B-PER", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 2)]),
        (["B-PER", "O", "I-PER"], [("PER", 0, 1), ("PER", 2, 3)]),
        (["B-PER", "I-PER", "E-PER", "E-PER"], [("PER", 0, 3), ("PER", 3, 4)]),
        (["S-PER", "S-PER", "I-PER"], [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        (["B", "M", "E", "S"], [("_", 0, 3), ("_", 3, 4)]),
        (["U-PER", "B-PER", "L-PER"], [("PER", 0, 1), ("PER", 1, 3)]),
        (["PER", "PER", "LOC", "O", "LOC"], [("PER", 0, 2), ("LOC", 2, 3), ("LOC", 4, 5)]),
        (["person-actor", "person-actor"], [("person-actor", 0, 2)]),
    ],
)
def test_entities_of_a_row(tags: list[str], expected: list[tuple[str, int, int]]) -> None:
    assert list(entities(tags)) == expected


def test_scores_are_those_counted_by_hand() -> None:
    # PER: 2 there, 1 found and right. LOC: 1 there, 2 said, 1 right. ORG: said once, not there.
    right = [["B-PER", "I-PER", "O"], ["B-PER", "O"], ["B-LOC", "O", "O"]]
    said = [["B-PER", "I-PER", "O"], ["O", "O"], ["B-LOC", "B-LOC", "B-ORG"]]
    predictions = Predictions(said, right)
    found = score(predictions, NAMES)
    assert found["accuracy"] == 5 / 8
    assert found["precision_score_micro"] == 2 / 4
    assert found["recall_score_micro"] == 2 / 3
    assert found["precision_score_macro"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["recall_score_weighted"] == pytest.approx((2 * 1 / 2 + 1 * 1) / 3)
    assert found["f1_score_macro"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    table = {row.type: (row.precision, row.recall, row.support) for row in predictions.types}
    assert table == {"LOC": (0.5, 1.0, 1), "ORG": (0.0, 0.0, 0), "PER": (1.0, 0.5, 2)}


def test_the_order_of_rows_changes_nothing() -> None:
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    said, right = random_rows(tags, 1), random_rows(tags, 2)
    order = np.random.default_rng(0).permutation(len(said))
    shuffled = Predictions([said[at] for at in order], [right[at] for at in order])
    assert score(shuffled, NAMES) == score(Predictions(said, right), NAMES)


def test_rows_that_are_all_right_score_one() -> None:
    rows = [["B-PER", "I-PER", "O"], ["O"], []]
    assert set(score(Predictions(rows, rows), NAMES).values()) == {1.0}


def test_a_model_that_says_nothing_scores_zero() -> None:
    found = score(Predictions([["O", "O"]], [["B-PER", "O"]]), NAMES)
    assert found == {name: 0.5 if name == "accuracy" else 0.0 for name in NAMES}


def test_rows_without_an_entity_have_accuracy_only_and_the_reason_is_given() -> None:
    found, missing = score_what_applies(Predictions([["O", "B-PER"]], [["O", "O"]]))
    assert found == {"accuracy": 0.5}
    assert set(missing) == set(SCORED)
    assert set(missing.values()) == {"The references have no entity in any row."}
    with pytest.raises(Refused, match="f1_score_micro cannot be computed"):
        score(Predictions([["O"]], [["O"]]), ["accuracy", "f1_score_micro"])


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_nothing_to_score_is_refused_for_every_metric(rows: list[list[str]]) -> None:
    found, missing = score_what_applies(Predictions(rows, rows))
    assert not found
    assert set(missing) == set(NAMES)


def test_a_row_with_too_few_tags_is_named() -> None:
    with pytest.raises(Refused, match="Row 2 has 3 tags, and 2 were predicted"):
        Predictions([["O"], ["O", "O"]], [["O"], ["O", "O", "O"]])


def test_numbers_for_tags_are_refused_by_row() -> None:
    with pytest.raises(Refused, match="Row 1 has a predicted tag that is no text: 3"):
        Predictions([[3]], [["O"]])  # type: ignore[list-item]


def test_fewer_rows_said_than_right_are_refused() -> None:
    with pytest.raises(Refused, match="1 predictions and 2 references"):
        Predictions([["O"]], [["O"], ["O"]])
