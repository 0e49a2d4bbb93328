"""What is around every page of Studio: who comes in, the bar, the navigation, the two themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser

POLICY_PARTS = ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'")


def test_a_browser_without_a_session_is_shown_where_to_sign_in(house: House, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{house.url}/studio/models")
    assert page.url == f"{house.url}/login"
    context.close()


def test_a_program_without_a_session_gets_no_page(house: House) -> None:
    answer = httpx.get(f"{house.url}/studio/models")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_a_page_asks_nobody_else_and_says_so(window: Window) -> None:
    page = window.open("/models")
    answer = page.request.get(f"{window.house.url}/studio/models")
    assert all(part in answer.headers["content-security-policy"] for part in POLICY_PARTS)
    assert page.get_by_role("heading", name="Models").is_visible()
    assert page.get_by_role("link", name="acme/tiny-classifier").count() >= 1


def test_the_front_door_leads_to_studio(window: Window) -> None:
    window.page.goto(window.house.url)
    assert window.page.url == f"{window.house.url}/studio/"


def test_the_theme_that_was_chosen_stays(window: Window) -> None:
    page = window.open("/models")
    assert "body--dark" not in (page.locator("body").get_attribute("class") or "")
    page.get_by_role("button", name="Dark or light").click()
    page.wait_for_selector("body.body--dark")
    page = window.open("/")
    page.wait_for_selector("body.body--dark")


def test_another_sites_page_cannot_open_the_socket(house: House, window: Window) -> None:
    cookies = {one["name"]: one["value"] for one in window.context.cookies()}
    answer = httpx.get(
        f"{house.url}/studio/_nicegui_ws/socket.io/?EIO=4&transport=polling",
        cookies=cookies,
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 403


def test_a_page_that_one_opened_is_no_page_of_anothers(house: House, window: Window, browser: Browser) -> None:
    """Whoever learns the id of a page that is open still has to be who opened it."""
    window.open("/models")
    page_id = window.page.evaluate("window.clientId")
    other = Window(house, browser.new_context(), "vic")
    for user, answer in ((window, 200), (other, 403)):
        cookies = {one["name"]: one["value"] for one in user.context.cookies()}
        place = f"{house.url}/studio/_nicegui_ws/socket.io/?EIO=4&transport=polling&client_id={page_id}"
        assert httpx.get(place, cookies=cookies, headers={"Origin": house.url}).status_code == answer
    other.context.close()


def test_an_address_that_leads_nowhere_says_so_and_leads_back(window: Window) -> None:
    page = window.open("/no-such-page")
    assert page.get_by_role("heading", name="There is no such page").is_visible()
    assert window.failed == [f"404 {window.house.url}/studio/no-such-page"]
    window.failed.clear()
    window.said.clear()
    page.get_by_role("link", name="To the first page").click()
    page.wait_for_url(f"{window.house.url}/studio/")


def test_what_is_not_there_is_said_below_a_heading_with_the_way_back(window: Window) -> None:
    page = window.open("/jobs/none-like-that")
    assert page.get_by_role("heading", level=1).is_visible() and page.get_by_role("alert").is_visible()
    assert page.get_by_role("link", name="Back to Jobs").get_attribute("href") == "/studio/jobs"
    assert window.failed == [f"404 {window.house.url}/studio/jobs/none-like-that"]
    window.failed.clear()
    window.said.clear()


def test_who_signed_out_elsewhere_can_do_nothing_more_on_a_page_that_is_still_open(
    house: House, browser: Browser
) -> None:
    window = Window(house, browser.new_context(), "ana")
    page = window.open("/models")
    cookies = {one["name"]: one["value"] for one in window.context.cookies()}
    session = httpx.get(f"{house.url}/api/v1/session", cookies=cookies).json()
    headers = {"Origin": house.url, "X-CSRF-Token": session["csrf_token"]}
    assert httpx.delete(f"{house.url}/api/v1/session", cookies=cookies, headers=headers).status_code == 204
    page.reload()
    page.wait_for_url(f"{house.url}/login")
    window.context.close()
