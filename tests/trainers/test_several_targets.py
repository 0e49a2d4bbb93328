"""Rows with several right texts: any of them is right where a model is judged, and the first is what it learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.testing import seq2seq
from bedplate_trainers.evaluation import EvaluateRequest, examine
from bedplate_trainers.examiners import Setup, get_examiner
from bedplate_trainers.finetune import DataFile, FinetuneRequest, finetune
from bedplate_trainers.recipes import translation
from bedplate_trainers.text_pairs import read_text_pairs

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

Writer = Callable[..., DataFile]
# The numbers of right texts differ, and of the first row it is the second that is about as long as what was said.
SAID = ["the red fox met a dog", "two cats sat on the old mat today", "it rains"]
RIGHT = [
    ["a fox", "the red fox met a small dog", "a red fox met a dog that was as small and friendly as it"],
    ["two cats sat on the mat that was old today and slept"],
    ["rain", "it is raining here", "it rains again"],
]
MANY = {"source": "x", "target": ["one", "two"]}


def rows_of(keys: tuple[str, str], right: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(keys, (f"a text of number {n}", texts), strict=True)) for n, texts in enumerate(right)]


def lines(path: Path, said: list[str]) -> DataFile:
    path.write_text("\n".join(said) + "\n", encoding="utf-8")
    return DataFile(path, "txt")


@pytest.fixture
def judged(tmp_path: Path, write_rows: Writer) -> Callable[..., Any]:
    """What an evaluation makes of predictions."""

    def made(task: str, rows: list[dict[str, Any]], said: list[str], **more: Any) -> Any:
        given = {"columns": {}, "device": "cpu", "predictions": lines(tmp_path / "said.txt", said), **more}
        return examine(EvaluateRequest(task, None, write_rows(rows, "right.jsonl"), **given), SILENT)

    return made


# --- reading


def test_a_list_and_several_columns_are_read_alike(write_rows: Writer, tmp_path: Path) -> None:
    listed = write_rows([{"document": "x", "summary": ["one", "two"]}, {"document": "y", "summary": "one"}])
    beside = write_rows([{"document": "x", "a": "one", "b": "two"}, {"document": "y", "b": "one"}], "beside.jsonl")
    (tmp_path / "cells.csv").write_text('document,summary\nx,"[""one"", ""two""]"\ny,one\n')
    cells = DataFile(tmp_path / "cells.csv", "csv")
    for file, columns in ((listed, {}), (beside, {"summary": "a,b"}), (cells, {})):
        rows = read_text_pairs(file, "summarization", columns, "The data")
        assert [row.targets for row in rows] == [("one", "two"), ("one",)]
        assert [row.target for row in rows] == ["one", "one"] and rows.with_several == 1


def test_an_empty_text_among_several_is_refused_by_its_row(write_rows: Writer) -> None:
    file = write_rows([MANY, {"source": "x", "target": ["one", " "]}, {"source": "x", "target": []}])
    with pytest.raises(Refused, match=r"row 2 has an empty target; row 3 .*'target' is empty"):
        read_text_pairs(file, "translation", {}, "The data")


def test_the_source_is_none_of_its_own_targets(write_rows: Writer) -> None:
    file = write_rows([{"source": "x", "one": "y"}])
    with pytest.raises(Refused, match="source and target are both the column 'source'"):
        read_text_pairs(file, "translation", {"target": "one,source"}, "The data")


# --- judging


def test_rouge_is_that_of_the_best_text_for_each_metric(judged: Callable[..., Any]) -> None:
    right = [["the fox ran home", "home ran the fox quickly", "a b"], ["a b c", "c b"]]
    said = ["the fox home quickly", "c b a"]
    report = judged("summarization", rows_of(("document", "summary"), right), said).report
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for name in ("rouge1", "rouge2", "rougeL"):
        each = [scorer.score_multi(texts, one)[name].fmeasure for texts, one in zip(right, said, strict=True)]
        assert report["metrics"][name] == pytest.approx(np.mean(each))
    assert report["confidence"] == {}  # of two rows
    assert report["signatures"]["rouge"].startswith("nrefs:var|")


def test_bleu_and_chrf_of_rows_add_up_to_sacrebleus(judged: Callable[..., Any]) -> None:
    found = judged("translation", rows_of(("source", "target"), RIGHT), SAID)
    streams = [[row[n] if n < len(row) else None for row in RIGHT] for n in range(3)]
    bleu = BLEU().corpus_score(SAID, streams)
    assert bleu.ref_len == 7 + 12 + 1 and bleu.bp < 1
    assert found.report["metrics"]["bleu"] == pytest.approx(bleu.score)
    assert found.report["metrics"]["chrf"] == pytest.approx(CHRF().corpus_score(SAID, streams).score)
    rows = found.rows.judged
    assert rows.counted.values["bleu"] == pytest.approx(bleu.score)
    each = [CHRF().sentence_score(one, texts).score for one, texts in zip(SAID, RIGHT, strict=True)]
    assert [row.score for row in rows.row_predictions()] == pytest.approx(each)
    assert found.report["signatures"]["bleu"].startswith("nrefs:var|")
    assert found.report["signatures"]["chrf"].startswith("nrefs:var|")


@pytest.mark.parametrize("task", ["summarization", "translation"])
def test_what_is_the_second_right_text_is_as_right_as_the_first(task: str, judged: Callable[..., Any]) -> None:
    keys = ("document", "summary") if task == "summarization" else ("source", "target")
    pairs = [["one two three four five", "six seven eight nine ten"]] * 12
    rows = [row | {"kind": "ab"[n % 2]} for n, row in enumerate(rows_of(keys, pairs))]
    settings = {"slices": ["kind"], "confidence_draws": 50}
    report = judged(task, rows, [pairs[0][n % 2] for n in range(12)], settings=settings).report
    name, best = ("rougeL", 1.0) if task == "summarization" else ("bleu", 100.0)
    assert report["metrics"][name] == pytest.approx(best)
    assert report["confidence"][name] == pytest.approx([best, best])
    assert [one["metrics"][name] for one in report["slices"] if one["by"] == "kind"] == pytest.approx([best, best])
    assert all(one.startswith("nrefs:2|") for one in report["signatures"].values())
    assert report["worst"][0][keys[1]] == pairs[0]


def test_a_baseline_is_held_against_all_right_texts(judged: Callable[..., Any]) -> None:
    rows = [{"source": "hotel", "target": ["gasthof", "hotel"]}] * 3
    assert judged("translation", rows, ["x"] * 3).report["baselines"]["copy"]["chrf"] == pytest.approx(100)


def test_each_row_has_a_list_where_any_has_several_and_else_a_text(judged: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    judged("translation", rows_of(("source", "target"), RIGHT), SAID).rows.write(path)
    table = pq.read_table(path).to_pylist()
    assert [row["target"] for row in table] == RIGHT and [row["predicted"] for row in table] == SAID
    judged("translation", rows_of(("source", "target"), [["one"], "two"]), ["one", "two"]).rows.write(path)
    assert [row["target"] for row in pq.read_table(path).to_pylist()] == ["one", "two"]


def test_the_rows_of_an_evaluation_give_its_figures_again(judged: Callable[..., Any], tmp_path: Path) -> None:
    rows = rows_of(("source", "target"), RIGHT)
    first = judged("translation", rows, SAID)
    first.rows.write(tmp_path / "rows.parquet")
    again = judged("translation", rows, SAID, predictions=DataFile(tmp_path / "rows.parquet", "parquet")).report
    assert again["metrics"] == first.report["metrics"] and again["worst"] == first.report["worst"]


def test_a_model_is_held_against_another_on_rows_with_several_right_texts(
    judged: Callable[..., Any], tmp_path: Path
) -> None:
    model = seq2seq.tiny_t5(tmp_path / "model")
    long = [[f"{'one two three ' * 60}.", f"{'four five six ' * 60}."]] * 6
    settings = {"source_lang": "en", "target_lang": "de", "confidence_draws": 20}
    said = [texts[1] for texts in long]
    report = judged(
        "translation", rows_of(("source", "target"), long), said, against_dir=model, settings=settings
    ).report
    assert report["changed"]["fixed"] == 6 and report["difference"]["bleu"]["value"] > 50
    assert report["against"]["signatures"]["bleu"].startswith("nrefs:2|")
    assert [len(text) for text in report["changed"]["examples"][0]["target"]] == [500, 500]  # each is cut, none is lost
    assert [len(text) for text in report["worst"][0]["target"]] == [500, 500]
    assert all(text.endswith("…") for text in report["worst"][0]["target"])


# --- training


@pytest.fixture
def request_of(make_request: Callable[..., FinetuneRequest], write_rows: Writer, tmp_path: Path) -> Callable[..., Any]:
    model = seq2seq.tiny_marian(tmp_path / "base", languages=())

    def made(rows: list[dict[str, Any]], **changes: Any) -> FinetuneRequest:
        given = {"columns": {}, "train": write_rows(rows, "pairs.jsonl"), "settings": {"max_steps": 2}, **changes}
        return make_request(task="translation", model_dir=model, **given)

    return made


def pairs(count: int) -> list[dict[str, Any]]:
    """Every second row has two right texts."""
    words = ("card", "letter", "parcel", "money")
    texts = [[words[n % 4], f"{words[n % 3]} {words[n % 2]}"] for n in range(count)]
    return [
        {"source": f"{words[n // 4 % 4]} {n}", "target": text if n % 2 else text[0]} for n, text in enumerate(texts)
    ]


def test_the_first_text_is_learned_and_it_is_said_how_many_rows_have_more(
    request_of: Callable[..., Any], recorder: Any
) -> None:
    several = translation.prepare(request_of(pairs(40), validation=None, test=None), recorder).plan.train
    assert [message for message in recorder.messages if "several" in message] == [
        "20 of 40 rows to train on have several right texts. The first of them is learned; validation and test take all"
        " of theirs."
    ]
    recorder.messages.clear()
    first = [
        row | {"target": row["target"] if isinstance(row["target"], str) else row["target"][0]} for row in pairs(40)
    ]
    single = translation.prepare(request_of(first, validation=None, test=None), recorder).plan.train
    assert not any("several" in message for message in recorder.messages)
    for place in range(40):
        one, other = (rows.__getitems__([place]) for rows in (several, single))
        assert all(one[name].equal(other[name]) for name in one)


def test_validation_and_test_take_every_right_text(request_of: Callable[..., Any], tmp_path: Path) -> None:
    request = request_of(pairs(60))
    judge = translation.prepare(request, SILENT).plan.judge
    assert judge is not None
    held = [row.targets for row in translation.prepare(request, SILENT).sets.validation]
    assert any(len(targets) > 1 for targets in held)
    losses = [(0.0, 1, targets[-1]) for targets in held]
    assert judge.scores(losses)["chrf"] == pytest.approx(100)
    result = finetune(request, SILENT, resume=False)
    assert result is not None and result.report is not None
    assert result.report["signatures"]["bleu"].startswith("nrefs:var|")
    assert json.loads(json.dumps(result.to_json()))["report"]["worst"]
    again = finetune(replace(request, output_dir=tmp_path / "again"), SILENT, resume=True)
    assert again is not None and again.metrics == pytest.approx(result.metrics)


def test_the_median_summary_that_is_learned_says_how_long_a_lead_is(write_rows: Writer) -> None:
    examiner: Any = get_examiner(Setup("summarization", {}, "cpu", SILENT))
    document = "One is here. Two are there! Three."
    rows = examiner.read(write_rows([{"document": document, "summary": "x"}]), "The data")
    train = write_rows([{"document": "x", "summary": ["A b. C d.", "A."]}], "train.jsonl")
    assert examiner.without_model(rows, examiner.read(train, "The data")) == ("lead", ["One is here. Two are there!"])
