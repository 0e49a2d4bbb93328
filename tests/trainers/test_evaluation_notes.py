"""What a report notes by the way: what a reader would trust its figures too much without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.progress import SILENT
from bedplate_serving.testing import tiny_encoder, tiny_text_classifier
from bedplate_serving.testing.seq2seq import tiny_bart, tiny_m2m100
from bedplate_trainers.evaluation import EvaluateRequest, evaluate
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.messages import DataFile

Writer = Callable[..., DataFile]
LABELS = ("access", "money", "parcel")
TASK = "text-classification"


def rows(count: int, text: str = "card") -> list[dict[str, Any]]:
    return [{"text": f"{text} number {number}", "label": LABELS[number % 3]} for number in range(count)]


def report_of(model: Path, data: DataFile, task: str = TASK, **more: Any) -> dict[str, Any]:
    columns = {"sentence1": "text"} if task == TASK else {}
    return evaluate(EvaluateRequest(task, model, data, columns, device="cpu", **more), SILENT)


def test_rows_that_a_classifier_does_not_read_to_their_end_are_counted(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    long = [{"text": "card " * 2000, "label": "money"}] * 2
    report = report_of(model, write_rows([*rows(3), *long]))
    [note] = report["notes"]
    assert note.startswith("2 of 5 rows, the first of them row 4, are longer than the model reads")
    assert report_of(model, write_rows(rows(5)))["notes"] == []


def test_what_is_noted_of_the_model_it_is_held_against_says_so(tmp_path: Path, write_rows: Writer) -> None:
    model, other = (tiny_text_classifier(tmp_path / name, labels=LABELS) for name in ("model", "other"))
    data = write_rows([*rows(3), {"text": "card " * 2000, "label": "money"}])
    mine, of_other = report_of(model, data, against_dir=other)["notes"]
    assert mine.startswith("1 of 4 rows") and "writes" not in mine
    assert of_other == f"Of the model that it is held against: {mine}"


def test_the_test_of_a_fine_tune_notes_nothing_of_its_validation_rows(
    make_request: Callable[..., FinetuneRequest], write_rows: Writer, recorder: Any
) -> None:
    long = write_rows([*rows(8, "letter"), {"text": "card " * 2000, "label": "money"}], "validation.jsonl")
    sets = {"validation": long, "test": write_rows(rows(9, "bank"), "test.jsonl")}
    result = finetune(make_request(rows(60), **sets, settings={"max_steps": 2}), recorder, resume=False)
    assert result is not None and result.report is not None
    assert result.report["notes"] == []
    assert any(text.startswith("Of the validation rows: 1 of 9 rows") for text in recorder.messages)


def test_documents_that_are_cut_are_counted(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_bart(tmp_path / "model")
    documents = [{"document": "card " * count, "summary": "card"} for count in (3, 5000)]
    [note] = report_of(model, write_rows(documents), "summarization")["notes"]
    assert note.startswith("1 of 2 rows, the first of them row 2, are longer")


def test_rows_that_the_training_data_has_too_are_counted(tmp_path: Path, write_rows: Writer) -> None:
    base = tiny_encoder(tmp_path / "base")
    train = write_rows([*rows(30), *rows(30, "bank")], "train.jsonl")
    report = report_of(base, write_rows([*rows(6), *rows(4, "letter")]), train=train)
    [note] = report["notes"]
    assert note == "6 of 10 rows have an input that the training rows have too."


def test_the_test_of_a_fine_tune_notes_what_it_has_in_common_with_training(
    make_request: Callable[..., FinetuneRequest], write_rows: Writer
) -> None:
    request = make_request(rows(60), test=write_rows(rows(9), "test.jsonl"), validation=None, settings={"max_steps": 2})
    result = finetune(request, SILENT, resume=False)
    assert result is not None
    assert result.report is not None
    assert result.report["notes"] == ["9 of 9 test rows have an input that the training rows have too."]


def test_a_model_that_is_not_told_its_languages_says_so_by_the_names_of_the_settings(
    tmp_path: Path, write_rows: Writer
) -> None:
    model, data = tiny_m2m100(tmp_path / "model"), write_rows([{"source": "a card", "target": "eine Karte"}])
    with pytest.raises(Refused, match="was not told which") as refused:
        report_of(model, data, "translation")
    assert "source_lang=en" in refused.value.hint and "Row" not in refused.value.message


def test_a_report_holds_the_settings_that_it_was_made_with(tmp_path: Path, write_rows: Writer) -> None:
    model = tiny_text_classifier(tmp_path / "model", labels=LABELS)
    report = report_of(model, write_rows(rows(12)), settings={"seed": 7, "confidence_draws": 100})
    assert (report["settings"]["seed"], report["settings"]["confidence_draws"], report["device"]) == (7, 100, "cpu")
    assert "max_new_tokens" not in report["settings"], "the task has none"
