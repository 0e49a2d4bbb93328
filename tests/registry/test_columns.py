"""Which column holds which key."""

from __future__ import annotations

from typing import Any

import pytest

from bedplate_registry.columns import map_columns
from bedplate_registry.errors import Refused

TEXT = "text-classification"


def test_a_column_with_the_keys_own_name_needs_no_mapping() -> None:
    columns = map_columns(TEXT, ["label", "sentence1", "other"])
    assert columns.columns == {"sentence1": "sentence1", "label": "label"}
    assert columns.pick({"sentence1": "hi", "label": 3, "other": 0}) == {"sentence1": "hi", "label": 3}


def test_a_mapping_names_other_columns_and_a_pair() -> None:
    columns = map_columns(TEXT, ["a", "b", "y"], {"sentence1": "a", "sentence2": "b", "label": "y"})
    assert columns.pick({"a": "x", "b": 7, "y": "yes"}) == {"sentence1": "x", "sentence2": "7", "label": "yes"}


def test_scoring_needs_no_label_and_leaves_a_mapped_one_out() -> None:
    columns = map_columns(TEXT, ["a"], {"sentence1": "a", "label": "gone"}, need_label=False)
    assert columns.columns == {"sentence1": "a"} and not columns.has_label


def test_a_dot_reaches_into_objects_and_a_whole_name_with_a_dot_wins() -> None:
    row = {"doc": {"body": {"text": "deep"}}, "label": 1, "doc.title": "whole"}
    pick = lambda column: map_columns(TEXT, list(row), {"sentence1": column}).pick(row)["sentence1"]  # noqa: E731
    assert pick("doc.body.text") == "deep"
    assert pick("doc.title") == "whole"


def test_an_object_in_a_csv_cell_is_reached_into() -> None:
    columns = map_columns(TEXT, ["doc", "label"], {"sentence1": "doc.text"})
    assert columns.pick({"doc": '{"text": "in json"}', "label": "x"})["sentence1"] == "in json"


@pytest.mark.parametrize(
    ("available", "mapping", "code", "hint"),
    [
        (["text", "label"], {}, "missing-column", "--map sentence1=COLUMN"),
        (["text", "label"], {"sentense1": "text"}, "unknown-column-key", "sentence1"),
        (["text", "label"], {"sentence1": "txt"}, "unknown-column", "'text'"),
        (["text"], {"sentence1": "text"}, "missing-column", "text"),
        (["text", "label"], {"sentence1": "txt.body"}, "unknown-column", ""),
    ],
)
def test_what_is_wrong_with_a_mapping_is_named(
    available: list[str], mapping: dict[str, str], code: str, hint: str
) -> None:
    with pytest.raises(Refused) as caught:
        map_columns(TEXT, available, mapping)
    assert caught.value.code == code and hint in caught.value.hint


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(Refused, match="text-clasification") as caught:
        map_columns("text-clasification", ["a"])
    assert TEXT in caught.value.hint


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("card", "card"),
        ("3", "3"),
        (3, 3),
        (3.0, 3),
        (True, "true"),
        ('["a", "b"]', ["a", "b"]),
        (["a", 1], ["a", "1"]),
        ("[brackets", "[brackets"),
        ("[unread]", "[unread]"),
        ("[]", []),
    ],
)
def test_labels_are_texts_integers_or_lists(cell: object, label: object) -> None:
    assert map_columns(TEXT, ["sentence1", "label"]).pick({"sentence1": "x", "label": cell})["label"] == label


