"""The evaluate wizard for masked words, from the model's page to the report; and a report on a file of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bedplate_serving.testing import tiny_masked_lm
from harness import run_cli

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from studio_browser import House, Window

WAIT_MS = 240_000


def test_a_model_that_fills_masks_is_evaluated_from_its_page(window: Window, house: House, tmp_path: Path) -> None:
    run_cli("import", "--from", str(tiny_masked_lm(tmp_path / "masks")), "--name", "acme/masks", home=house.home)
    data, said = tmp_path / "masked.jsonl", tmp_path / "said.txt"
    rows = [{"text": f"{first} [MASK] my card", "answer": "lost"} for first in ("why", "how", "when")] * 4
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    house.ws.datasets.add("masked-words", data)
    page = window.open("/models/acme/masks:1")
    page.get_by_role("link", name="Evaluate", exact=True).first.click()
    page.wait_for_url("**/studio/evaluate*")
    assert page.get_by_role("combobox", name="Task").input_value() == "Fill-mask"

    page = window.open("/evaluate?model=acme/masks:1&data=masked-words:1")
    for then in ("Test data", "Guessed by the names", "All that apply", "The same as code"):
        go_on(page, then)
    page.get_by_role("button", name="Start the evaluation", exact=True).locator("visible=true").last.click()
    page.wait_for_url("**/studio/jobs/*")
    page.get_by_text("succeeded", exact=True).first.wait_for(timeout=WAIT_MS)
    [report] = house.ws.evaluations.list(model="acme/masks:1")
    page = window.open(f"/evaluations/{report.id}")
    page.get_by_text("pseudo_perplexity").first.wait_for()
    assert page.get_by_text("Calibration").first.is_visible()

    said.write_text("lost\nlate\n" * 6)
    job = house.ws.evaluate(None, predictions=said, task="fill-mask", data="masked-words", name="half right")
    report = job.wait().report
    window.open(f"/jobs/{job.id}").get_by_text("half right").first.wait_for()
    page = window.open(f"/evaluations/{report.id}")
    page.get_by_text("half right (predictions)").first.wait_for()
    assert page.get_by_text("The first guess of each mask is known, and no other.").first.is_visible()


def go_on(page: Page, then: str) -> None:
    """To the next step, which has this text or field."""
    page.get_by_role("button", name="Next").locator("visible=true").click()
    page.get_by_text(then).or_(page.get_by_label(then)).first.wait_for()
