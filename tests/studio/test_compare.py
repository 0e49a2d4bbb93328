"""Runs beside each other in the browser: curves in one chart, what differs, what each came to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bedplate.compute import Demand
from bedplate.database import Database, jobs
from bedplate.home import Home
from bedplate.job_folder import JobFolder, JobReporter

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from studio_browser import House, Window

HOSTILE = '<img src=x onerror="window.hit=1">'
CURVES = """() => [...document.querySelectorAll(".bp-chart")].map(
    e => getElement(Number(e.id.slice(1))).chart?.getOption().series.map(s => [s.name, s.data.map(p => p[1])]))"""


def finished_runs(house: House, name: str, *rates: float) -> list[str]:
    """Fine-tunes that have ended, with two logged losses each; archived, so that no other test meets them."""
    ids = [f"finetune-{name}{number}" for number in range(len(rates))]
    ended = {"kind": "finetune", "state": "succeeded", "owner": "local", "created": time.time(), "epoch": 1}
    ended |= {"archived": time.time(), "demand": Demand().to_json()}
    rows = []
    for id, rate in zip(ids, rates, strict=True):
        values = {"learning_rate": rate, "seed": 42}
        spec: dict[str, Any] = {"model": "acme/tiny-encoder:1", "task": "text-classification", "columns": {}}
        spec |= {"train": {"dataset": HOSTILE, "sha256": "a" * 64}, "validation": "auto", "test": "auto"}
        spec |= {"settings": {}, "forecast": {"values": values, "sources": {}}, "output": "acme/compared"}
        result = {"model": None, "test_metrics": {"accuracy": rate * 100}, "steps": 2}
        rows.append({"id": id, **ended, "spec": {**spec, "device": "cpu", "processes": 1}, "result": result})
        folder = house.home / "jobs" / id
        folder.mkdir()
        reporter = JobReporter(JobFolder(folder), 1)
        for step in (1, 2):
            reporter.metrics(step, {"loss": rate / step})
    database = Database(Home(house.home).database)
    with database.begin() as connection:
        connection.execute(jobs.insert(), rows)
    database.close()
    return ids


def curves_of(page: Page, runs: int) -> list[Any]:
    """What is drawn, once there are charts with as many curves."""
    are_there = f"all.length && all.every(curves => curves?.length == {runs})"
    page.wait_for_function(f"() => {{ const all = ({CURVES})(); return {are_there}; }}")
    drawn: list[Any] = page.evaluate(CURVES)
    return drawn


def test_two_runs_stand_beside_each_other_with_what_differs(house: House, window: Window) -> None:
    one, two = finished_runs(house, "beside", 0.001, 0.002)
    page = window.open(f"/jobs/{one}")
    page.get_by_role("link", name="Compare", exact=True).click()
    page.get_by_text("Choose two or more.").wait_for()
    page = window.open(f"/compare?jobs={one},{two}")
    table = page.get_by_role("region", name="Settings that differ")
    assert table.get_by_role("rowheader").all_inner_texts() == ["learning_rate"]
    assert table.get_by_role("cell").all_inner_texts() == ["0.001", "0.002"]
    assert page.get_by_role("region", name="Metrics").get_by_role("cell").all_inner_texts()[:2] == ["0.1000", "0.2000"]
    [drawn] = curves_of(page, 2)
    assert drawn == [[f"{one} acme/compared", [0.001, 0.0005]], [f"{two} acme/compared", [0.002, 0.001]]]
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page = window.open(f"/compare?jobs={one},{one}")
    page.get_by_text("2 runs cannot be compared.").wait_for()


def test_runs_are_chosen_one_after_the_other_from_a_list_that_stays_open(house: House, window: Window) -> None:
    one, two, three = finished_runs(house, "chosen", 0.001, 0.002, 0.003)
    page = window.open(f"/compare?jobs={one},{two},{three}")
    curves_of(page, 3)
    rates = page.get_by_role("region", name="Settings that differ").get_by_role("cell")
    page.get_by_role("combobox").click()
    page.get_by_role("option", name=two).click()
    curves_of(page, 2)
    page.get_by_role("option", name=three).click()
    page.get_by_text("Choose two or more.").wait_for()
    page.get_by_role("option", name=three).click()
    rates.nth(1).get_by_text("0.003").wait_for()
    assert rates.all_inner_texts() == ["0.001", "0.003"]
    assert page.url.endswith(f"/studio/compare?jobs={one}%2C{three}")
    page.reload()
    rates.nth(1).get_by_text("0.003").wait_for()
    curves_of(page, 2)
