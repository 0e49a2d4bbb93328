"""Every page for those who use a keyboard, a screen reader, another theme or a telephone; axe looks for faults."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bedplate.studio.parts.tables import Column, shown_rows
from bedplate.studio.paths import place
from bedplate_registry.registry import Registry
from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = importlib.util.find_spec("axe_core_python")
BASE, CLASSIFIER = "acme/tiny-encoder:1", "acme/tiny-classifier:1"
PAGES = {
    "home": place(),
    "catalog": place("catalog"),
    "models": place("models"),
    "model": place("models", CLASSIFIER),
    "base": place("models", BASE),
    "datasets": place("datasets"),
    "dataset": place("datasets", "axe-rows"),
    "jobs": place("jobs"),
    "job": "",
    "evaluations": place("evaluations"),
    "evaluation": "",
    "leaderboard": place("leaderboard"),
    "compare": place("compare"),
    "endpoints": place("endpoints"),
    "batch": place("batch"),
    "compute": place("compute"),
    "settings": place("settings"),
    "import": place("import"),
    "evaluate": place("evaluate", model=CLASSIFIER),
    "evaluate-predictions": place("evaluate", "predictions", predictions="axe-rows"),
    "finetune": place("finetune", model=BASE),
    "deploy": place("deploy", model=CLASSIFIER),
    "batch-new": place("batch", "new", model=CLASSIFIER),
    "nowhere": place("nowhere"),
}
REPORT = {
    "model": CLASSIFIER,
    "task": "text-classification",
    "kind": "model",
    "data": {"filename": "axe.csv", "rows": 120},
    "metrics": {"accuracy": 0.75, "log_loss": 0.5},
    "confidence": {"accuracy": [0.68, 0.81], "log_loss": [0.4, 0.6]},
    "against": {"model": BASE, "metrics": {"accuracy": 0.5}},
    "difference": {"accuracy": {"value": 0.25, "p_value": 0.01}},
}
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def pages(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_text("text,intent\nmy card is lost,card\nreset the password,login\n")
    house.ws.datasets.add("axe-rows", file)
    job = house.ws.submit(
        "data-check",
        {"data": "axe-rows", "task": "text-classification", "columns": {"sentence1": "text", "label": "intent"}},
    )
    report = Registry(house.home / "registry").evaluations.add(REPORT)
    return {**PAGES, "job": place("jobs", job.id), "evaluation": place("evaluations", report)}


@pytest.mark.skipif(AXE is None, reason="not installed: the package axe-core-python")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_any_page(
    house: House, browser: Browser, pages: dict[str, str], theme: Any
) -> None:
    page = Window(house, browser.new_context(viewport=WIDE if theme == "light" else NARROW, color_scheme=theme)).page
    found = {name: faults for name, address in pages.items() if (faults := _faults(page, house.url + address))}
    page.context.close()
    assert found == {}


def _faults(page: Page, url: str) -> list[str]:
    page.goto(url)
    page.wait_for_selector("h1")
    page.wait_for_function("() => window.did_handshake")
    page.wait_for_timeout(500)  # what fades in has its colors then
    assert AXE is not None and AXE.submodule_search_locations
    page.evaluate(next(Path(AXE.submodule_search_locations[0]).rglob("axe.min.js")).read_text())
    report = page.evaluate("() => axe.run({resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:160]}"
        for fault in report["violations"]
        if fault["impact"] in GRAVE
        for node in fault["nodes"][:2]
    ]


def test_no_page_is_wider_than_a_telephone(house: House, browser: Browser, pages: dict[str, str]) -> None:
    page = Window(house, browser.new_context(viewport=NARROW)).page
    wide = {}
    for name, address in pages.items():
        page.goto(house.url + address)
        page.wait_for_selector("h1")
        page.wait_for_function("() => window.did_handshake")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > NARROW["width"]:
            wide[name] = width
    page.context.close()
    assert wide == {}


def test_a_keyboard_gets_from_the_address_to_the_content_and_the_navigation(window: Window) -> None:
    page = window.open("/models")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('main') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Import a model"


def test_a_table_is_called_by_its_name_also_as_a_list_on_a_telephone(window: Window) -> None:
    page = window.open("/models")
    page.get_by_role("table", name="Models").wait_for()
    page.set_viewport_size(NARROW)
    page.get_by_role("group", name="Models").get_by_role("term").first.wait_for()
    assert page.get_by_role("table").count() == 0
    page.set_viewport_size(WIDE)
    page.get_by_role("table", name="Models").wait_for()


def test_several_values_in_a_cell_are_one_text_for_the_table() -> None:
    (row,) = shown_rows([Column("models", "Models")], [{"models": ["a:1", "b:2"]}])
    assert row["c0"] == row["c0_shown"] == "a:1, b:2"


def test_a_page_that_fails_has_a_heading_above_what_is_wrong(window: Window) -> None:
    page = window.open("/settings/users/nobody")
    assert page.get_by_role("heading", level=1).all_inner_texts() == ["User nobody"]
    assert page.get_by_role("alert").inner_text().startswith("There is no user 'nobody'.")
    assert window.failed == [f"404 {window.house.url}/studio/settings/users/nobody"]
    window.failed.clear()
    window.said.clear()


def test_a_file_is_chosen_by_keyboard_and_by_mouse(window: Window) -> None:
    page = window.open("/datasets")
    button = page.get_by_role("button", name="Upload a file")
    opens_chooser(page, lambda: button.press("Enter"))
    opens_chooser(page, page.locator("input[type=file]").click)


def opens_chooser(page: Page, act: Callable[[], None]) -> None:
    """Twice at most: a browser forgets a key that it was too busy for within five seconds, for safety."""
    from playwright.sync_api import TimeoutError as TimedOut

    try:
        with page.expect_file_chooser(timeout=10_000):
            act()
    except TimedOut:
        with page.expect_file_chooser():
            act()
