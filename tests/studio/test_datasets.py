"""Datasets in the browser: uploaded, looked at, checked, repaired, put away. What is in their rows is text."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from studio_browser import Window

SCRIPT = "<img src=x onerror=\"document.title='run'\">"


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    """60 rows with a hostile one, an empty one, two of the same text with other labels, and a very long one."""
    rows = [
        [f"my {label} number {number} is lost", label] for number in range(20) for label in ("card", "login", "tan")
    ]
    rows[2][0], rows[4][0], rows[6][0] = SCRIPT, "", "word " * 300
    rows[9], rows[10] = ["the same", "card"], ["the same", "login"]
    file = tmp_path / "studio tickets.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["text", "intent"], *rows])
    return file


def test_a_file_that_is_uploaded_is_a_dataset_whose_rows_are_shown_as_text(window: Window, tickets: Path) -> None:
    window.house.ws.datasets.add("studio-kept", tickets)
    page = window.open("/datasets")
    page.locator("input[type=file]").set_input_files(tickets)
    page.get_by_text("This becomes a new dataset").wait_for()
    page.get_by_label("Name of the dataset").fill("studio-kept")
    page.get_by_text("This becomes version 2 of studio-kept").wait_for()
    page.get_by_label("Name of the dataset").fill("studio-tickets")
    page.get_by_text("This becomes a new dataset, studio-tickets.").wait_for()
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("heading", name="studio-tickets:1").wait_for()
    table = page.get_by_role("region", name="Rows of studio-tickets:1")
    table.get_by_text(SCRIPT).wait_for()
    assert table.locator("img").count() == 0
    page.get_by_label("Go to row").fill("60")
    table.get_by_text("my tan number 19 is lost").wait_for()
    page.get_by_role("button", name="Rows before").click()
    table.get_by_text("my card number 0 is lost").wait_for()
    assert "run" not in page.title()


def test_a_wrong_name_is_told_to_whoever_gave_it_and_is_no_error_of_the_server(window: Window, tickets: Path) -> None:
    log = window.house.home / "logs" / "server.log"
    before = log.stat().st_size
    page = window.open("/datasets")
    page.locator("input[type=file]").set_input_files(tickets)
    page.get_by_label("Name of the dataset").fill("no name!")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("alert").get_by_text("'no name!'").wait_for()
    assert "Traceback" not in log.read_bytes()[before:].decode()


def test_a_check_names_the_rows_and_its_repair_is_the_next_version(window: Window, tickets: Path) -> None:
    window.house.ws.datasets.add("studio-checked", tickets)
    page = window.open("/datasets/studio-checked")
    page.get_by_role("checkbox", name="Repair").click()
    page.get_by_role("button", name="Check the data").click()
    page.get_by_role("link", name="studio-checked:2").first.wait_for()
    fold = page.locator(".bp-fold", has_text="empty").first
    fold.get_by_role("button").click()
    fold.get_by_role("region").get_by_role("cell", name="5", exact=True).wait_for()
    page.reload()
    page.get_by_role("link", name="studio-checked:2").first.wait_for()
    assert window.house.ws.datasets.get("studio-checked:2").rows < 60


def test_one_row_and_one_column_are_counted_as_one(window: Window, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text\nhello\n")
    window.house.ws.datasets.add("studio-one", tmp_path / "one.csv")
    window.open("/datasets/studio-one").get_by_text("1 row, 1 column.", exact=True).wait_for()


def test_a_version_is_archived_restored_and_deleted_when_its_name_is_typed(window: Window, tickets: Path) -> None:
    window.house.ws.datasets.add("studio-old", tickets)
    page = window.open("/datasets/studio-old:1")
    page.get_by_role("button", name="Archive").click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("button", name="Archive").wait_for()
    page.get_by_role("button", name="Delete").click()
    sure = page.get_by_role("dialog").get_by_role("button", name="Delete it")
    assert sure.is_disabled()
    page.get_by_label("Type studio-old:1").fill("studio-old:1")
    sure.click()
    page.wait_for_url("**/studio/datasets")
    assert "studio-old" not in {dataset.name for dataset in window.house.ws.datasets.list()}
