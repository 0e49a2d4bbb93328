"""Leaderboards as people see them, and what a report holds beside its figures: slices, changes, curves, the rest."""

from __future__ import annotations

from typing import Any

import pytest

from bedplate_registry.registry import Registry
from studio_browser import House, Window
from studio_stock import HOSTILE, publish

SHA = "c" * 64
COLUMNS = {"sentence1": "text", "label": "intent"}


@pytest.fixture(scope="module")
def measured(house: House) -> dict[str, str]:
    """Ids of reports on one file, by their models: a published one, and two that are gone."""
    evaluations = Registry(house.home / "registry").evaluations
    published = publish(house, "acme/leading")
    values = {published: 0.9, "acme/close:1": 0.86, "acme/behind:1": 0.5}
    return {model: evaluations.add(_report(model, value)) for model, value in values.items()}


def _report(model: str, accuracy: float, **more: Any) -> dict[str, Any]:
    data = {"sha256": SHA, "filename": HOSTILE, "rows": 120, "columns": COLUMNS}
    about = {"task": "text-classification", "kind": "model", "model": model, "data": data}
    metrics, confidence = {"accuracy": accuracy, "log_loss": 1 - accuracy}, {"accuracy": [accuracy - 0.05, accuracy]}
    return {**about, "metrics": metrics, "confidence": confidence, "baselines": {}, **more}


def _deep() -> dict[str, Any]:
    example = {"row": 17, "sentence1": HOSTILE, "label": "card", "before": "login", "after": "card", "change": "fixed"}
    curve = {"label": HOSTILE, "false_positive_rate": [0, 0.5, 1], "true_positive_rate": [0, 0.9, 1], "area": 0.8765}
    ends = {"accuracy": [0.4444, 0.6666]}
    return _report(
        "acme/deep:1",
        0.7,
        against={"model": "acme/other:1", "metrics": {"accuracy": 0.5}},
        difference={"accuracy": {"value": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.0123}},
        changed={"fixed": 31, "broken": 0, "examples": [example]},
        slices=[{"by": "length", "value": "1 to 40", "rows": 60, "metrics": {"accuracy": 0.5}, "confidence": ends}],
        curves={"roc": [curve], "precision_recall": []},
        calibration={
            "bins": [{"low": 0.5, "high": 1.0, "rows": 120, "confidence": 0.9, "accuracy": 0.75}],
            "expected_calibration_error": 0.1503,
        },
        latency={"rows": 50, "p50_ms": 3.25, "p95_ms": 9.5},
    )


def test_a_board_is_chosen_from_the_list_and_shows_who_cannot_be_told_from_the_best(
    window: Window, measured: dict[str, str]
) -> None:
    page = window.open("/evaluations")
    page.get_by_role("link", name="Leaderboard").click()
    page.wait_for_url("**/studio/leaderboard")
    boards = page.get_by_role("table", name="Leaderboards")
    boards.get_by_role("row").filter(has_text="acme/leading:1").get_by_role("link", name=HOSTILE).click()
    rows = page.get_by_role("table", name="Models").get_by_role("row")
    rows.nth(3).wait_for()
    shown = [rows.nth(number).inner_text().split() for number in (1, 2, 3)]
    assert [row[:3] for row in shown] == [
        ["1", "acme/leading:1", "0.9000"],
        ["2", "acme/close:1", "0.8600"],
        ["3", "acme/behind:1", "0.5000"],
    ]
    assert "not told apart" in rows.nth(2).inner_text()
    assert "not told apart" not in rows.nth(3).inner_text()
    links = rows.nth(1).get_by_role("link").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links == ["/studio/models/acme/leading:1", f"/studio/evaluations/{measured['acme/leading:1']}"]
    gone = rows.nth(2).get_by_role("link").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert gone == [f"/studio/evaluations/{measured['acme/close:1']}"]
    assert page.title() != "owned"


def test_another_metric_is_chosen_and_stands_in_the_address(window: Window, measured: dict[str, str]) -> None:
    page = window.open(f"/leaderboard?task=text-classification&data={SHA}")
    page.get_by_role("combobox", name="Sorted by").click()
    page.get_by_role("option", name="log_loss", exact=True).click()
    page.wait_for_url("**/studio/leaderboard?task=text-classification&data=*&metric=log_loss")
    page.get_by_text("Sorted by log_loss.").wait_for()
    page.get_by_role("table", name="Models").get_by_role("row").nth(3).wait_for()
    assert page.get_by_role("table", name="Models").get_by_role("row").nth(1).inner_text().split()[:2] == [
        "1",
        "acme/leading:1",
    ]


def test_data_that_nobody_measured_on_is_said_to_have_no_board(window: Window) -> None:
    page = window.open("/leaderboard?task=translation&data=none:1")
    assert page.get_by_role("alert").inner_text().startswith("No model was measured for translation on 'none:1'.")


def test_a_report_shows_slices_changes_curves_calibration_and_latency(house: House, window: Window) -> None:
    id = Registry(house.home / "registry").evaluations.add(_deep())
    page = window.open(f"/evaluations/{id}")
    slices = page.get_by_role("region", name="By length of the input, in characters").inner_text()
    assert all(text in slices for text in ("1 to 40 (60 rows)", "0.5000", "0.4444 to 0.6666"))
    assert page.get_by_text("31 rows fixed, 0 broken.").is_visible()
    assert page.get_by_role("heading", name="Fixed (1 of 31)").is_visible()
    assert page.get_by_role("img", name="ROC curve").locator("path").count() == 1
    assert page.get_by_text(f"{HOSTILE}: 0.8765").is_visible()
    assert page.get_by_text("Expected calibration error: 0.1503.").is_visible()
    assert page.get_by_text("half within 3.25 ms, 95 % within 9.5 ms (of 50 rows)").is_visible()
    assert page.get_by_role("columnheader", name="p", exact=True).is_visible()
    assert page.title() != "owned"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("link", name="As one file").click()
    page.wait_for_url(f"**/api/v1/evaluations/{id}/page")
    assert page.get_by_role("heading", name="acme/deep:1: Text classification").is_visible()
    assert page.get_by_role("img", name="ROC curve").is_visible()
