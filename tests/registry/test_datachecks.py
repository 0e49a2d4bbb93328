"""The data check: each thing it finds in a tiny table, nothing in good data, and repairs that change nothing else."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.columns import map_columns
from bedplate_registry.datachecks import Mender, Report, Table, check_rows
from bedplate_registry.datachecks.codes import CODES
from bedplate_registry.errors import Refused
from bedplate_registry.label_names import is_integer, label_names
from bedplate_registry.tables import read_rows

Rows = list[dict[str, Any]]
TEXTS: Rows = [{"sentence1": f"text {number}", "label": "ab"[number % 2]} for number in range(12)]
TAGS: Rows = [{"tokens": ["I", "am", "in", f"Rome{number}"], "tags": ["O", "O", "O", "B-LOC"]} for number in range(6)]
CONTEXT = "The red fox met the red dog."
QUESTION = {"question": "Who?", "context": CONTEXT}
GOOD_ANSWER = {**QUESTION, "answers": {"text": ["fox"], "answer_start": [8]}}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
GOOD: dict[str, Rows] = {
    "text-classification": TEXTS,
    "token-classification": TAGS,
    "question-answering": [GOOD_ANSWER],
    "summarization": [{"document": "a long and winding text", "summary": "a text"}],
    "translation": [{"source": "good morning", "target": "guten Morgen"}],
    "text-generation": [{"prompt": "once", "completion": "upon a time"}],
    "fill-mask": [{"text": "a red [MASK]", "answer": "fox"}],
    "image-classification": [{"image": f"{number}.png", "label": "ab"[number % 2]} for number in range(12)],
}


def jsonl(folder: Path, name: str, rows: Rows) -> Table:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Table(path, "jsonl")


def check(folder: Path, task: str, splits: Mapping[str, Rows] | Rows, **options: Any) -> Report:
    named = splits if isinstance(splits, Mapping) else {"data": splits}
    return check_rows(task, {}, {name: jsonl(folder, name, rows) for name, rows in named.items()}, **options)


def found(report: Report) -> dict[tuple[str, str | None], dict[str, list[int]]]:
    return {(finding.code, finding.key): finding.rows for finding in report.findings}


@pytest.mark.parametrize("task", GOOD)
def test_good_data_has_no_finding(tmp_path: Path, task: str) -> None:
    report = check(tmp_path, task, GOOD[task])
    assert report.findings == ()
    assert report.is_good
    assert report.splits["data"]["rows"] == len(GOOD[task])


def text(sentence: Any = "another text", label: Any = "a", **more: Any) -> dict[str, Any]:
    return {"sentence1": sentence, "label": label, **more}


def answered(texts: Any, starts: Any) -> dict[str, Any]:
    return {**QUESTION, "question": "What?", "answers": {"text": texts, "answer_start": starts}}


LONGER = ("summary-longer-than-document", "summary")
ROWS: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("text-classification", {"sentence1": "no label"}, "missing-value", "label"),
    ("text-classification", text(None), "empty-value", "sentence1"),
    ("text-classification", text(" \t"), "empty-value", "sentence1"),
    ("text-classification", text(label=" "), "empty-value", "label"),
    ("text-classification", text(["a", "list"]), "wrong-type", "sentence1"),
    ("text-classification", text(label=0.5), "wrong-type", "label"),
    ("text-classification", text(" blanks around "), "whitespace", "sentence1"),
    ("text-classification", text("a bell \x07"), "control-characters", "sentence1"),
    ("text-classification", text("caf\ufffd"), "control-characters", "sentence1"),
    ("text-classification", text("half a \ud83d"), "lone-surrogate", "sentence1"),
    ("text-classification", text(label="b "), "whitespace", "label"),
    ("text-classification", text(label="B"), "label-twins", "label"),
    ("text-classification", text(label="9" * 5000), "rare-label", "label"),
    ("text-classification", text("TEXT  1", "b"), "duplicate", None),
    ("text-classification", text("text 1", "a"), "conflicting-labels", None),
    ("text-classification", text(label="c"), "rare-label", "label"),
    ("text-classification", text(label=["a"]), "mixed-labels", "label"),
    ("text-classification", text(label=3), "mixed-label-types", "label"),
    ("token-classification", {"tokens": [], "tags": []}, "empty-value", "tokens"),
    ("token-classification", {"tokens": [1], "tags": ["O"]}, "wrong-type", "tokens"),
    ("token-classification", {"tokens": ["a", "\ud83d"], "tags": ["O", "O"]}, "lone-surrogate", "tokens"),
    ("token-classification", {"tokens": ["a"], "tags": [None]}, "wrong-type", "tags"),
    ("token-classification", {"tokens": ["a"], "tags": ["b-loc"]}, "label-twins", "tags"),
    ("token-classification", {"tokens": ["a", " "], "tags": ["O", "O"]}, "empty-token", "tokens"),
    ("token-classification", {"tokens": ["a", "b"], "tags": ["O"]}, "length-mismatch", "tags"),
    ("token-classification", {"tokens": ["a", "b"], "tags": ["O", "I-LOC"]}, "bad-bio", "tags"),
    ("token-classification", {"tokens": ["a", "b"], "tags": ["O", "LOC"]}, "unknown-tag", "tags"),
    ("token-classification", {"tokens": ["a", "b"], "tags": ["O", 7]}, "mixed-label-types", "tags"),
    ("question-answering", {**QUESTION, "question": "What?", "answers": ["fox"]}, "wrong-type", "answers"),
    ("question-answering", answered(["fox"], ["8"]), "wrong-type", "answers"),
    ("question-answering", {**GOOD_ANSWER, "question": "What?", "id": ["7"]}, "wrong-type", "id"),
    ("question-answering", answered([""], [0]), "wrong-type", "answers"),
    ("question-answering", answered(["fox"], []), "length-mismatch", "answers"),
    ("question-answering", answered(["dog"], [8]), "answer-mismatch", "answers"),
    ("question-answering", answered(["cat"], [8]), "answer-not-in-context", "answers"),
    ("question-answering", answered([], []), "no-answer", "answers"),
    ("question-answering", {**GOOD_ANSWER, "answers": {"text": ["dog"], "answer_start": [24]}}, "repeated-input", None),
    ("summarization", {"document": "short", "summary": ""}, "empty-value", "summary"),
    ("summarization", {"document": "short", "summary": "much longer"}, "summary-longer-than-document", "summary"),
    ("summarization", {"document": "Short", "summary": "short"}, "copy", "summary"),
    ("translation", {"source": "yes", "target": "n" * 40}, "extreme-ratio", "target"),
    ("summarization", {"document": "short", "summary": ["s", " "]}, "empty-value", "summary"),
    ("summarization", {"document": "short", "summary": ["s", None]}, "empty-value", "summary"),
    ("summarization", {"document": "short", "summary": []}, "empty-value", "summary"),
    ("summarization", {"document": "short", "summary": ["s", ["t"]]}, "wrong-type", "summary"),
    ("summarization", {"document": "short", "summary": ["s", " t", "u "]}, "whitespace", "summary"),
    ("summarization", {"document": "short", "summary": ["s", "much longer", "longer too"]}, *LONGER),
    ("translation", {"source": "one", "target": ["eins", "One"]}, "copy", "target"),
    ("translation", {"source": "one", "target": ["eins\x07", "\x07"]}, "control-characters", "target"),
    ("translation", {"source": "one", "target": ["eins", "\ud83d"]}, "lone-surrogate", "target"),
    ("translation", {"source": "good morning", "target": ["guten Morgen"]}, "duplicate", None),
    ("translation", {"source": "good morning", "target": ["guten Morgen", "Morgen"]}, "repeated-input", None),
    ("text-generation", {"prompt": "say it", "completion": "say it"}, "copy", "completion"),
    ("fill-mask", {"text": "a red fox", "answer": "fox"}, "no-mask", "text"),
    ("image-classification", {"image": "bm90IGFuIGltYWdlIGF0IGFsbA==", "label": "a"}, "not-an-image", "image"),
    ("image-classification", {"image": "", "label": "a"}, "empty-value", "image"),
    ("image-classification", {"image": 5, "label": "a"}, "wrong-type", "image"),
]


@pytest.mark.parametrize(("task", "row", "code", "key"), ROWS)
def test_a_row_is_found_by_its_number_and_nothing_else_is(
    tmp_path: Path, task: str, row: dict[str, Any], code: str, key: str | None
) -> None:
    rows = [*GOOD[task], row]
    report = check(tmp_path, task, rows)
    numbers = {"mixed-labels": []}.get(code, [len(rows)])
    also = {("rare-label", "label"), ("rare-label", "tags")}
    if (code, row.get("label")) == ("whitespace", "b "):
        also.add(("label-twins", "label"))
    assert {at: where for at, where in found(report).items() if at not in also or at == (code, key)} == {
        (code, key): {"data": numbers}
    }
    assert report.is_good == (CODES[code].severity != "error")


def test_a_row_that_cannot_be_read_and_a_file_that_cannot(tmp_path: Path) -> None:
    rows, cut = tmp_path / "rows.csv", tmp_path / "cut.csv"
    good = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(12))
    rows.write_text(f"sentence1,label\n{good}one,two,three\n")
    cut.write_text(f'sentence1,label\n{good}"never closed,a\nx,b\n')
    assert found(check_rows("text-classification", {}, {"data": Table(rows, "csv")})) == {
        ("bad-row", None): {"data": [13]}
    }
    assert found(check_rows("text-classification", {}, {"data": Table(cut, "csv")})) == {
        ("bad-file", None): {"data": [13]}
    }


def test_what_splits_have_in_common_and_what_one_lacks(tmp_path: Path) -> None:
    train = [*TEXTS, text("in the test"), text("in the validation", "b")]
    validation = [text("In the  validation", "b"), text("other", "c")]
    report = check(tmp_path, "text-classification", {"train": train, "validation": validation, "test": [train[12]]})
    assert found(report) == {
        ("leak", None): {"train": [13, 14]},
        ("unseen-label", "label"): {"validation": [2]},
    }
    pairs = [text(sentence2="x")]
    report = check(tmp_path, "text-classification", {"train": TEXTS, "test": pairs})
    assert ("mixed-pairs", "sentence2") in found(report)


def test_labels_that_are_few_uneven_or_far_too_many(tmp_path: Path) -> None:
    assert found(check(tmp_path, "text-classification", [row | {"label": "a"} for row in TEXTS])) == {
        ("too-few-labels", "label"): {"data": []}
    }
    uneven = [text(f"t {number}", "a" if number < 100 else "b") for number in range(105)]
    assert found(check(tmp_path, "text-classification", uneven)) == {("label-imbalance", "label"): {"data": []}}
    ids = [text(f"t {number}", f"id {number}") for number in range(10_001)]
    assert ("too-many-labels", "label") in found(check(tmp_path, "text-classification", ids))


def test_class_names_give_numbers_their_names(tmp_path: Path) -> None:
    rows = [row | {"label": number % 2} for number, row in enumerate(TEXTS)]
    report = check(tmp_path, "text-classification", [*rows, text(label=7)], class_names=["no", "yes"])
    assert found(report) == {("unknown-label", "label"): {"data": [13]}}
    assert report.splits["data"]["labels"] == {"no": 6, "yes": 6}


def test_a_label_or_tag_of_thousands_of_digits_is_no_number_of_a_class(tmp_path: Path) -> None:
    digits = "9" * 5000
    report = check(tmp_path, "text-classification", [*TEXTS, text(label=digits)], class_names=["a", "b"])
    assert found(report) == {("unknown-label", "label"): {"data": [13]}}
    row = {"tokens": ["a"], "tags": [digits]}
    report = check(tmp_path, "token-classification", [*TAGS, row], class_names=["O", "B-LOC"])
    assert found(report) == {("unknown-label", "tags"): {"data": [7]}}
    assert not is_integer(digits)  # what sorts labels by number asks that first
    with pytest.raises(Refused, match=r"has the label '9{80}', which is neither"):
        label_names(digits, ["a"])


def test_lists_of_labels_are_the_same_in_any_order(tmp_path: Path) -> None:
    lists = [text(f"text {number}", ["a", "b"]) for number in range(6)]
    report = check(tmp_path, "text-classification", [*lists, text("text 1", ["b", "a"]), text("text 2", ["a"])])
    assert found(report) == {("duplicate", None): {"data": [7]}, ("conflicting-labels", None): {"data": [8]}}


def test_a_question_needs_no_id(tmp_path: Path) -> None:
    rows = [GOOD_ANSWER | {"id": None}, GOOD_ANSWER | {"id": "", "question": "Which?"}]
    assert found(check(tmp_path, "question-answering", rows)) == {}
    assert map_columns("question-answering", [*rows[0]]).pick(rows[0]) == GOOD_ANSWER


def test_an_empty_file_and_columns_that_are_not_there(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("sentence1,label\n")
    assert ("no-rows", None) in found(check_rows("text-classification", {}, {"data": Table(empty, "csv")}))
    with pytest.raises(Refused, match="no column 'lable'"):
        check_rows("text-classification", {"label": "lable"}, {"data": Table(empty, "csv")})


def test_images_of_a_folder_are_looked_for_in_it_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    (folder / "text.png").write_text("no image")
    (tmp_path / "outside.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    more = [{"image": name, "label": "a"} for name in ("text.png", "gone.png", "../outside.png", "/etc/hostname")]
    table = jsonl(tmp_path, "data", [*GOOD["image-classification"], *more])
    report = check_rows("image-classification", {}, {"data": Table(table.path, "jsonl", folder)})
    assert found(report) == {
        ("missing-image", "image"): {"data": [14, 15, 16]},
        ("not-an-image", "image"): {"data": [13]},
    }
    assert check(
        tmp_path, "image-classification", [row | {"image": PNG} for row in GOOD["image-classification"]]
    ).is_good


class Words:
    """A tokenizer of words, with two special tokens."""

    limit = 6

    def count(self, inputs: Any) -> list[int]:
        return [2 + sum(len(part.split()) for part in ([each] if isinstance(each, str) else each)) for each in inputs]


def test_rows_that_a_model_would_cut_are_counted_with_their_share(tmp_path: Path) -> None:
    rows = [*TEXTS, text("a b c d e f"), text("a b c d")]
    report = check(tmp_path, "text-classification", rows, measure=Words())
    assert found(report) == {("truncated", None): {"data": [13]}}
    assert report.findings[0].message.startswith("1 of 14 rows (7.1%) have more than the 6 tokens")
    assert found(check(tmp_path, "question-answering", [GOOD_ANSWER], measure=Words())) == {
        ("windowed", None): {"data": [1]}
    }


def test_no_tokenizer_gets_what_it_cannot_read(tmp_path: Path) -> None:
    for tokens in ([1, 2], ["a", None], ["a", "\ud83d"]):
        rows = [*TAGS, {"tokens": tokens, "tags": ["O", "O"]}]
        assert found(check(tmp_path, "token-classification", rows, measure=OnlyTexts())).values()


class OnlyTexts(Words):
    def count(self, inputs: Any) -> list[int]:
        for words in inputs:
            " ".join(words).encode()
        return super().count(inputs)


# --- repairs ---


def mend(folder: Path, task: str, splits: Mapping[str, Table], columns: Mapping[str, str] | None = None) -> Mender:
    (folder / "fixed").mkdir(exist_ok=True)
    with Mender(splits, folder / "fixed") as mender:
        check_rows(task, columns or {}, splits, on_row=mender.take)
    return mender


def changes(mender: Mender) -> list[tuple[str, str, str, list[int]]]:
    return [(change.split, change.code, change.action, change.rows) for change in mender.changes]


def test_a_csv_keeps_every_byte_of_the_rows_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    kept = [
        b"\xef\xbb\xbfid,sentence1,label\r\n",
        b'1,"=SUM(1)",a\r\n',
        b'3,"two\r\nlines ""quoted""",b\r\n',
        b"5,last,a",
    ]
    path.write_bytes(
        b"".join(
            [kept[0], kept[1], b"2,,a\r\n", b"\r\n", kept[2], b"4,=sum(1) ,a\r\n", b"x,y\r\n", b"7, =x ,b\r\n", kept[3]]
        )
    )
    mender = mend(tmp_path, "text-classification", {"data": Table(path, "csv")})
    assert changes(mender) == [
        ("data", "bad-row", "dropped", [5]),
        ("data", "empty-value", "dropped", [2]),
        ("data", "whitespace", "changed", [6]),
        ("data", "duplicate", "dropped", [4]),
    ]
    assert mender.paths["data"].read_bytes() == kept[0] + kept[1] + kept[2] + b"7,=x,b\r\n" + kept[3]
    assert mender.rows == {"data": 4}


