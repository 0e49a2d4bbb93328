"""The first page: what is here, and where to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_first_page_counts_what_is_here_and_leads_to_where_this_role_may_begin(
    house: House, browser: Browser
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    window = Window(house, context, "ana")
    page = window.open("/")
    count = page.locator("dl").get_by_role("link").first
    assert count.get_attribute("href") == "/studio/models" and int(count.inner_text()) >= 2
    assert page.get_by_role("link", name="Fine-tune…").get_attribute("href") == "/studio/finetune"
    assert "ask an admin for the role operator" in page.get_by_role("link", name="Deploy…").inner_text()
    assert page.get_by_role("heading", name="Running and waiting").is_visible()
    page.get_by_role("link", name="Import…").click()
    page.get_by_text("bedplate import --from FOLDER --name NAME").wait_for()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    context.close()
    assert window.errors == [] and window.strangers == []
