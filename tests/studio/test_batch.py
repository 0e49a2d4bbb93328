"""Batch in the browser: a file is scored with a wizard, and its rows are looked at and downloaded."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from harness import run_cli
from studio_browser import Window

SCRIPT = "<img src=x onerror=\"document.title='run'\">"


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    file = tmp_path / "studio messages.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["body"], [SCRIPT], *([f"my card number {number} is lost"] for number in range(29))])
    return file


def test_a_file_is_scored_and_its_rows_are_shown_as_text_and_downloaded(window: Window, messages: Path) -> None:
    ws = window.house.ws
    page = window.open("/batch/new?model=acme/tiny-classifier")
    next_step = page.get_by_role("button", name="Next").locator("visible=true")
    next_step.click()
    page.get_by_role("button", name="Upload a file instead").click()
    page.locator("input[type=file]").set_input_files(messages)
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("30 rows, 1 column.").wait_for()
    next_step.click()
    page.get_by_label("Top k").fill("2")
    page.get_by_role("combobox", name="sentence1").fill("body")
    page.get_by_role("option", name="body", exact=True).click()
    next_step.click()
    page.get_by_label("File of scored rows").fill("studio.jsonl")
    next_step.click()
    command = shlex.split(page.locator(".bp-how pre").first.inner_text().replace("\\\n", ""))
    page.get_by_role("button", name="Start scoring").click()
    page.wait_for_url("**/studio/batch/jobs/*")

    job = ws.jobs.get(page.url.rpartition("/")[2]).wait(watch=lambda job: None, timeout_seconds=240)
    page.get_by_role("region", name="Scored rows").get_by_text(SCRIPT).wait_for()
    assert page.locator("main img").count() == 0
    with page.expect_download() as download:
        page.get_by_role("link", name="Download studio.jsonl").click()
    rows = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert [row["body"] for row in rows][:2] == [SCRIPT, "my card number 0 is lost"]
    window.open("/batch")
    page.get_by_role("link", name=job.id).first.wait_for()

    shown = run_cli(*command[1:], "--detach", "--format", "json", home=window.house.home)
    other = ws.jobs.get(json.loads(shown.stdout)["id"])
    assert other.data["spec"] == job.data["spec"]
    other.cancel()


def test_a_base_is_refused_in_the_step_where_it_is_chosen(window: Window) -> None:
    page = window.open("/batch/new?model=acme/tiny-encoder")
    page.get_by_role("button", name="Next").locator("visible=true").click()
    page.get_by_role("alert").get_by_text("acme/tiny-encoder:1 is a base").wait_for()
    assert page.get_by_label("Model or endpoint").is_visible()
