"""Real data, where it is beside the checkout.

The 12 rows found in Banking77 and the 15 of WNUT 17 with other tags were read beside those that they repeat, and are
what the findings say: the former differ in blanks and line ends alone. The other figures are what the check counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bedplate_registry.datachecks import Mender, Report, Table, check_rows

FOLDER = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.exists(), reason="the real datasets are not beside this checkout"),
]


def check(task: str, folder: str, columns: Mapping[str, str], **files: str) -> Report:
    paths = {split: FOLDER / folder / file for split, file in files.items()}
    return check_rows(task, columns, {split: Table(path, path.suffix[1:]) for split, path in paths.items()})


def counts(report: Report, *severities: str) -> dict[str, int]:
    return {each.code: each.count for each in report.findings if each.severity in severities}


def flat(source: Path, target: Path) -> Table:
    """The questions of a nested SQuAD file, one a line."""
    with target.open("w") as file:
        for article in json.loads(source.read_text())["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    answers = {part: [each[part] for each in asked["answers"]] for part in ("text", "answer_start")}
                    row = {"question": asked["question"], "context": paragraph["context"], "answers": answers}
                    file.write(json.dumps(row) + "\n")
    return Table(target, "jsonl")


def test_the_234_wrong_offsets_of_covidqa_are_found_and_mended(tmp_path: Path) -> None:
    table = flat(FOLDER / "question_answering" / "covidqa" / "200423_covidQA.json", tmp_path / "covid.jsonl")
    with Mender({"data": table}, tmp_path) as mender:
        before = check_rows("question-answering", {}, {"data": table}, on_row=mender.take)
    assert counts(before, "error") == {"answer-mismatch": 234}
    assert [(change.code, change.count) for change in mender.changes] == [("whitespace", 19), ("answer-mismatch", 234)]
    after = check_rows("question-answering", {}, {"data": Table(mender.paths["data"], "jsonl")})
    assert after.is_good
    assert mender.rows == {"data": 1380}


def test_banking77_has_seven_texts_in_both_splits_and_no_error() -> None:
    columns = {"sentence1": "text", "label": "category"}
    report = check("text-classification", "text_classification/banking77", columns, train="train.csv", test="test.csv")
    assert counts(report, "error", "warning") == {"duplicate": 5, "leak": 7}
    assert report.splits["train"]["label_count"] == 77


def test_wnut17_says_the_same_words_twice_and_tags_some_in_two_ways() -> None:
    files = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
    report = check("token-classification", "token_classification/wnut17", {"tags": "ner_tags"}, **files)
    assert counts(report, "error", "warning") == {"duplicate": 99, "conflicting-labels": 15}


def test_xquad_asks_three_questions_twice_and_has_no_error() -> None:
    files = {"train": "train.jsonl", "test": "test.jsonl"}
    report = check("question-answering", "question_answering/xquad/flat_en", {}, **files)
    assert counts(report, "error", "warning") == {"duplicate": 3}
