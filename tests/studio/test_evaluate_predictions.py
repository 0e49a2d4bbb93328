"""The wizard for a file of predictions, from the page of evaluations to the report, by keyboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import wait_for
from shown_texts import failed, running, shown_texts
from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api").expect

NAME = "rules & votes"
LABELS = ["card", "login"]


def test_a_file_is_judged_as_filled_in_and_each_shown_text_makes_the_same_job(
    house: House, window: Window, tmp_path: Path
) -> None:
    data, said, bad = tmp_path / "judged.csv", tmp_path / "Rules.txt", tmp_path / "guesses.csv"
    data.write_text("text,intent\n" + "".join(f"message {n},{LABELS[n % 2]}\n" for n in range(12)))
    said.write_text("card\n" * 12)
    bad.write_text("guess\n" + "card\n" * 12)
    house.ws.datasets.add("judged", data)
    page = window.open("/evaluations")
    page.get_by_role("link", name="Evaluate a file of predictions").press("Enter")
    page.wait_for_url("**/studio/evaluate/predictions")
    page.wait_for_function("() => window.did_handshake")

    press(page, "Next")
    page.get_by_role("alert").get_by_text("No predictions are chosen.").wait_for()
    upload(page, bad, "guesses:1")
    choose(page, "Task", "Text classification")
    press(page, "Next")
    alert = page.locator(".bp-problem")
    alert.get_by_text("The predictions have no column 'label'.").wait_for()
    assert "predicted or prediction or predicted_label or label. The file has: guess." in alert.inner_text()

    upload(page, said, "rules:1")
    name = page.get_by_label("Name on reports and leaderboards")
    expect(name).to_have_value("rules")
    name.fill(NAME)
    page.wait_for_timeout(1500)  # the draft is kept each second
    page.reload()
    page.wait_for_function("() => window.did_handshake")
    expect(name).to_have_value(NAME)
    press(page, "Next")
    page.get_by_role("heading", name="Test data").wait_for()
    choose(page, "Test data: dataset", "judged:1")
    for then in ("Guessed by the names", "All that apply", "The same as code"):
        press(page, "Next")
        page.get_by_text(then).first.wait_for()
    texts = shown_texts(page)
    press(page, "Start the evaluation")
    page.wait_for_url("**/studio/jobs/evaluate-*")

    with running(house, texts, "evaluate") as programs:
        wait_for(lambda: len(done(house)) == 5 or failed(programs), seconds=240)
        assert failed(programs) == {}
    specs = {json.dumps(job.data["spec"]) for job in done(house)}
    assert len(specs) == 1
    assert json.loads(specs.pop())["predictions"]["dataset"] == "rules:1"
    [again] = {json.dumps(job.report.metrics) for job in done(house)}
    assert json.loads(again)["accuracy"] == 0.5


def test_a_job_on_predictions_is_asked_for_again_with_changes_as_one(
    house: House, window: Window, tmp_path: Path
) -> None:
    said, data = tmp_path / "said.txt", tmp_path / "rows.csv"
    said.write_text("card\nlogin\n")
    data.write_text("text,intent\na,card\nb,login\n")
    house.ws.datasets.add("again-rows", data)
    how: dict[str, Any] = {"data": "again-rows", "columns": {"sentence1": "text", "label": "intent"}}
    job = house.ws.evaluate(None, predictions=said, task="text-classification", name="by hand", **how)
    page = window.open(f"/jobs/{job.id}")
    page.get_by_role("link", name="Run again with changes").click()
    page.wait_for_url("**/studio/evaluate/predictions?from_job=*")
    expect(page.get_by_label("Name on reports and leaderboards")).to_have_value("by hand")
    expect(page.get_by_role("combobox", name="Task")).to_have_value("Text classification")
    job.wait()


# --- helpers ---


def press(page: Page, name: str) -> None:
    """A key, unlike a click, does not wait for a button that is still off."""
    button = page.get_by_role("button", name=name, exact=True).locator("visible=true")
    expect(button).to_be_enabled(timeout=30_000)
    button.press("Enter")


def upload(page: Page, file: Path, ref: str) -> None:
    if not page.locator("input[type=file]").first.is_visible():
        page.get_by_text("Upload a file instead").first.click()
    page.locator("input[type=file]").first.set_input_files(file)
    press(page, "Add")
    page.get_by_text(f"is the dataset {ref} now").wait_for()


def choose(page: Page, field: str, option: str) -> None:
    """By keyboard alone."""
    page.get_by_role("combobox", name=field).press("ArrowDown")
    found = page.get_by_role("option", name=option).first
    found.wait_for()
    for _ in range(20):
        if (
            page.evaluate("document.querySelector('.q-item.q-manual-focusable--focused')?.textContent")
            == found.inner_text()
        ):
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name=field)).to_have_value(re.compile(f"^{re.escape(option)}"))


def done(house: House) -> list[Any]:
    """The evaluations of our predictions that have succeeded."""
    jobs = house.ws.jobs.list(kind="evaluate")
    return [job for job in jobs if job.data["spec"].get("name") == NAME and job.state == "succeeded"]
