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
