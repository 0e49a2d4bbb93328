"""Scores of answers by the published rules of SQuAD 2.0, case by case."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task
from bedplate_trainers.metrics.question_answering import Predictions, normalize, score, score_what_applies

NAMES = get_task("question-answering").metrics


def of_one(said: str, right: Sequence[str]) -> tuple[float, float]:
    found = score(Predictions([said], [right]), ["exact_match", "f1_score"])
    return found["exact_match"], found["f1_score"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel\tTower.", "eiffel tower"),
        ("an apple a day", "apple day"),
        ("theatre, Anna", "theatre anna"),
        ("U.S.", "us"),
        ("a.b", "ab"),  # punctuation goes first, and leaves no blank
        ("the-end", "theend"),
        ("the", ""),
        ("?!", ""),
        ("«Ärger»", "«ärger»"),  # punctuation is that of ASCII
        ("東京、日本", "東京、日本"),
        ("a\u00a0cat", "cat"),
        ("1,000", "1000"),
    ],
)
def test_answers_are_normalized_as_published(text: str, expected: str) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("said", "right", "expected"),
    [
        ("The Tower!", ["tower"], (100, 100)),
        ("big tower", ["the tower"], (0, 100 * 2 / 3)),
        ("cat cat dog", ["cat dog dog"], (0, 100 * 2 / 3)),  # a word counts as often as both have it
        ("tower", ["house", "a tower", "towers"], (100, 100)),  # the best of several
        ("red tower", ["red house here", "tower"], (0, 100 * 2 / 3)),
        ("house", ["tower"], (0, 0)),
        ("", ["tower"], (0, 0)),
        ("", [], (100, 100)),
        ("tower", [], (0, 0)),
        ("the", [], (100, 100)),  # of which nothing is left: the same as none
        ("", ["the", "?"], (100, 100)),  # answers of which nothing is left
        ("", ["the", "tower"], (0, 0)),  # such an answer does not count beside a real one
        ("tower", "tower", (100, 100)),  # one answer need not be in a list
    ],
)
def test_one_answer_scores_as_published(said: str, right: Sequence[str], expected: tuple[float, float]) -> None:
    assert of_one(said, right) == pytest.approx(expected)


def test_questions_with_and_without_an_answer_have_means_of_their_own() -> None:
    predictions = Predictions(["red tower", "tower", "", "x"], [["tower"], ["tower"], [], []])
    assert score(predictions, NAMES) == pytest.approx(
        {
            "exact_match": 50,
            "f1_score": 100 * (2 / 3 + 1 + 1 + 0) / 4,
            "has_answer_exact_match": 50,
            "has_answer_f1_score": 100 * (2 / 3 + 1) / 2,
            "no_answer_exact_match": 50,
            "no_answer_f1_score": 50,
        }
    )


def test_a_question_whose_answer_is_an_article_has_an_answer() -> None:
    found, missing = score_what_applies(Predictions([""], [["the"]]))
    assert found["has_answer_exact_match"] == 100
    assert set(missing) == {"no_answer_exact_match", "no_answer_f1_score"}


def test_where_no_question_has_an_answer_the_other_part_is_refused_by_name() -> None:
    predictions = Predictions(["", "x"], [[], []])
    found, missing = score_what_applies(predictions)
    assert found == {"exact_match": 50, "f1_score": 50, "no_answer_exact_match": 50, "no_answer_f1_score": 50}
    assert missing["has_answer_f1_score"] == "Every question has no answer."
    with pytest.raises(Refused, match="has_answer_f1_score cannot be computed"):
        score(predictions, ["has_answer_f1_score"])


def test_the_parts_weigh_together_to_the_whole_and_order_changes_nothing() -> None:
    generator = random.Random(0)
    words = ["the", "tower", "Tower.", "red", "å", "東京", ""]
    rows = [
        (" ".join(generator.choices(words, k=2)), [" ".join(generator.choices(words, k=2))] * generator.randint(0, 2))
        for _ in range(300)
    ]
    found = score(Predictions([said for said, _ in rows], [right for _, right in rows]), NAMES)
    there = sum(bool(right) for _, right in rows) / len(rows)
    for name in ("exact_match", "f1_score"):
        parts = there * found[f"has_answer_{name}"] + (1 - there) * found[f"no_answer_{name}"]
        assert found[name] == pytest.approx(parts)
    assert found["exact_match"] <= found["f1_score"]
    generator.shuffle(rows)
    again = score(Predictions([said for said, _ in rows], [right for _, right in rows]), NAMES)
    assert again == pytest.approx(found, abs=1e-12)


def test_no_rows_are_refused() -> None:
    with pytest.raises(Refused, match="exact_match") as refused:
        score(Predictions([], []), ["exact_match"])
    assert refused.value.hint == "There are no rows."


def test_what_is_no_text_is_refused_by_row() -> None:
    with pytest.raises(Refused, match="Row 2 has a predicted answer that is no text: None"):
        Predictions(["", None], [[], []])  # type: ignore[list-item]
    with pytest.raises(Refused, match="Row 1 has a reference that is no text: None"):
        Predictions([""], [None])  # type: ignore[list-item]
