"""Rows, labels and splits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bedplate_registry.errors import Refused
from bedplate_trainers.data import Example, Examples, read_examples
from bedplate_trainers.labels import LabelSet, learn_labels, sorted_labels
from bedplate_trainers.messages import DataFile
from bedplate_trainers.splits import overlap, split_off

Writer = Callable[..., DataFile]
UNIQUE = list(itertools.combinations([f"tag {n}" for n in range(43)], 2))[:900]


def examples(rows: list[tuple[str, str]]) -> Examples:
    made = [Example(number, text, None, (label,)) for number, (text, label) in enumerate(rows, 1)]
    return Examples(tuple(made), multi_label=False, is_pairs=False)


def multi_label(rows: list[tuple[str, ...]]) -> Examples:
    made = [Example(number, f"text {number}", None, labels) for number, labels in enumerate(rows, 1)]
    return Examples(tuple(made), multi_label=True, is_pairs=False)


def labels_of(rows: Examples) -> set[str]:
    return {name for row in rows for name in row.labels}


def test_integer_labels_become_names_sorted_as_numbers(write_rows: Writer) -> None:
    rows = [{"sentence1": f"text {n}", "label": n} for n in (10, 2, 1)]
    read = read_examples(write_rows(rows), {}, "The data")
    assert learn_labels([row.labels for row in read], read.multi_label).names == ("1", "2", "10")


def test_class_names_name_integer_labels(write_rows: Writer) -> None:
    rows = [{"sentence1": "a text", "label": 1}, {"sentence1": "another", "label": "0"}]
    read = read_examples(write_rows(rows), {}, "The data", ["anger", "joy"])
    assert [row.labels for row in read] == [("joy",), ("anger",)]


def test_an_integer_beyond_the_class_names_is_refused_by_row(write_rows: Writer) -> None:
    with pytest.raises(Refused, match="row 1 has the label '7'"):
        read_examples(write_rows([{"sentence1": "a text", "label": 7}]), {}, "The data", ["anger", "joy"])


def test_csv_cells_with_lists_make_multi_label_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('sentence1,label\nhello,"[""a"", ""b""]"\nbye,[]\n')
    read = read_examples(DataFile(path, "csv"), {}, "The data")
    assert read.multi_label
    assert [row.labels for row in read] == [("a", "b"), ()]


def test_lists_and_single_labels_in_one_file_are_refused(write_rows: Writer) -> None:
    rows = [{"sentence1": "a", "label": ["x"]}, {"sentence1": "b", "label": "x"}]
    with pytest.raises(Refused, match="in 1 of 2 rows"):
        read_examples(write_rows(rows), {}, "The data")


def test_rows_without_text_or_label_are_refused_by_number(write_rows: Writer) -> None:
    rows = [{"sentence1": "good", "label": "x"}, {"sentence1": " ", "label": "x"}, {"sentence1": "b", "label": None}]
    with pytest.raises(Refused) as caught:
        read_examples(write_rows(rows), {}, "The training data")
    assert "2 rows" in caught.value.message
    assert "row 2 has an empty sentence1" in caught.value.message
    assert "row 3" in caught.value.message


def test_only_the_first_bad_rows_are_listed(write_rows: Writer) -> None:
    rows = [{"sentence1": "", "label": "x"}] * 9
    with pytest.raises(Refused, match=r"9 rows .* row 5 .*and 4 more"):
        read_examples(write_rows(rows), {}, "The training data")


def test_one_column_for_both_sentences_is_refused(write_rows: Writer) -> None:
    file = write_rows([{"text": "a", "label": "x"}])
    with pytest.raises(Refused, match="are both the column 'text'"):
        read_examples(file, {"sentence1": "text", "sentence2": "text"}, "The data")


def test_a_single_label_is_too_few() -> None:
    with pytest.raises(Refused, match="only the label 'x'"):
        learn_labels([("x",), ("x",)], multi_label=False)


def test_labels_are_sorted_as_text_unless_all_are_numbers() -> None:
    assert sorted_labels({"10", "9", "b"}) == ("10", "9", "b")
    assert sorted_labels({"10", "9", "-1"}) == ("-1", "9", "10")


def test_an_unseen_label_is_refused_by_name_and_row() -> None:
    labels = LabelSet(("a", "b"), multi_label=False)
    with pytest.raises(Refused, match=r"'c' \(row 2\)"):
        labels.check([(1, ("a",)), (2, ("c",)), (3, ("c",))], "The test data", "the training data")


def test_a_split_is_the_same_for_the_same_seed_and_differs_for_another() -> None:
    rows = examples([(f"text {n}", "ab"[n % 2]) for n in range(200)])
    first, again, other = (split_off(rows, 0.1, seed, "test").held.rows for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_split_keeps_the_shares_of_the_labels() -> None:
    rows = examples([(f"text {n}", "rare" if n % 10 == 0 else "often") for n in range(1000)])
    held = Counter(row.labels[0] for row in split_off(rows, 0.1, 0, "test").held)
    assert held == {"rare": 10, "often": 90}


def test_many_small_labels_still_give_the_share_asked_for() -> None:
    rows = examples([(f"text {n}", f"label {n % 77}") for n in range(77 * 13)])
    split = split_off(rows, 0.1, 0, "test")
    assert abs(len(split.held) - 100) <= 2
    assert len({row.labels for row in split.train}) == 77


def test_inputs_that_differ_only_in_case_and_blanks_stay_on_one_side() -> None:
    rows = examples([(text, "ab"[n % 2]) for n in range(100) for text in (f"Text {n}", f"text  {n}", f" TEXT {n} ")])
    split = split_off(rows, 0.2, 0, "test")
    assert len(split.held) == 60
    assert overlap(split.held, split.train) == 0


def test_a_label_with_one_row_stays_in_training() -> None:
    rows = examples([("only one", "rare"), *((f"text {n}", "often") for n in range(50))])
    assert "rare" in {row.labels[0] for row in split_off(rows, 0.3, 0, "test").train}


@pytest.mark.parametrize("others", [0, 100])
@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_rows_whose_combinations_of_labels_are_all_different_are_split_by_their_labels(
    others: int, fraction: float
) -> None:
    rows = multi_label([*UNIQUE, *[("A",)] * others])
    split = split_off(rows, fraction, 0, "test")
    assert abs(len(split.held) - fraction * len(rows)) <= 2
    assert abs(sum(row.labels == ("A",) for row in split.held) - fraction * others) <= 2
    assert labels_of(split.train) == labels_of(rows)
    assert len(labels_of(split.held) - {"A"}) >= 40
    assert split_off(rows, fraction, 0, "test") == split
    assert split_off(rows, fraction, 1, "test") != split


def test_labels_with_one_row_each_do_not_drain_the_others() -> None:
    rows = examples([*((f"text {n}", f"label {n}") for n in range(900)), *((f"more {n}", "A") for n in range(100))])
    split = split_off(rows, 0.1, 0, "test")
    assert Counter(row.labels[0] for row in split.held) == {"A": 20}


def test_a_label_with_one_row_is_made_up_for_by_the_others() -> None:
    rows = examples([(f"text {n}", f"label {n}" if n < 50 else "ab"[n % 2]) for n in range(1000)])
    split = split_off(rows, 0.1, 0, "test")
    assert abs(len(split.held) - 100) <= 2


@pytest.mark.parametrize("copies", [1, 2])
def test_labels_with_two_inputs_each_give_the_share_asked_for(copies: int) -> None:
    rows = examples([(f"text {n}", f"label {n // 2}") for n in range(1000) for _ in range(copies)])
    split = split_off(rows, 0.1, 0, "test")
    assert abs(len(split.held) - 100 * copies) <= 2
    assert labels_of(split.train) == labels_of(rows)
    assert overlap(split.held, split.train) == 0


def test_rows_without_any_label_are_split_too() -> None:
    rows = multi_label([()] * 100 + [("A",)] * 100)
    assert Counter(row.labels for row in split_off(rows, 0.1, 0, "test").held) == {(): 10, ("A",): 10}


@pytest.mark.parametrize("seed", range(5))
def test_a_label_that_only_duplicates_with_other_labels_have_stays_in_training(seed: int) -> None:
    twice = [(text, label) for n in range(10) for text, label in ((f"text {n}", "a"), (f"Text {n}", f"odd {n % 5}"))]
    rows = examples(twice + [(f"other {n}", "ab"[n % 2]) for n in range(20)])
    split = split_off(rows, 0.4, seed, "test")
    assert labels_of(split.train) == labels_of(rows)
    assert abs(len(split.held) - 0.4 * len(rows)) <= 3
    assert overlap(split.held, split.train) == 0
