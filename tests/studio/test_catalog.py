"""The catalog in Studio: what can be imported, and what of it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio_browser import House, Window
from studio_stock import publish

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_a_card_leads_to_the_import_or_to_the_model_that_is_here(window: Window) -> None:
    ref = publish(window.house, "dslim/bert-base-NER", source="dslim/bert-base-NER")
    page = window.open("/catalog")
    page.get_by_label("Search names and purposes").fill("dslim")
    page.get_by_text("2 of the models").wait_for()
    cards = page.get_by_role("article")
    there = cards.filter(has_text="dslim/bert-large-NER").get_by_role("link", name="Import")
    assert there.get_attribute("href") == "/studio/import?model_id=dslim%2Fbert-large-NER"
    cards.get_by_role("link", name=f"Open {ref}").click()
    page.get_by_role("heading", name=ref).wait_for()


def test_filters_stay_in_the_address_and_nothing_found_says_what_to_do(window: Window) -> None:
    page = window.open("/catalog?task=translation&sort=-parameters&size=0-100")
    assert page.get_by_role("article").first.inner_text().count("Translation") >= 1
    page.get_by_label("Search names and purposes").fill("acme/none")
    there = page.get_by_role("link", name="Search the Hub")
    assert "source=hub" in (there.get_attribute("href") or "")
    assert page.get_by_role("link", name="Import acme/none").get_attribute("href")


def test_a_viewer_is_told_why_he_imports_nothing(house: House, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    window = Window(house, context, "vic")
    page = window.open("/catalog?query=distilbert")
    card = page.get_by_role("article").first
    assert "ask an admin for the role user" in card.get_by_role("link", name="Import").inner_text()
    assert page.get_by_label("Search in").count() == 0
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    context.close()
    assert window.errors == [] and window.strangers == []
