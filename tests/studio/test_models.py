"""The models in Studio: found, looked at, moved on, whatever strangers wrote into their names, labels and cards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from bedplate.card_page import card_page
from bedplate.compute import Demand
from bedplate.database import Database, jobs
from bedplate.home import Home
from bedplate_registry.errors import Conflict
from studio_browser import House, Window
from studio_stock import HOSTILE, LONG, publish

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def guest(house: House, browser: Browser) -> Iterator[Window]:
    """A window of a viewer, who may read."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    made = Window(house, context, "vic")
    yield made
    context.close()
    assert made.errors == [] and made.strangers == []


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_a_model_leads_to_the_job_that_made_it_for_who_may_see_that(window: Window, guest: Window) -> None:
    made = {"id": "finetune-studio-made", "kind": "finetune", "state": "succeeded", "owner": "local"}
    made |= {"created": time.time(), "archived": time.time(), "demand": Demand().to_json(), "spec": {}}
    database = Database(Home(window.house.home).database)
    with database.begin() as connection:
        connection.execute(jobs.insert(), [made])
    database.close()
    ref = publish(window.house, "studio-made/model", job=made["id"])
    job = window.open(f"/models/{ref}").get_by_role("link", name=made["id"], exact=True)
    assert job.get_attribute("href") == f"/studio/jobs/{made['id']}"
    page = guest.open(f"/models/{ref}")
    page.get_by_text(made["id"], exact=True).wait_for()
    assert page.get_by_role("link", name=made["id"]).count() == 0


def test_models_are_found_as_one_types_and_the_address_says_what_was_looked_for(window: Window) -> None:
    publish(window.house, "studio-find/needle")
    page = window.open("/models")
    page.get_by_label("Search names, facts and cards").fill("needle")
    page.get_by_role("link", name="acme/tiny-encoder:1").wait_for(state="detached")
    page.get_by_role("link", name="studio-find/needle:1").wait_for()
    page.wait_for_url("**/studio/models?query=needle")
    page.reload()
    page.get_by_role("link", name="studio-find/needle:1").click()
    page.get_by_role("heading", name="studio-find/needle:1").wait_for()
    page = window.open("/models?query=needle&task=summarization")
    page.get_by_role("link", name="Show all models").wait_for()


def test_ten_thousand_models_come_page_by_page(window: Window) -> None:
    for number in range(30):
        publish(window.house, f"studio-many/model-{number:02}")
    page = window.open("/models?query=studio-many&sort=-created")
    assert page.get_by_role("row").count() == 1 + 25
    page.get_by_role("button", name="Next").click()
    page.get_by_role("link", name="studio-many/model-00:1").wait_for()
    assert page.get_by_role("row").count() == 1 + 5


def test_what_strangers_wrote_runs_nothing_and_asks_nobody(window: Window) -> None:
    ref = publish(window.house, "studio-hostile/card")
    page = window.open(f"/models/{ref}")
    card = page.frame_locator("iframe[title^='Card of']")
    card.get_by_role("heading", name="Of strangers").wait_for()
    assert card.get_by_role("link", name="all").get_attribute("href") == "https://example.com/docs"
    assert card.locator("img, script, style:not(head style), svg, iframe").count() == 0
    assert page.get_by_text(HOSTILE).first.is_visible() and LONG in page.inner_text("main")
    assert page.locator("iframe").get_attribute("sandbox") == "allow-popups allow-popups-to-escape-sandbox"
    assert page.title() == f"{ref} · Bedplate"


def test_a_model_without_a_card_has_no_empty_frame_and_each_tab_says_what_is_next(window: Window) -> None:
    ref = publish(window.house, "studio-bare/model", card="---\nlicense: mit\n---\n")
    page = window.open(f"/models/{ref}")
    page.get_by_text("Its author wrote no card.").wait_for()
    assert page.locator("iframe").count() == 0
    page.get_by_role("tab", name="Evaluations").click()
    page.get_by_role("link", name="Evaluate it").wait_for()
    page.get_by_role("tab", name="Deployments").click()
    page.get_by_role("link", name="Deploy it").wait_for()


def test_a_card_is_a_page_of_its_own_behind_the_same_door(window: Window) -> None:
    ref = publish(window.house, "studio-hostile/door")
    address = f"{window.house.url}/cards/{ref}"
    assert httpx.get(address).status_code in (401, 403)
    answer = window.page.request.get(address)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox allow-popups" in policy and "script-src" not in policy
    assert "evil.example/b" not in answer.text() and "Deploy and score" not in answer.text()
    assert "Deploy and score" in window.page.request.get(f"{address}?whole=true").text()


def test_html_in_markdown_stays_text_and_links_lead_only_to_pages() -> None:
    page = card_page(HOSTILE, "<b onclick=x>bold</b> [a](data:text/html,x) [b](http://x.example) ![c](http://x/c.png)")
    body = page.partition("<body>")[2]
    assert "&lt;img src=x" in page.partition("</title>")[0] and "<b" not in body.replace("<body", "")
    assert "data:" not in body.replace("[a](data:", "") and "<img" not in body
    assert '<a href="http://x.example" target="_blank" rel="noopener noreferrer nofollow">b</a>' in body


