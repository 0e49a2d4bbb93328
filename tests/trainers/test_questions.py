"""Rows of questions: every layout gives the same rows, an answer elsewhere is found or refused by row."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_trainers.messages import DataFile
from bedplate_trainers.no_answer import best_threshold
from bedplate_trainers.questions import QuestionRows, RightAnswer, read_questions
from bedplate_trainers.splits import split_off
from question_rows import nested, question_rows

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "question_answering"
CONTEXT = "The card was lost in Oslo, and found in Bergen. Oslo is far."


def lines(path: Path, rows: list[dict[str, Any]]) -> DataFile:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataFile(path, "jsonl")


def one(text: Any, start: Any, **more: Any) -> dict[str, Any]:
    return {"question": "q?", "context": CONTEXT, "answers": {"text": text, "answer_start": start}, **more}


def read(file: DataFile, reporter: Any = SILENT, **columns: str) -> QuestionRows:
    return read_questions(file, columns, "The training data", reporter)


def test_flat_rows_csv_cells_mapped_parts_and_nested_files_are_the_same_rows(tmp_path: Path) -> None:
    rows = question_rows(20, without=0.3)
    flat = read(lines(tmp_path / "flat.jsonl", rows))
    assert flat.without_answer == sum(not row["answers"]["text"] for row in rows) > 0
    (tmp_path / "nested.json").write_text(json.dumps(nested(rows)))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context", "answers"])
        writer.writerows([row["question"], row["context"], json.dumps(row["answers"])] for row in rows)
    parts = [{"q": row["question"], "c": row["context"], "a": row["answers"]} for row in rows]
    mapped = {"question": "q", "context": "c", "answers.text": "a.text", "answers.answer_start": "a.answer_start"}
    assert [*read(DataFile(tmp_path / "nested.json", "json"))] == [*flat]
    assert [*read(DataFile(tmp_path / "rows.csv", "csv"))] == [*flat]
    assert [*read(lines(tmp_path / "parts.jsonl", parts), **mapped)] == [*flat]


def test_an_answer_that_is_elsewhere_but_once_is_taken_from_there_and_counted(tmp_path: Path, recorder: Any) -> None:
    rows = read(lines(tmp_path / "rows.jsonl", [one(["Bergen", "Oslo"], [7, 21]), one(["card"], [4])]), recorder)
    assert rows.rows[0].answers == (RightAnswer("Bergen", CONTEXT.index("Bergen")), RightAnswer("Oslo", 21))
    [message] = recorder.messages
    assert message.startswith("The training data: 1 answers are not at their answer_start.")


def test_where_nothing_learns_from_its_place_the_nearest_of_several_is_taken(tmp_path: Path, recorder: Any) -> None:
    context, file = "a aa a", tmp_path / "rows.jsonl"
    row = {"question": "which?", "context": context, "answers": {"text": ["aa", "a"], "answer_start": [0, 9]}}
    rows = read_questions(lines(file, [row]), {}, "The data", recorder, learns=False)
    assert rows.rows[0].answers == (RightAnswer("aa", 2), RightAnswer("a", 5))
    assert recorder.messages == [
        "The data: 2 answers are not at their answer_start. They are taken from the nearest place."
    ]
    row["answers"]["text"][0] = "b"
    with pytest.raises(Refused, match="is not in the context"):
        read_questions(lines(file, [row]), {}, "The data", recorder, learns=False)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (one(["Oslo"], [20]), "row 2 has the answer 'Oslo', which is in several places, and not at 20"),
        (one(["Paris"], [0]), "row 2 has the answer 'Paris', which is not in the context"),
        (one(["Oslo"], []), "row 2 has 1 texts of answers and 0 starts"),
        (one("Oslo", 21), "row 2 has answers that are not"),
        (one([" "], [3]), "row 2 has the answer ' ', which is no text"),
        (one(["Oslo"], ["21"]), "row 2 has the answer_start '21', which is no whole number"),
        (one([], [], question=" "), "row 2 has an empty question"),
        (one([], [], context=""), "row 2"),
    ],
)
def test_what_cannot_be_learned_is_refused_by_row(row: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=what) as caught:
        read(lines(tmp_path / "rows.jsonl", [one(["Oslo"], [21]), row]))
    assert caught.value.code == "bad-rows"
    if "Oslo', which" in what or "Paris" in what:
        assert "bedplate datasets check --fix" in caught.value.hint


def test_a_split_has_questions_without_an_answer_on_both_sides(tmp_path: Path) -> None:
    rows = read(lines(tmp_path / "rows.jsonl", question_rows(200, without=0.2)))
    split = split_off(rows, 0.2, 1, "test")
    assert split.held.without_answer == pytest.approx(rows.without_answer * 0.2, abs=1)
    assert split.train.without_answer + split.held.without_answer == rows.without_answer


def test_the_threshold_is_where_the_f1_is_best() -> None:
    """A plain search over thresholds between all questions finds none better."""
    differences = [3.0, 2.5, 2.0, 1.0, 1.0, -1.0, -2.0]
    answers = ["a", "b", "oslo now", "c", "d", "e", "f"]
    references = [(), (), ("oslo",), (), ("x",), ("e",), ()]
    found = best_threshold(differences, answers, references)
    assert 1.0 > found > -1.0  # a third "none" is gained at 1.0, which is worth less than half of "oslo now" is lost

    def f1(threshold: float) -> float:
        from bedplate_trainers.metrics.question_answering import Predictions

        said = ["" if value > threshold else answer for value, answer in zip(differences, answers, strict=True)]
        return float(Predictions(said, references).f1_score.mean())

    assert f1(found) == max(f1(step / 4) for step in range(-16, 17))


def test_a_threshold_leaves_all_or_none_unanswered_where_that_is_best() -> None:
    assert best_threshold([5.0, -3.0], ["a", "b"], [("a",), ("b",)]) > 5.0
    assert best_threshold([5.0, -3.0], ["a", "b"], [(), ()]) < -3.0
    assert best_threshold([-5.0, -3.0], ["a", "b"], [("a",), ("b",)]) == 0.0
    assert best_threshold([float("inf"), -3.0], ["", "b"], [(), ("b",)]) > -3.0


@pytest.mark.shared_data
@pytest.mark.skipif(not FOLDER.exists(), reason="the real datasets are not beside this checkout")
def test_xquad_is_the_same_rows_nested_and_flat() -> None:
    whole = read(DataFile(FOLDER / "xquad" / "xquad.en.json", "json"))
    parts = [read(DataFile(FOLDER / "xquad" / "flat_en" / f"{name}.jsonl", "jsonl")) for name in ("train", "test")]
    assert len(whole) == 1190

    def content(rows: Any) -> set[tuple[Any, ...]]:
        return {(row.question, row.context, row.answers) for row in rows}

    assert content(whole) == content([*parts[0], *parts[1]])


@pytest.mark.shared_data
@pytest.mark.skipif(not FOLDER.exists(), reason="the real datasets are not beside this checkout")
def test_the_wrong_offsets_of_covidqa_are_told_and_to_learn_from_those_of_several_places_refused(recorder: Any) -> None:
    file = DataFile(FOLDER / "covidqa" / "200423_covidQA.json", "json")
    with pytest.raises(Refused, match="is in several places") as refused:
        read(file)
    assert "--fix" in refused.value.hint
    rows = read_questions(file, {}, "The data", recorder, learns=False)
    assert len(rows) == 1380
    assert all(row.context[one.start : one.end] == one.text for row in rows for one in row.answers)
    [message] = recorder.messages
    assert message.startswith("The data: 234 answers are not at their answer_start.")
