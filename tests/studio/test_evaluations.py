"""Reports as people see them: figures beside each other, confusions, wrong rows; all that strangers wrote is text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.registry import Registry
from bedplate_registry.writers import open_writer
from studio_browser import House, Window

HOSTILE = '<img src=x onerror="window.hit=1">'
LONG = "a-label-without-end-" * 10
CLASSES = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 8}


@pytest.fixture(scope="module")
def reports(house: House) -> dict[str, str]:
    """Ids of reports by their task: one against another model, one of tagged words, one of a task of tomorrow."""
    evaluations = Registry(house.home / "registry").evaluations
    return {report["task"]: evaluations.add(report) for report in (_classified(), _tagged(), _of_tomorrow())}


def _report(task: str, **more: Any) -> dict[str, Any]:
    about = {"task": task, "kind": "model", "model": "acme/measured:3", "data": {"filename": HOSTILE, "rows": 120}}
    return {**about, "metrics": {"accuracy": 0.75}, "not_computed": {}, "confidence": {}, "baselines": {}, **more}


def _classified() -> dict[str, Any]:
    labels = [HOSTILE, LONG]
    against = {"model": "acme/other:1", "metrics": {"accuracy": 0.5}, "classes": [{"label": LONG, **CLASSES}]}
    return _report(
        "text-classification",
        confidence={"accuracy": [0.6789, 0.8123]},
        baselines={"majority": {"accuracy": 0.3333}},
        not_computed={"AUC_macro": "one class only"},
        against=against,
        difference={"accuracy": {"value": 0.25, "low": 0.1111, "high": 0.3777, "p_value": 0.0123}},
        classes=[{"label": label, **CLASSES} for label in labels],
        confusion={"labels": labels, "matrix": [[31, 9], [7, 73]]},
        worst=[{"row": 17, "text": HOSTILE, "label": LONG, "predicted": HOSTILE, "confidence": 0.97}],
    )


def _tagged() -> dict[str, Any]:
    labels, count = [f"B-{number}" for number in range(40)], 40
    matrix = [[5 * (said == right) + 9 * (right == 3 and said == 4) for said in range(count)] for right in range(count)]
    wrong = {"row": 4, "tokens": ["see", "Paris", "now"], "tags": ["O", "B-LOC", "O"]}
    wrong |= {"predicted": ["O", "B-PER", "O"], "wrong_words": 1, "confidence": 0.9}
    return _report("token-classification", confusion={"labels": labels, "matrix": matrix}, worst=[wrong], words=3)


def _of_tomorrow() -> dict[str, Any]:
    settings = {"class_names": None, "confidence_draws": 1000, "metrics": [], "positive_label": ""}
    fairness = [{"group": HOSTILE, "gap": 0.5}]
    return _report("summarization", fairness=fairness, calibration={"error": 0.0625}, settings=settings)


def test_a_report_shows_both_models_and_where_they_differ(window: Window, reports: dict[str, str]) -> None:
    page = window.open(f"/evaluations/{reports['text-classification']}")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="accuracy", exact=True))
    text = row.inner_text()
    assert all(figure in text for figure in ("0.7500", "0.6789 to 0.8123", "0.5000", "0.1111 to 0.3777", "0.3333"))
    assert page.get_by_text("AUC_macro was not computed: one class only").is_visible()
    assert "0.0123" in text and page.get_by_role("columnheader", name="p", exact=True).is_visible()
    assert page.get_by_text("p: the probability of a difference this large").is_visible()
    matrix = page.get_by_role("region", name="Confusion matrix")
    assert matrix.get_by_role("row").nth(1).inner_text().split()[-2:] == ["31", "9"]
    assert page.get_by_role("cell", name=HOSTILE).count() >= 2
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_main_metrics_come_first_as_tiles_with_their_intervals_on_narrow_screens_too(
    house: House, window: Window
) -> None:
    metrics = {"AUC_macro": 0.9, "accuracy": 0.75, "f1_score_macro": 0.7, "log_loss": 0.4}
    ends = {"f1_score_macro": [0.61, 0.79], "accuracy": [0.6789, 0.8123], "log_loss": [0.3, 0.5]}
    against = {"model": "acme/other:1", "metrics": {"accuracy": 0.5}}
    report = _report("text-classification", metrics=metrics, confidence=ends, against=against, seconds=0.125)
    page = window.open(f"/evaluations/{Registry(house.home / 'registry').evaluations.add(report)}")
    tiles = page.locator(".bp-figures > div")
    assert tiles.nth(0).inner_text().split("\n") == ["accuracy", "0.7500", "0.6789 to 0.8123", "against 0.5000"]
    assert [text.split()[0] for text in tiles.all_inner_texts()] == ["accuracy", "f1_score_macro", "log_loss"]
    assert tiles.get_by_role("img", name="0.7500, between 0.6789 and 0.8123").is_visible()
    lines = page.get_by_role("region", name="Metrics").get_by_role("rowheader").all_inner_texts()
    assert lines == ["accuracy", "f1_score_macro", "AUC_macro", "log_loss"]
    assert page.get_by_text("0.125 s").is_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")  # the frame's own width follows


def test_wrong_tags_are_marked_and_many_labels_are_told_by_their_confusions(
    window: Window, reports: dict[str, str]
) -> None:
    page = window.open(f"/evaluations/{reports['token-classification']}")
    assert page.locator("mark").all_inner_texts() == ["Paris [B-LOC, said: B-PER] "]
    confusions = page.get_by_label("Confusions", exact=True)
    assert confusions.get_by_role("cell").all_inner_texts() == ["B-3", "B-4", "9"]


def test_what_a_report_of_tomorrow_holds_is_shown_too(window: Window, reports: dict[str, str]) -> None:
    page = window.open(f"/evaluations/{reports['summarization']}")
    assert page.get_by_role("heading", name="Fairness").is_visible()
    assert page.get_by_role("cell", name=HOSTILE).is_visible()
    assert page.get_by_text("error = 0.0625").is_visible()
    assert page.get_by_text("confidence_draws = 1000", exact=True).is_visible()  # and nothing that was left empty


def test_reports_are_chosen_by_model_and_task_and_a_reload_keeps_that(window: Window, reports: dict[str, str]) -> None:
    page = window.open("/evaluations")
    page.get_by_label("Model").fill("measured")
    page.wait_for_url("**/studio/evaluations?model=measured")
    page.get_by_role("combobox", name="Task").click()
    page.get_by_role("option", name="Token classification").click()
    page.wait_for_url("**/studio/evaluations?model=measured&task=token-classification")
    page.reload()
    page.get_by_role("cell", name="Token classification").wait_for()
    links = page.get_by_role("table").get_by_role("link").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links == [f"/studio/evaluations/{reports['token-classification']}", "/studio/models/acme/measured:3"]
    page.get_by_label("Model").fill("acme/nothing:1")
    page.get_by_text("None match.").wait_for()


def test_all_rows_can_be_chosen_by_what_was_said_and_a_reload_keeps_that(
    house: House, window: Window, tmp_path: Path
) -> None:
    columns = ["row", "sentence1", "target", "predicted", "score", "right"]
    with open_writer(tmp_path / "rows.parquet", "parquet", columns) as writer:
        for row in range(1, 121):
            said = "login" if row % 30 == 0 else "card"
            text = HOSTILE if row == 60 else f"Text {row} {LONG * 9 if row == 30 else ''}"
            values = (row, text, "card", said, row / 120, said == "card")
            writer.write(dict(zip(columns, values, strict=True)))
    about = {"rows": 120, "columns": columns}
    report = _report("text-classification", classes=[{"label": label, **CLASSES} for label in ("card", "login")])
    with (tmp_path / "rows.parquet").open("rb") as rows:
        made = Registry(house.home / "registry").evaluations.add({**report, "predictions": about}, rows)
    page = window.open(f"/evaluations/{made}")
    table = page.get_by_label("Rows", exact=True)
    table.get_by_role("cell", name="Text 1", exact=True).wait_for()
    page.get_by_role("combobox", name="Right or wrong").click()
    page.get_by_role("option", name="Wrong rows").click()
    table.get_by_text("Text 30").wait_for()
    assert [row.split()[0] for row in table.get_by_role("row").all_inner_texts()[1:]] == ["30", "60", "90", "120"]
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("Search the rows").fill("onerror")
    page.wait_for_url("**?query=onerror&right=false")
    page.reload()
    table.get_by_text("onerror").wait_for()
    assert table.get_by_role("row").count() == 2
    page.get_by_label("Search the rows").fill("nothing like it")
    page.get_by_text("No row is like that.").wait_for()


def test_a_report_on_a_file_of_predictions_leads_to_no_model(house: House, window: Window) -> None:
    about = {"kind": "predictions", "model": "votes (predictions)", "predictions_of": {"filename": "votes.csv"}}
    made = Registry(house.home / "registry").evaluations.add({**_report("text-classification"), **about})
    page = window.open(f"/evaluations/{made}")
    page.get_by_text("votes.csv").wait_for()
    assert page.locator("main a[href*='/models/']").count() == 0
    assert page.get_by_role("button", name="Its model").or_(page.get_by_role("link", name="Its model")).count() == 0


def test_several_right_texts_of_a_row_are_told_apart_and_none_is_lost(
    house: House, window: Window, tmp_path: Path
) -> None:
    right = [f"{number} {'summary, of a kind ' * 15}." for number in ("First", "Second", "Third")]
    rows = [{"dialogue": "hello", **{f"summary{n}": text for n, text in enumerate(right)}}] * 2
    data, said = tmp_path / "dialogues.jsonl", tmp_path / "said.txt"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said.write_text("said so\nnot said\n")
    columns = {"document": "dialogue", "summary": "summary0,summary1,summary2"}
    job = house.ws.evaluate(None, predictions=said, task="summarization", data=data, columns=columns)
    page = window.open(f"/evaluations/{job.wait().report.id}")
    page.get_by_text("summary = summary0,summary1,summary2").wait_for()
    shown = page.get_by_role("cell").filter(has_text=right[0]).first.inner_text()
    assert shown == " | ".join(right)
    assert page.get_by_text(" | ".join(right)).count() > 2  # wrong rows too
