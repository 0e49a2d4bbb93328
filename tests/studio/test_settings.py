"""Compute and the settings in the browser: each for the roles that may, and what is secret shown once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import bedplate
from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TABS = {"vic": ["Server", "Keys"], "olga": ["Server", "Keys", "Doctor"]}


def test_each_role_has_the_tabs_that_it_may(house: House, browser: Browser) -> None:
    for user, tabs in TABS.items():
        context = browser.new_context()
        window = Window(house, context, user)
        page = window.open("/settings")
        page.get_by_role("link", name=tabs[-1], exact=True).wait_for()
        assert page.get_by_role("navigation", name="Settings").get_by_role("link").all_inner_texts() == tabs
        if user == "vic":
            page = window.open("/settings/users")
            page.get_by_role("alert").get_by_text("may not do that").wait_for()
        context.close()


def test_a_user_is_made_given_a_role_and_a_link_and_shut_out(window: Window) -> None:
    page = window.open("/settings/users")
    page.get_by_label("Name").fill("studio-bo")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("heading", name="studio-bo").wait_for()
    page.get_by_role("combobox", name="Role").click()
    page.get_by_role("option", name=re.compile("^operator")).click()
    page.get_by_text("operate", exact=False).first.wait_for()
    page.get_by_role("button", name="Sign-in link").click()
    assert "/login#" in page.get_by_role("dialog").locator("pre").inner_text()
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("button", name="Let in again").wait_for()
    user = window.house.ws.users.get("studio-bo")
    assert (user.role, user.disabled) == ("operator", True)


def test_a_key_is_shown_once_works_and_ends_when_it_is_revoked(window: Window) -> None:
    page = window.open("/settings/keys")
    page.get_by_label("What it is for").fill("studio <b>ci</b>")
    page.get_by_label("Days until it expires").fill("7")
    page.get_by_role("button", name="Create the key").click()
    text = page.get_by_role("dialog").locator("pre").inner_text()
    with bedplate.connect(window.house.url, token=text) as ws:
        assert ws.users.me().permissions == ["infer", "read"]
    page.get_by_role("button", name="I have kept it").click()
    row = page.get_by_role("row", name="studio <b>ci</b>")
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke it").click()
    row.get_by_text("revoked").wait_for()
    assert text not in window.open("/settings/keys").content()


def test_the_audit_log_is_searched_and_its_chain_verified(window: Window) -> None:
    window.house.ws.users.create("studio-cy")
    page = window.open("/settings/audit")
    page.get_by_label("Action (part of it)").fill("post /api/v1/users")
    log = page.get_by_role("table", name="Audit log")
    log.get_by_text("user studio-cy").wait_for()
    page.get_by_role("button", name="Verify the chain").click()
    page.get_by_text("The chain is whole").wait_for()


def test_compute_shows_the_machine_and_who_waits(window: Window) -> None:
    cores = window.house.ws.compute()["cores"]
    page = window.open("/compute")
    page.get_by_role("meter", name="Cores").wait_for()
    page.get_by_text(re.compile(rf"\d+ of {cores} free")).wait_for()
    assert page.get_by_role("heading", name="The queue").is_visible()