@pytest.mark.parametrize(
    "row",
    [
        {"sentence1": None, "label": "x"},
        {"sentence1": ["x"], "label": "x"},
        {"sentence1": float("nan"), "label": "x"},
        {"sentence1": "x", "label": None},
        {"sentence1": "x", "label": ""},
        {"sentence1": "x", "label": 1.5},
        {"sentence1": "x", "label": {}},
        {"sentence1": "x"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_column(row: dict[str, object]) -> None:
    with pytest.raises(Refused, match=r"'(sentence1|label)'") as caught:
        map_columns(TEXT, ["sentence1", "label"]).pick(row)
    assert caught.value.code == "bad-value"


def test_tokens_and_tags_in_csv_are_json_lists() -> None:
    columns = map_columns("token-classification", ["tokens", "tags"])
    assert columns.pick({"tokens": '["a", "b"]', "tags": [0, 1]}) == {"tokens": ["a", "b"], "tags": [0, 1]}
    with pytest.raises(Refused, match="'tokens'"):
        columns.pick({"tokens": "not a list", "tags": []})


def test_answers_may_be_an_object_or_mapped_by_their_parts() -> None:
    task, row = "question-answering", {"q": "who", "c": "ana did", "t": ["ana"], "s": "[0]"}
    mapping = {"question": "q", "context": "c", "answers.text": "t", "answers.answer_start": "s"}
    picked = map_columns(task, list(row), mapping).pick(row)
    assert picked == {"question": "who", "context": "ana did", "answers": {"text": ["ana"], "answer_start": [0]}}
    whole = {"question": "who", "context": "x", "answers": '{"text": [], "answer_start": []}', "id": 7}
    picked = map_columns(task, list(whole)).pick(whole)
    assert picked["answers"] == {"text": [], "answer_start": []} and picked["id"] == "7"
    del mapping["answers.text"]
    with pytest.raises(Refused, match=r"answers\.text"):
        map_columns(task, list(row), mapping)


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("one", "one"),
        (["one", "two"], ["one", "two"]),
        (["one", 2], ["one", "2"]),
        ('["one", "two"]', ["one", "two"]),
        ('["one"]', ["one"]),
        ("[Applause] All rise.", "[Applause] All rise."),
        ("[1, 2]", "[1, 2]"),
        ('["one", ["two"]]', '["one", ["two"]]'),
        ('["one"', '["one"'),
        ('{"de": "eins"}', '{"de": "eins"}'),
    ],
)
def test_a_summary_or_a_translation_may_be_a_list_of_texts(cell: object, texts: object) -> None:
    for task, given, written in (("summarization", "document", "summary"), ("translation", "source", "target")):
        picked = map_columns(task, [given, written]).pick({given: "x", written: cell})
        assert picked == {given: "x", written: texts}


@pytest.mark.parametrize("cell", [[], "[]", [None], ["one", None], ["one", {}], [["one"]], {"de": "eins"}, None])
def test_a_list_that_is_not_all_of_texts_is_refused_by_its_column(cell: object) -> None:
    with pytest.raises(Refused, match="'summary'"):
        map_columns("summarization", ["document", "summary"]).pick({"document": "x", "summary": cell})


def test_other_keys_hold_one_text() -> None:
    with pytest.raises(Refused, match="'document' is list, not a text"):
        map_columns("summarization", ["document", "summary"]).pick({"document": ["a", "b"], "summary": "x"})
    with pytest.raises(Refused, match="no column 'a,b'"):
        map_columns("summarization", ["a", "b", "summary"], {"document": "a,b"})


def test_several_columns_hold_the_texts_of_a_row_and_gaps_are_left_out() -> None:
    mapping = {"document": "dialogue", "summary": "summary1,more.second,rest"}
    columns = map_columns("summarization", ["dialogue", "summary1", "more", "rest"], mapping)
    assert columns.columns == mapping and columns.has_label
    row = {"dialogue": "x", "summary1": "one", "more": {"second": "two"}, "rest": ["three", "four"]}
    assert columns.pick(row)["summary"] == ["one", "two", "three", "four"]
    assert columns.pick({"dialogue": "x", "summary1": None, "more": {}, "rest": '["three"]'})["summary"] == ["three"]
    assert columns.pick({"dialogue": "x", "summary1": " ", "more": {"second": "two"}, "rest": []})["summary"] == ["two"]
    with pytest.raises(Refused, match=r"column 'summary1,more\.second,rest' is empty"):
        columns.pick({"dialogue": "x", "summary1": "", "more": {"second": None}})
    with pytest.raises(Refused, match="column 'rest' is dict, not a text"):
        columns.pick({**row, "rest": {"a": 1}})


def test_scoring_leaves_several_columns_of_a_label_out() -> None:
    columns = map_columns("translation", ["source"], {"target": "one,two"}, need_label=False)
    assert columns.columns == {"source": "source"}


def test_a_column_with_a_comma_in_its_name_is_one_column() -> None:
    row = {"source": "x", "a": "1", "b": "2", "a,b": "3", "o,p": {"q": "4"}}
    for column, text in (("a,b", "3"), ("o,p.q", "4")):
        assert map_columns("translation", list(row), {"target": column}).pick(row)["target"] == text


@pytest.mark.parametrize(
    ("mapped", "message", "hint"),
    [
        ("summary1,sumary2", "no column 'sumary2' .mapped to 'summary'", "'summary2'"),
        ("summary1,", "no column ''", ""),
        ("more.a,moer.b", "no column 'moer.b'", "'more'"),
        ("summary1,summary2,summary1", "'summary1' is mapped to 'summary' twice", "once"),
    ],
)
def test_one_of_several_columns_that_is_wrong_is_named(mapped: str, message: str, hint: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        map_columns("summarization", ["document", "summary1", "summary2", "more"], {"summary": mapped})
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("text-classification", {"sentence1": "x\ud800", "label": "a"}),
        ("text-classification", {"sentence1": "x", "label": ["a", "\udfff"]}),
        ("token-classification", {"tokens": ["x", "\ud800"], "tags": ["O", "O"]}),
        ("question-answering", {"question": "q", "context": "c", "answers": {"text": ["\ud800"], "answer_start": [0]}}),
        ("translation", {"source": "ok", "target": "\ud800"}),
        ("translation", {"source": "ok", "target": ["good", "\ud800"]}),
    ],
)
def test_half_a_surrogate_pair_is_no_text(task: str, row: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="holds half a surrogate pair"):
        map_columns(task, list(row)).pick(row)
