"""SQuAD's nested files are read as flat rows, wherever rows are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.columns import map_columns
from bedplate_registry.datachecks import Table, check_rows
from bedplate_registry.errors import Refused
from bedplate_registry.tables import columns_of, count_rows, read_rows

CONTEXT = "The card was lost in Oslo. It was found in Bergen."
ASKED = {"id": "1", "question": "Where was it lost?", "answers": [{"text": "Oslo", "answer_start": 21}]}
UNKNOWN = {"id": 2, "question": "Who lost it?", "answers": [], "is_impossible": True}


def write(path: Path, *questions: Any, **more: Any) -> Path:
    article = {"title": "Cards", "paragraphs": [{"context": CONTEXT, "qas": list(questions), **more}]}
    path.write_text(json.dumps({"version": "v2.0", "data": [article]}))
    return path


def test_each_question_is_a_row_with_all_its_answers(tmp_path: Path) -> None:
    two = {**ASKED, "answers": [*ASKED["answers"], {"text": "in Oslo", "answer_start": 18}]}  # type: ignore[misc]
    path = write(tmp_path / "squad.json", two, UNKNOWN)
    first, second = read_rows(path, "json")
    assert first == {
        "id": "1",
        "title": "Cards",
        "question": "Where was it lost?",
        "context": CONTEXT,
        "answers": {"text": ["Oslo", "in Oslo"], "answer_start": [21, 18]},
    }
    assert second["answers"] == {"text": [], "answer_start": []}
    assert columns_of(path, "json") == ["id", "title", "question", "context", "answers"]
    assert count_rows(path, "json") == 2
    assert map_columns("question-answering", columns_of(path, "json")).pick(second)["id"] == "2"


def test_titles_ids_and_is_impossible_need_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    bare = {name: value for name, value in ASKED.items() if name != "id"}
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [bare]}]}]}))
    assert columns_of(path, "json") == ["question", "context", "answers"]


def test_the_data_check_sees_the_rows(tmp_path: Path) -> None:
    wrong = {**ASKED, "answers": [{"text": "Oslo", "answer_start": 20}]}
    report = check_rows("question-answering", {}, {"data": Table(write(tmp_path / "s.json", ASKED, wrong), "json")})
    assert [found.rows for found in report.findings if found.code == "answer-mismatch"] == [{"data": [2]}]


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ({"answers": []}, "Article 1, paragraph 1, question 2 has no question"),
        ({"question": "q"}, "question 2 has no answers"),
        ({"question": "q", "answers": {"text": []}}, "question 2 has answers that are no list"),
        ({"question": "q", "answers": [{"text": "a"}]}, "question 2: an answer has no answer_start"),
        ({**ASKED, "is_impossible": True}, "question 2 is_impossible, and has answers"),
        ("q", "question 2 has no question"),
    ],
)
def test_another_layout_is_refused_at_its_place(question: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=what) as caught:
        list(read_rows(write(tmp_path / "squad.json", ASKED, question), "json"))
    assert caught.value.code == "bad-row" and caught.value.hint


def test_an_object_of_another_layout_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"data": [{"text": "a"}]}')
    with pytest.raises(Refused, match="The file holds an object, not a list"):
        list(read_rows(path, "json"))