def test_only_the_mark_in_front_of_the_header_is_no_part_of_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = ["sentence1,label\n", "a ,x\n", '\ufeff"b\n', 'c",y\n', '"\ufeffd\ne",z\n', "last,w\n"]
    path.write_text("\ufeff" + "".join(rows))
    mender = mend(tmp_path, "text-classification", {"data": Table(path, "csv")})
    assert changes(mender) == [("data", "bad-row", "dropped", [2]), ("data", "whitespace", "changed", [1])]
    assert mender.paths["data"].read_text() == "\ufeff" + "".join([rows[0], "a,x\n", *rows[3:]])
    lines = tmp_path / "data.jsonl"
    lines.write_text('\ufeff\n{"sentence1": "a ", "label": "x"}\n{"sentence1": "b", "label": "y"}\n')
    mender = mend(tmp_path, "text-classification", {"data": Table(lines, "jsonl")})
    assert mender.paths["data"].read_text() == '{"sentence1": "a", "label": "x"}\n{"sentence1": "b", "label": "y"}\n'


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_a_repair_keeps_what_only_python_spells(tmp_path: Path, format: str) -> None:
    row = text(" x ", n=float("nan"), far=float("inf"), big=10**30, half="\ud800", word="é")
    path = tmp_path / f"data.{format}"
    path.write_text(json.dumps([row]) if format == "json" else json.dumps(row))
    mender = mend(tmp_path, "text-classification", {"data": Table(path, format)})
    after = mender.paths["data"].read_text()
    wanted = row | {"sentence1": "x"}
    assert json.dumps(json.loads(after)) == json.dumps([wanted] if format == "json" else wanted)
    cell = tmp_path / "cell.csv"
    cell.write_text('tokens,tags\n"[""\\ud800"", ""a""]","[""O"", ""I-X""]"\n')
    mender = mend(tmp_path, "token-classification", {"data": Table(cell, "csv")})
    assert '""B-X""' in mender.paths["data"].read_text()


