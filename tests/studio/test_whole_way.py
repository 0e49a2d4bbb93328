"""The whole way in the browser: import, data, fine-tune, evaluation, deployment, a question, a file; with the control
plane killed in the middle, and nobody else asked for anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bedplate
from harness import bedplate_home, free_port, processes_of, serving, wait_for, write_messages
from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

WAIT_MS = 240_000  # for a job


@pytest.fixture
def empty_house() -> Iterator[House]:
    """A server of its own, with nothing in it."""
    port = free_port()
    with bedplate_home() as home, serving(home, port), bedplate.connect(home=home) as ws:
        ws.users.create("olga", role="operator")
        ws.users.create("vic", role="viewer")
        yield House(home, port, ws)


def test_from_a_model_id_to_scored_rows_without_leaving_the_browser(
    empty_house: House, browser: Browser, hub: str, tmp_path: Path
) -> None:
    house = empty_house
    window = Window(house, browser.new_context(viewport={"width": 1280, "height": 900}), "olga")
    other = Window(house, browser.new_context(), "vic")

    page = window.open("/import")
    page.get_by_label("MODEL_ID, such").fill("acme/tiny-encoder")
    page.get_by_text("More: another").click()
    page.get_by_label("The URL of another Hub").fill(hub)
    go_on(page, "This server's policy")
    go_on(page, "The same as code")
    start(page, "Import")
    _ended(page)
    assert page.get_by_role("heading", name="Data and model").count() == 0, "an import begins with none"
    base = house.ws.models.get("acme/tiny-encoder").ref

    page = window.open(f"/models/{base}")
    page.get_by_role("link", name="Fine-tune", exact=True).click()
    page.get_by_role("radio", name="Text classification").check()
    go_on(page, "Training")
    _upload(page, write_messages(tmp_path / "messages.csv", 150))
    go_on(page, "Guessed by the names")
    go_on(page, "Search the settings")
    page.get_by_role("textbox", name="num_train_epochs").fill("2")
    go_on(page, "Name of the result")
    page.get_by_label("Name of the result").fill("acme/way-tuned")
    go_on(page, "The same as code")
    start(page, "Start the fine-tune")
    page.wait_for_url("**/studio/jobs/finetune-*")
    _kill_control_plane(house)
    _ended(page)
    # The curves are there, those from before the kill too.
    assert page.locator(".nicegui-echart svg").count() >= 1

    page = window.open("/evaluate?model=acme/way-tuned&data=messages:1")
    go_on(page, "Test data")
    go_on(page, "Guessed by the names")
    go_on(page, "All that apply")
    go_on(page, "The same as code")
    start(page, "Start the evaluation")
    _ended(page)
    assert other.open("/evaluations").get_by_text("acme/way-tuned:1").first.is_visible()

    page = window.open("/deploy?model=acme/way-tuned:1")
    go_on(page, "Name of the endpoint")
    go_on(page, "The same as code")
    start(page, "Deploy")
    page.get_by_role("button", name="I have kept it").click()
    page.wait_for_url("**/studio/endpoints/way-tuned")
    house.ws.endpoints.get("way-tuned").wait(timeout_seconds=240)
    page = window.open("/endpoints/way-tuned")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".bp-bar-line").first.wait_for()

    page = window.open("/batch/new?model=acme/way-tuned:1")
    page.get_by_role("button", name="Next").locator("visible=true").click()
    page.get_by_role("combobox", name="dataset").or_(page.get_by_label("Dataset")).first.click()
    page.get_by_role("option", name="messages:1").click()
    for _ in range(3):
        page.wait_for_timeout(800)
        page.get_by_role("button", name="Next").locator("visible=true").click()
    start(page, "Start scoring")
    page.wait_for_url("**/studio/batch/jobs/*")
    page.get_by_role("region", name="Scored rows").get_by_role("cell").first.wait_for(timeout=WAIT_MS)

    assert window.strangers == []
    assert [text for text in window.said if text.startswith("uncaught")] == []
    for one in (window, other):
        one.context.close()


def go_on(page: Page, then: str) -> None:
    """To the next step, which has this text or field."""
    page.get_by_role("button", name="Next").locator("visible=true").click()
    page.get_by_text(then).or_(page.get_by_label(then)).first.wait_for()


def start(page: Page, name: str) -> None:
    """The last button of a wizard."""
    found: Locator = page.get_by_role("button", name=name, exact=True).locator("visible=true")
    found.last.click()


def _upload(page: Page, file: Path) -> None:
    page.get_by_text("Upload a file instead").first.click()
    page.locator("input[type=file]").first.set_input_files(file)
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("is the dataset messages:1 now").wait_for()


def _ended(page: Page) -> None:
    page.wait_for_url("**/studio/jobs/*")
    page.get_by_text("succeeded", exact=True).first.wait_for(timeout=WAIT_MS)


def _kill_control_plane(house: House) -> None:
    """`serve` starts another one; the page finds it again."""
    (pid,) = processes_of(house.home, "bedplate.control_plane")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: processes_of(house.home, "bedplate.control_plane") not in ([], [pid]), seconds=60)