def test_an_alias_is_set_for_a_reason_and_rolled_back(window: Window) -> None:
    first, second = (publish(window.house, "studio-alias/model") for _ in range(2))
    window.house.ws.models.get(first).set_alias("live", why="the first one")
    page = window.open(f"/models/{second}?tab=versions")
    page.get_by_label("Alias, such as production").fill("live")
    page.get_by_label("Why (kept on record)").fill("better on the holdout")
    page.get_by_role("button", name="Set alias").click()
    page.get_by_label("What live meant").get_by_text("better on the holdout").wait_for()
    assert window.house.ws.models.get("studio-alias/model@live").ref == second
    page.get_by_role("button", name="Roll back").click()
    page.get_by_text("rolled back").wait_for()
    assert window.house.ws.models.get("studio-alias/model@live").ref == first


def test_a_version_is_verified_archived_and_taken_up_again(window: Window) -> None:
    ref = publish(window.house, "studio-state/model")
    page = window.open(f"/models/{ref}?tab=files")
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("Every file has the digest it was registered with.").wait_for()
    page.get_by_role("button", name="Archive").click()
    page.get_by_label("Why (kept on record)").fill("replaced")
    page.get_by_role("dialog").get_by_role("button", name="Archive").click()
    page.get_by_role("button", name="Restore").wait_for()
    assert "it is archived; restore it first" in page.get_by_role("link", name="Deploy").inner_text()
    assert window.house.ws.models.get(ref).state == "archived"


def test_a_viewer_on_a_phone_reads_all_and_is_told_why_he_may_do_nothing(guest: Window) -> None:
    ref = publish(guest.house, f"studio-phone/{'a-long-name-' * 6}x", task="")
    page = guest.open("/models?query=studio-phone")
    page.get_by_role("link", name=ref).wait_for()
    assert not scrolls_sideways(page)
    page = guest.open(f"/models/{ref}")
    assert "it is a base without a head" in page.get_by_role("link", name="Deploy").inner_text()
    assert "ask an admin for the role user" in page.get_by_role("link", name="Fine-tune : your role").inner_text()
    assert "ask an admin for the role operator" in page.get_by_role("link", name="Delete").inner_text()
    for tab in ("use", "versions", "files"):
        page = guest.open(f"/models/{ref}?tab={tab}")
        page.locator("section h2").first.wait_for()
        assert not scrolls_sideways(page), tab


def test_a_gate_is_set_rule_by_rule_an_error_leaves_with_the_next_message(window: Window) -> None:
    ref = publish(window.house, "studio-gate/model")
    models = window.house.ws.models
    page = window.open(f"/models/{ref}?tab=versions")
    page.get_by_label("Alias that it holds back").fill("live")
    page.get_by_role("button", name="Add rule").click()
    page.get_by_text("No metric is chosen.").wait_for()
    page.get_by_role("combobox", name="Metric").click()
    page.get_by_role("option", name="accuracy", exact=True).click()
    page.get_by_role("button", name="Add rule").click()
    page.get_by_text("The rule about accuracy asks for nothing.").wait_for()
    page.get_by_text("No metric is chosen.").wait_for(state="detached")
    assert page.locator(".q-notification__badge:visible").count() == 0
    page.get_by_label("At least").fill("0.9")
    page.get_by_label("Columns it was read by, such as label=verdict").fill("label=verdict")
    page.get_by_label("Why this rule (kept on record)").fill("agreed with the branch")
    page.get_by_role("button", name="Add rule").click()
    page.get_by_text("live has the rule about accuracy now.").wait_for()
    page.get_by_text("The rule about accuracy asks for nothing.").wait_for(state="detached")
    page.get_by_text("accuracy on any data (label=verdict) at least 0.9").wait_for()
    assert page.get_by_text("agreed with the branch").is_visible()
    [gate] = models.gates("studio-gate/model")
    assert (gate["alias"], gate["rules"][0]["at_least"], gate["rules"][0]["columns"]) == (
        "live",
        0.9,
        {"label": "verdict"},
    )
    with pytest.raises(Conflict, match="does not pass the gate"):
        models.get(ref).set_alias("live", why="too early")
    page.get_by_role("button", name="Remove accuracy").click()
    page.get_by_role("button", name="Remove it").click()
    page.get_by_text("accuracy on any data").wait_for(state="detached")
    assert [*models.gates("studio-gate/model")] == []


def test_who_may_not_set_gates_sees_why(guest: Window) -> None:
    ref = publish(guest.house, "studio-gate/seen")
    guest.house.ws.models.set_rule("studio-gate/seen", "live", {"metric": "accuracy", "at_least": 0.5})
    page = guest.open(f"/models/{ref}?tab=versions")
    page.get_by_text("accuracy at least 0.5").wait_for()
    assert page.get_by_text("Add rule").locator("..").get_attribute("aria-disabled") == "true"
    assert not scrolls_sideways(page)