def test_blanks_around_labels_are_stripped_unless_a_class_has_them(tmp_path: Path) -> None:
    rows = [*TEXTS, text("one", " a"), text("two", "b\n")]
    table = {"data": jsonl(tmp_path, "data", rows)}
    mender = mend(tmp_path, "text-classification", table)
    assert changes(mender) == [("data", "whitespace", "changed", [13, 14])]
    fixed = {"data": Table(mender.paths["data"], "jsonl")}
    assert check_rows("text-classification", {}, fixed).findings == ()
    many = [text(f"text {number}", ["a", "b "]) for number in range(6)]
    mender = mend(tmp_path, "text-classification", {"data": jsonl(tmp_path, "many", many)})
    assert {tuple(row["label"]) for row in read_rows(mender.paths["data"], "jsonl")} == {("a", "b")}
    own = [row | {"label": " x" if row["label"] == "a" else "x"} for row in TEXTS]
    report = check(tmp_path, "text-classification", own, class_names=[" x", "x"])
    assert found(report) == {("label-twins", "label"): {"data": [2]}}


def test_jsonl_keeps_the_spelling_of_what_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = [f'{{"sentence1":  "text {number}",\t"label": {number % 2}, "x": 1e3}}\n' for number in range(12)]
    path.write_text("".join([lines[0], "\n", "not JSON\n", *lines[1:], '{"sentence1": " é ", "label": 1, "x": null}']))
    mender = mend(tmp_path, "text-classification", {"data": Table(path, "jsonl")})
    assert mender.paths["data"].read_text() == "".join([*lines, '{"sentence1": "é", "label": 1, "x": null}'])
    assert changes(mender) == [("data", "bad-row", "dropped", [2]), ("data", "whitespace", "changed", [14])]


