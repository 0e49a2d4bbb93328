"""Plain files of predictions, judged as those of a model: what one said, written to a file, gives its figures again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_registry.writers import open_writer
from bedplate_serving.testing import tiny_text_classifier, tiny_token_classifier
from bedplate_trainers.evaluation import Evaluated, EvaluateRequest, examine
from bedplate_trainers.messages import DataFile
from question_rows import question_rows

Writer = Callable[..., DataFile]
Synthetic = Callable[..., list[dict[str, Any]]]
LABELS = ("access", "money", "parcel")


def lines(path: Path, said: list[str]) -> DataFile:
    path.write_text("\n".join(said) + "\n", encoding="utf-8")
    return DataFile(path, "txt")


def table(path: Path, rows: list[dict[str, Any]]) -> DataFile:
    """In the format that the name says."""
    format = path.suffix[1:]
    with open_writer(path, format, list(rows[0])) as writer:
        for row in rows:
            writer.write(row)
    return DataFile(path, format)


def evaluated(
    task: str, data: DataFile, said: DataFile, columns: dict[str, str] | None = None, **more: Any
) -> Evaluated:
    return examine(EvaluateRequest(task, None, data, columns or {}, predictions=said, device="cpu", **more), SILENT)


@pytest.fixture
def rows(synthetic: Synthetic) -> list[dict[str, Any]]:
    return synthetic(60)


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_the_probabilities_of_a_model_give_its_own_report_again(
    format: str, rows: list[dict[str, Any]], tmp_path: Path, write_rows: Writer
) -> None:
    from bedplate_serving.predictors import load_predictor

    model, data = tiny_text_classifier(tmp_path / "model", labels=LABELS), write_rows(rows)
    request = EvaluateRequest("text-classification", model, data, {"sentence1": "text"}, device="cpu")
    mine = examine(request, SILENT).report
    chances = load_predictor(model, "text-classification", device="cpu").probabilities([row["text"] for row in rows])
    chances = [dict(zip(LABELS, row, strict=True)) for row in chances.tolist()]
    held = [{"probabilities": json.dumps(row) if format == "csv" else row} for row in chances]
    report = evaluated(
        "text-classification", data, table(tmp_path / f"said.{format}", held), {"sentence1": "text"}
    ).report
    assert report["metrics"] == pytest.approx(mine["metrics"], rel=1e-6)
    for part in ("confusion", "classes", "not_computed"):
        assert report[part] == mine[part]
    for name, ends in mine["confidence"].items():
        assert report["confidence"][name] == pytest.approx(ends, rel=1e-6), name
    assert report["kind"] == "predictions" and report["latency"] is None and report["seconds"] is None
    assert report["calibration"]["bins"] and report["curves"]["roc"]


def test_labels_alone_have_no_figures_that_need_probabilities_and_the_report_says_so(
    rows: list[dict[str, Any]], tmp_path: Path, write_rows: Writer
) -> None:
    data, said = write_rows(rows), lines(tmp_path / "said.txt", [row["label"] for row in rows[:-1]] + ["parcel"])
    report = evaluated("text-classification", data, said, {"sentence1": "text"}).report
    assert report["metrics"]["accuracy"] in (1.0, pytest.approx(59 / 60))
    assert {"log_loss", "AUC_macro", "average_precision_score_micro"} <= set(report["not_computed"])
    assert report["not_computed"]["log_loss"] == "The predictions are labels without probabilities."
    assert report["calibration"] is None and not report["curves"]
    with pytest.raises(Refused, match="AUC_macro cannot be computed"):
        evaluated("text-classification", data, said, {"sentence1": "text"}, settings={"metrics": ["AUC_macro"]})


def test_scores_beside_labels_are_calibrated(rows: list[dict[str, Any]], tmp_path: Path, write_rows: Writer) -> None:
    held = [{"label": row["label"], "score": 0.85} for row in rows]
    said = table(tmp_path / "said.parquet", held)
    found = evaluated("text-classification", write_rows(rows), said, {"sentence1": "text"})
    [bin] = found.report["calibration"]["bins"]
    assert (bin["confidence"], bin["accuracy"]) == (pytest.approx(0.85), 1.0)
    assert {one.score for one in found.rows.judged.row_predictions()} == {0.85}


def test_rows_of_several_labels_have_lists(tmp_path: Path, write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}, {"text": "c", "label": ["y"]}])
    said = table(tmp_path / "said.csv", [{"label": one} for one in ('["x", "y"]', '["x"]', '["y"]')])
    report = evaluated("text-classification", data, said, {"sentence1": "text"}).report
    assert report["metrics"]["accuracy"] == pytest.approx(2 / 3) and report["multi_label"]


def test_tags_are_judged_as_a_taggers(tmp_path: Path, write_rows: Writer) -> None:
    rows = [{"tokens": ["a", "b", "c"], "tags": ["O", "B-PER", "I-PER"]}, {"tokens": ["d"], "tags": ["B-LOC"]}] * 6
    data = write_rows(rows)
    found = evaluated("token-classification", data, lines(tmp_path / "said.txt", ["O B-PER O", "B-LOC"] * 6))
    assert found.report["metrics"]["accuracy"] == pytest.approx(3 / 4)
    assert found.report["metrics"]["f1_score_micro"] == pytest.approx(0.5)
    assert found.report["worst"][0]["predicted"] == ["O", "B-PER", "O"]
    model = tiny_token_classifier(tmp_path / "model")
    said = lines(tmp_path / "said.txt", ["O B-PER O", "B-LOC"] * 6)
    report = evaluated("token-classification", data, said, against_dir=model).report
    assert report["against"]["kind"] == "model" and "f1_score_micro" in report["difference"]


def test_answers_summaries_translations_completions_and_masked_words_are_judged(
    tmp_path: Path, write_rows: Writer
) -> None:
    questions = question_rows(8)
    answers = [row["answers"]["text"][0] if row["answers"]["text"] else "" for row in questions]
    answered = evaluated("question-answering", write_rows(questions), lines(tmp_path / "a.txt", answers)).report
    assert answered["metrics"]["exact_match"] == 100 and answered["calibration"] is None
    texts = ["one two three four five", "six seven eight nine ten"]
    for task, keys, metric in (
        ("summarization", ("document", "summary"), "rougeL"),
        ("translation", ("source", "target"), "bleu"),
        ("text-generation", ("prompt", "completion"), "rougeL"),
    ):
        data = write_rows([dict(zip(keys, ("some text", text), strict=True)) for text in texts])
        report = evaluated(task, data, lines(tmp_path / "t.txt", texts)).report
        assert report["metrics"][metric] == pytest.approx(100 if metric == "bleu" else 1)
        assert "perplexity" not in report["metrics"]
    data = write_rows([{"text": "a [MASK] fox", "answer": "red"}, {"text": "<mask> is it", "answer": "what"}])
    report = evaluated("fill-mask", data, lines(tmp_path / "m.txt", ["red", "who"])).report
    assert report["metrics"] == {"top1_accuracy": 0.5}
    assert report["not_computed"]["mrr"] == "The first guess of each mask is known, and no other."


def test_what_nobody_was_sure_of_has_no_confidence(tmp_path: Path, write_rows: Writer) -> None:
    questions = write_rows(question_rows(4))
    [answer, *_] = evaluated("question-answering", questions, lines(tmp_path / "a.txt", ["never"] * 4)).report["worst"]
    assert "confidence" not in answer and answer["n_best"] == [{"answer": "never"}]
    masks = write_rows([{"text": "a [MASK] fox", "answer": "red"}], "masks.jsonl")
    assert "confidence" not in evaluated("fill-mask", masks, lines(tmp_path / "m.txt", ["blue"])).report["worst"][0]
    tags = write_rows([{"tokens": ["a", "b"], "tags": ["O", "B-PER"]}])
    assert (
        "confidence"
        not in evaluated("token-classification", tags, lines(tmp_path / "t.txt", ["O O"])).report["worst"][0]
    )
    sure = table(tmp_path / "sure.csv", [{"answer": "blue", "score": 0.25}])
    assert evaluated("fill-mask", masks, sure).report["worst"][0]["confidence"] == 0.25


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([{"label": "money"}], "The predictions have 1 rows, and the data has 3"),
        ([{"label": "money"}, {"label": "mony"}, {"label": "money"}], "row 2 has the label 'mony'"),
        ([{"guess": "money"}] * 3, "no column 'label'"),
        ([{"label": "money"}, {"label": None}, {"label": "money"}], "row 2 is missing"),
        (
            [{"label": "money", "score": 0.5}, {"label": "money", "score": 7}, {"label": "money"}],
            "row 2 has a score of 7",
        ),
        ([{"label": ["money"]}] * 3, "row 1 is .* one label a row"),
        ([{"label": "money"}, {"label": float("nan")}, {"label": "money"}], "row 2 is missing"),
        ([{"label": "money", "score": int("1" * 400)}] * 3, "row 1 has a score of 1111"),
        ([{"label": "mon\ud800ey"}] * 3, "row 1 holds half a surrogate pair"),
        ([{"probabilities": {"mon\ud800ey": 1.0}}] * 3, "row 1 holds half a surrogate pair"),
        ([{"probabilities": {"money": 1.0}}, {"probabilities": {"money": "x"}}, {}], "row 2 has a probability of 'x'"),
        ([{"probabilities": '{"a":' * 100_000}] * 3, "row 1 has probabilities that are no object"),
        ([{"label": "money", "probabilities": {"money": 0.2, "access": 0.8}}] * 3, "row 1 is another label"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_row(
    said: list[dict[str, Any]], message: str, write_rows: Writer, tmp_path: Path
) -> None:
    data = write_rows(
        [{"text": "a", "label": "money"}, {"text": "b", "label": "access"}, {"text": "c", "label": "money"}]
    )
    file = write_rows(said, "said.jsonl")
    with pytest.raises(Refused, match=message):
        evaluated("text-classification", data, file, {"sentence1": "text"})


def test_a_column_of_predictions_comes_before_the_labels_of_the_same_file(tmp_path: Path, write_rows: Writer) -> None:
    rows = [{"text": f"card {n}", "label": "money", "prediction": "access" if n else "money"} for n in range(12)]
    rows[0]["label"] = "access"
    file = write_rows(rows)
    report = evaluated("text-classification", file, file, {"sentence1": "text"}).report
    assert report["metrics"]["accuracy"] == 0
    assert (report["predictions_of"]["column"], report["notes"]) == ("prediction", [])


def test_predictions_that_are_all_right_are_noted_as_perhaps_the_labels(tmp_path: Path, write_rows: Writer) -> None:
    rows = [{"text": f"card {n}", "label": ("money", "access")[n % 2]} for n in range(12)]
    [note] = evaluated(
        "text-classification", write_rows(rows), write_rows(rows, "said.jsonl"), {"sentence1": "text"}
    ).report["notes"]
    assert (
        note == "The column 'label' of the predictions has what is right in every row. Are these the labels themselves?"
    )
    few = write_rows(rows[:4], "few.jsonl")
    assert (
        evaluated("text-classification", few, write_rows(rows[:4], "said.jsonl"), {"sentence1": "text"}).report["notes"]
        == []
    )


def test_probabilities_may_be_rounded_and_tied_but_must_add_up(tmp_path: Path, write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "label": "b"}, {"text": "c", "label": "a"}])
    tied = {"label": "b", "probabilities": {"a": 0.4, "b": 0.4, "c": 0.2}}
    over = {"label": "a", "probabilities": {"a": 1.0000001, "b": 0.0, "c": -1e-8}}
    report = evaluated(
        "text-classification", data, write_rows([tied, over], "said.jsonl"), {"sentence1": "text"}
    ).report
    assert report["metrics"]["accuracy"] == 1.0
    for wrong in ({"a": 0.9, "b": 0.9, "c": 0.9}, {"a": 0.1, "b": 0.05}):
        said = write_rows([tied, {"label": "a", "probabilities": wrong}], "said.jsonl")
        with pytest.raises(Refused, match=r"row 2 has probabilities that add up to (2\.7|0\.15)"):
            evaluated("text-classification", data, said, {"sentence1": "text"})


def test_truth_values_are_labels_as_they_are_in_data(tmp_path: Path, write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "label": True}, {"text": "b", "label": False}])
    said = write_rows([{"predicted": True}, {"predicted": True}], "said.jsonl")
    assert evaluated("text-classification", data, said, {"sentence1": "text"}).report["metrics"]["accuracy"] == 0.5


def test_no_answer_is_an_empty_text_and_that_is_said(tmp_path: Path, write_rows: Writer) -> None:
    said = write_rows([{"answer": None}] * 4, "said.jsonl")
    with pytest.raises(Refused, match="row 1 is missing") as refused:
        evaluated("question-answering", write_rows(question_rows(4)), said)
    assert '""' in refused.value.hint


def test_lines_that_are_no_text_in_utf_8_are_refused(tmp_path: Path, write_rows: Writer) -> None:
    data = write_rows([{"text": "a", "label": "café"}, {"text": "b", "label": "bar"}])
    (tmp_path / "said.txt").write_bytes("café\nbar\n".encode("latin-1"))
    with pytest.raises(Refused, match="no text in UTF-8"):
        evaluated("text-classification", data, DataFile(tmp_path / "said.txt", "txt"), {"sentence1": "text"})


def test_tags_of_another_number_than_the_tokens_are_refused(tmp_path: Path, write_rows: Writer) -> None:
    data = write_rows([{"tokens": ["a", "b"], "tags": ["O", "B-PER"]}] * 2)
    with pytest.raises(Refused, match="row 2 has 1 tags for 2 tokens"):
        evaluated("token-classification", data, lines(tmp_path / "said.txt", ["O O", "O"]))
    with pytest.raises(Refused, match="row 1 has the tag 'B-ORG'"):
        evaluated("token-classification", data, lines(tmp_path / "said.txt", ["O B-ORG", "O O"]))


def test_a_label_that_the_rows_lack_is_known_by_class_names(write_rows: Writer, tmp_path: Path) -> None:
    data = write_rows([{"text": "a", "label": 0}, {"text": "b", "label": 1}])
    said, settings = lines(tmp_path / "said.txt", ["0", "parcel"]), {"class_names": list(LABELS)}
    report = evaluated("text-classification", data, said, {"sentence1": "text"}, settings=settings).report
    assert report["confusion"]["labels"] == list(LABELS) and report["metrics"]["accuracy"] == 0.5


def test_what_batch_scoring_said_is_taken_and_not_the_label_that_its_file_had(
    tmp_path: Path, write_rows: Writer
) -> None:
    data = write_rows([{"text": "a", "label": "money"}, {"text": "b", "label": "access"}])
    rows = [{"label": label, "predicted_label": "money", "score": 0.9} for label in ("money", "access")]
    report = evaluated("text-classification", data, table(tmp_path / "said.csv", rows), {"sentence1": "text"}).report
    assert report["metrics"]["accuracy"] == 0.5


def test_the_rows_of_an_evaluation_give_its_figures_again(tmp_path: Path, write_rows: Writer) -> None:
    data = write_rows(question_rows(8))
    first = evaluated("question-answering", data, lines(tmp_path / "said.txt", ["a card", ""] * 4))
    first.rows.write(tmp_path / "rows.parquet")
    again = evaluated("question-answering", data, DataFile(tmp_path / "rows.parquet", "parquet")).report
    assert again["metrics"] == first.report["metrics"] and again["calibration"] is None
