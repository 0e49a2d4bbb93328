"""Jobs as people see them: curves and logs that grow, what may be done and why not, lists of ten thousand."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bedplate.client import Job
from bedplate.compute import Demand
from bedplate.database import Database, jobs
from bedplate.home import Home
from bedplate.job_folder import JobFolder, JobReporter
from fine_tunes import FineTune
from harness import wait_for
from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

HOSTILE = '<img src=x onerror="window.hit=1">'
MANY = 10_000
POINTS = """() => [...document.querySelectorAll(".bp-chart")].map(
    e => getElement(Number(e.id.slice(1))).chart?.getOption().series.map(s => [s.name, s.data.map(p => p[0])]))"""


@pytest.fixture(scope="module")
def running(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A fine-tune that runs for longer than these tests. Others may wait for it: tests that make jobs go first."""
    job = FineTune.submit(house.ws, house.home, tmp_path_factory.mktemp("jobs"), "jobs-running", steps=10**6).job
    wait_for(lambda: job.refresh().state == "running")
    yield job
    if not job.refresh().is_final:
        job.cancel()


def logged(house: House, job: Job) -> JobReporter:
    """What its worker writes with; it says something too."""
    return JobReporter(JobFolder(house.home / "jobs" / job.id), 1)


def test_findings_of_a_data_check_are_shown_with_their_rows_as_text(
    house: House, window: Window, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    label = HOSTILE.replace('"', "")
    rows.write_text(f"text,intent\nfine,{label}\n,card\nfine again,{'long' * 50}\n")
    columns = {"sentence1": "text", "label": "intent"}
    job = house.ws.datasets.check(rows, task="text-classification", columns=columns).wait(timeout_seconds=120)
    page = window.open(f"/jobs/{job.id}")
    page.get_by_role("heading", name="Findings").wait_for()
    assert page.get_by_text("data: row 2", exact=True).count() == 1
    assert page.get_by_text(label, exact=True).count() >= 1
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    off(page, "Resume", "it has succeeded").wait_for()


def test_curves_grow_while_it_runs_and_come_whole_after_a_reload(house: House, window: Window, running: Job) -> None:
    """Steps far above those that the worker itself takes meanwhile."""
    worker = logged(house, running)
    for step in (1_000_010, 1_000_020, 1_000_030):
        worker.metrics(step, {"loss": 1.5, "learning_rate": 1e-3})
    page = window.open(f"/jobs/{running.id}")
    page.get_by_role("heading", name="Loss").wait_for()
    worker.metrics(1_000_040, {"loss": 1.25, "learning_rate": 1e-4})
    worker.metrics(1_000_050, {"loss": 1.125, "learning_rate": 1e-5, "eval_loss": 1.0})
    page.wait_for_function("() => document.body.innerText.includes('eval_loss 1')")
    wanted = [1_000_010, 1_000_020, 1_000_030, 1_000_040, 1_000_050]
    assert steps_drawn(page)["loss"] == wanted
    page.reload()
    page.get_by_role("heading", name="Loss").wait_for()
    assert steps_drawn(page)["loss"] == wanted
    assert steps_drawn(page)["eval_loss"] == [1_000_050]


def steps_drawn(page: Page) -> dict[str, list[int]]:
    """By curve, without those that the worker itself logged."""
    page.wait_for_function(f"() => {{ const all = ({POINTS})(); return all.length && all.every(Boolean); }}")
    curves = [curve for chart in page.evaluate(POINTS) for curve in chart]
    return {name: [step for step in steps if step > 1_000_000] for name, steps in curves}


def test_the_log_grows_and_is_searched(house: House, window: Window, running: Job) -> None:
    page = window.open(f"/jobs/{running.id}")
    log = page.get_by_role("log")
    JobFolder(house.home / "jobs" / running.id).note(f"a line of {HOSTILE}")
    log.get_by_text(f"a line of {HOSTILE}").wait_for()
    JobFolder(house.home / "jobs" / running.id).note("the needle comes last")
    log.get_by_text("the needle comes last").wait_for()
    page.get_by_label("Search the log").fill("NEEDLE")
    page.wait_for_function("() => !document.querySelector('[role=log]').innerText.includes('a line of')")
    assert "the needle comes last" in log.inner_text()
    assert page.evaluate("window.hit") is None


def off(page: Page, button: str, why: str) -> Locator:
    """A button that does nothing, and tells why."""
    return page.get_by_role("link", name=re.compile(f"^{button} ?: {why}"))


def test_a_cancelled_job_can_be_resumed_and_is_archived(window: Window, running: Job) -> None:
    page = window.open(f"/jobs/{running.id}")
    off(page, "Archive", "it has not ended yet").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("status").get_by_text("cancelled").wait_for()
    page.get_by_role("button", name="Resume").wait_for()
    changed = page.get_by_role("link", name="Run again with changes")
    assert changed.get_attribute("href") == f"/studio/finetune?from_job={running.id}"
    page.get_by_role("button", name="Archive").click()
    page.get_by_role("button", name="Show in lists again").wait_for()
    assert running.refresh().data["archived"]


def test_a_job_that_was_resumed_elsewhere_is_shown_as_it_is_after_a_refusal_and_after_a_while(
    window: Window, running: Job
) -> None:
    wait_for(lambda: running.refresh().is_final)
    page = window.open(f"/jobs/{running.id}")
    cancel, resume = (page.get_by_role("button", name=name, exact=True) for name in ("Cancel", "Resume"))
    resume.wait_for()
    steps_drawn(page)  # another attempt draws its charts anew: these are there before they are taken away
    running.resume()
    resume.click()
    page.get_by_text("Only a failed or cancelled job can be resumed").wait_for()
    cancel.click()
    resume.wait_for()
    wait_for(lambda: running.refresh().is_final)
    running.resume()
    cancel.wait_for()


def test_ten_thousand_jobs_are_listed_a_page_at_a_time(house: House, window: Window) -> None:
    """Archived ones of somebody else's, so that no other test meets them."""
    database = Database(Home(house.home).database)
    known = {"kind": "batch", "state": "failed", "owner": "many", "created": time.time(), "archived": time.time()}
    known |= {"spec": {"model": HOSTILE, "output": "x" * 200}, "error": {"message": "No reason."}}
    known |= {"demand": Demand().to_json()}
    with database.begin() as connection:
        connection.execute(jobs.insert(), [{"id": f"batch-many{number:05}", **known} for number in range(MANY)])
    database.close()
    page = window.open("/jobs?archived=true&kind=batch&state=failed")
    page.get_by_role("link", name="batch-many09999").wait_for()
    assert page.get_by_role("row").count() == 26
    page.get_by_role("button", name="Older").click()
    page.get_by_role("link", name="batch-many09974").wait_for()
    assert page.get_by_text("Page 2").is_visible()
    assert page.evaluate("window.hit") is None
    choose(page, "Whose", "Mine")
    page.get_by_text("none here; look at older ones").wait_for()
    choose(page, "State", "running")
    page.get_by_text("No job matches these filters.").wait_for()
    assert page.get_by_role("link", name="Clear them").get_attribute("href") == "/studio/jobs"
    assert page.url.endswith("/studio/jobs?kind=batch&state=running&whose=mine&archived=true")


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_viewer_sees_no_job_of_others_and_is_told_why_he_makes_none(
    house: House, browser: Browser, running: Job
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    window = Window(house, context, "vic")
    page = window.open("/jobs")
    page.get_by_text("There is no job yet.").wait_for()
    off(page, "Fine-tune a model", "your role, viewer, may not train").wait_for()
    page = window.open(f"/jobs/{running.id}")
    assert page.get_by_role("alert").inner_text().startswith(f"There is no job '{running.id}'.")
    context.close()