@pytest.mark.parametrize("format", ["json", "parquet"])
def test_json_and_parquet_keep_all_values(tmp_path: Path, format: str) -> None:
    rows = [*({**row, "more": [1, {"a": None}], "late": None} for row in TEXTS), text(" x ", "a", more=[], late=3)]
    path = tmp_path / f"data.{format}"
    if format == "json":
        path.write_text(json.dumps(rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kept = [{**row, "more": json.dumps(row["more"])} for row in rows]
        pq.write_table(pa.Table.from_pylist(kept), path)
    mender = mend(tmp_path, "text-classification", {"data": Table(path, format)})
    before, after = [*read_rows(path, format)], [*read_rows(mender.paths["data"], format)]
    assert after == [*before[:-1], {**before[-1], "sentence1": "x"}]


def test_what_the_test_data_has_is_taken_out_of_training_and_the_first_of_doubles_stays(tmp_path: Path) -> None:
    splits = {
        "train": jsonl(tmp_path, "train", [*TEXTS, text("shared"), TEXTS[0]]),
        "test": jsonl(tmp_path, "test", [text("SHARED"), text("only here", "b")]),
    }
    mender = mend(tmp_path, "text-classification", splits)
    assert changes(mender) == [("train", "duplicate", "dropped", [14]), ("train", "leak", "dropped", [13])]
    assert mender.changed_splits == ["train"]
    fixed = {"train": Table(mender.paths["train"], "jsonl"), "test": splits["test"]}
    assert check_rows("text-classification", {}, fixed).findings == ()


def test_a_row_that_goes_does_not_make_the_next_one_a_double(tmp_path: Path) -> None:
    bad = {"tokens": ["a", "b"], "tags": ["O"]}
    table = jsonl(tmp_path, "data", [bad, {"tokens": ["a", "b"], "tags": ["O", "B-LOC"]}])
    mender = mend(tmp_path, "token-classification", {"data": table})
    assert changes(mender) == [("data", "length-mismatch", "dropped", [1])]


def test_bio_is_mended_in_words_and_in_numbers(tmp_path: Path) -> None:
    tags = ["I-LOC", "I-LOC", "O", "B-PER", "I-LOC", "I-LOC"]
    mended = ["B-LOC", "I-LOC", "O", "B-PER", "B-LOC", "I-LOC"]
    names = ["O", "B-LOC", "I-LOC", "B-PER"]
    row = {"tokens": [*"abcdef"], "tags": tags}
    numbers = {"tokens": [*"uvwxyz"], "tags": [names.index(tag) for tag in tags]}
    for each, wanted in ((row, mended), (numbers, [names.index(tag) for tag in mended])):
        with Mender({"data": jsonl(tmp_path, "data", [each])}, tmp_path) as mender:
            table = {"data": Table(tmp_path / "data.jsonl", "jsonl")}
            mender.paths["data"] = tmp_path / "fixed.jsonl"
            check_rows("token-classification", {}, table, class_names=names, on_row=mender.take)
        assert json.loads((tmp_path / "fixed.jsonl").read_text())["tags"] == wanted


def test_answers_are_moved_to_the_nearest_place_or_taken_out(tmp_path: Path) -> None:
    rows = [
        answered(["red"], [15]) | {"answers": {"text": ["red"], "answer_start": [15], "kept": True}},
        answered(["dog", "cat"], [23, 0]) | {"question": "Which?"},
        answered(["cat"], [0]) | {"question": "Where?"},
        answered(["red"], [-4]) | {"question": "When?"},
        answered(["red"], [999]) | {"question": "How?"},
    ]
    mender = mend(tmp_path, "question-answering", {"data": jsonl(tmp_path, "data", rows)})
    after = [row["answers"] for row in read_rows(mender.paths["data"], "jsonl")]
    assert after == [
        {"text": ["red"], "answer_start": [20], "kept": True},
        {"text": ["dog"], "answer_start": [24]},
        {"text": ["red"], "answer_start": [4]},
        {"text": ["red"], "answer_start": [20]},
    ]
    assert changes(mender) == [
        ("data", "answer-mismatch", "changed", [1, 2, 4, 5]),
        ("data", "answer-not-in-context", "changed", [2]),
        ("data", "answer-not-in-context", "dropped", [3]),
    ]
    assert "the nearest of several places" in mender.changes[0].details[0]


def test_mapped_parts_and_cells_of_json_are_mended_in_place(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('question,context,text,start\nWho?,the dog,"[""dog""]",[3]\n')
    columns = {"answers.text": "text", "answers.answer_start": "start"}
    mender = mend(tmp_path, "question-answering", {"data": Table(path, "csv")}, columns)
    assert mender.paths["data"].read_text() == 'question,context,text,start\nWho?,the dog,"[""dog""]",[4]\n'
    nested = jsonl(tmp_path, "nested", [{"t": {"de": " guten Tag", "en": "good day", "fr": " bonjour "}}])
    mender = mend(tmp_path, "translation", {"data": nested}, {"source": "t.en", "target": "t.de"})
    assert json.loads(mender.paths["data"].read_text()) == {
        "t": {"de": "guten Tag", "en": "good day", "fr": " bonjour "}
    }


def test_several_texts_of_a_row_are_mended_each_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('document,a,b,c\nlong and winding,one ,,"["" two"", ""three""]"\nanother one,[one] , ,four\n')
    mender = mend(tmp_path, "summarization", {"data": Table(path, "csv")}, {"summary": "a,b,c"})
    lines = mender.paths["data"].read_text().splitlines()
    assert lines[1:] == ['long and winding,one,,"[""two"", ""three""]"', "another one,[one], ,four"]
    lists = jsonl(
        tmp_path, "lists", [{"source": "one", "target": ["eins ", "ein"]}, {"source": "2", "target": "zwei "}]
    )
    mender = mend(tmp_path, "translation", {"data": lists})
    assert [row["target"] for row in read_rows(mender.paths["data"], "jsonl")] == [["eins", "ein"], "zwei"]


def test_lists_of_texts_stay_lists_in_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"source": "one", "target": ["eins ", "ein"]}, {"source": "2", "target": ["zwei"]}]
    path = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pylist([*rows, {"source": "three", "target": ["drei", ""]}]), path)
    mender = mend(tmp_path, "translation", {"data": Table(path, "parquet")})
    assert pq.read_table(mender.paths["data"]).to_pylist() == [{**rows[0], "target": ["eins", "ein"]}, rows[1]]
    assert changes(mender) == [("data", "empty-value", "dropped", [3]), ("data", "whitespace", "changed", [1])]


def test_the_lengths_of_several_texts_are_those_of_each(tmp_path: Path) -> None:
    rows = [{"source": "one", "target": ["eins", "ein"]}, {"source": "two", "target": "zwei"}]
    assert check(tmp_path, "translation", rows).splits["data"]["lengths"]["target"]["mean"] == 3.7


def test_a_repaired_table_has_nothing_left_that_could_be_repaired(tmp_path: Path) -> None:
    for task in GOOD:
        bad = [row for of, row, _, _ in ROWS if of == task]
        columns = map_columns(task, [*GOOD[task][0]]).columns
        table = {"data": jsonl(tmp_path, task, [*GOOD[task], *bad])}
        mender = mend(tmp_path, task, table, columns)
        left = check_rows(task, columns, {"data": Table(mender.paths["data"], "jsonl")}).findings
        assert [finding.code for finding in left if finding.fixable] == []


# --- size ---


def test_hostile_values_leave_a_report_that_is_short_and_can_be_sent(tmp_path: Path) -> None:
    rows = [text(f"{number}\ud800", f"{'x' * 5000}\ud800{number}") for number in range(200)]
    rows += [text("[" * 5000, {"a": 1}), text(10**400), text("a", ["\udfff"]), {"\ud800": None}]
    sent = json.dumps(check(tmp_path, "text-classification", rows).to_json(), ensure_ascii=False).encode()
    assert len(sent) < 50_000
    starts = [answered(["dog"], [10**30]) | {"question": "How?"}, answered(["dog", None], [True, 1.5])]
    report = check(tmp_path, "question-answering", starts)
    assert {code for code, _ in found(report)} == {"answer-mismatch", "wrong-type"}


def test_what_is_held_of_a_row_does_not_grow_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    with path.open("w") as file:
        for number in range(800):
            file.write(json.dumps(text(f"{number} " * 1000, "ab"[number % 2])) + "\n")
    tracemalloc.start()
    report = check_rows("text-classification", {}, {"data": Table(path, "jsonl")})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.splits["data"]["rows"] == 800
    assert peak < path.stat().st_size / 4
    assert len(json.dumps(report.to_json())) < 20_000


def test_each_code_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "data-check.md").read_text()
    assert [code for code in CODES if f"`{code}`" not in guide] == []
