"""A real browser signs in and out, and what other sites' pages do with it changes nothing: Chromium, by playwright."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from bedplate.sessions import COOKIE
from bedplate.workspace import Workspace
from harness import free_port, wait_for
from light_server import light_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = Path("/usr/bin/chromium")
ABSENT = [
    *([] if importlib.util.find_spec("playwright") else ["the package playwright"]),
    *([] if CHROMIUM.exists() else [f"{CHROMIUM} (Debian: apt-get install chromium)"]),
]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(port=free_port()) as workspace:
        wait_for(lambda: _answers(workspace), seconds=60)
        for name, role in (("vic", "viewer"), ("ana", "user"), ("adam", "admin")):
            workspace.users.create(name, role)
        yield workspace


def _answers(workspace: Workspace) -> bool:
    try:
        return httpx.get(f"{workspace.address.url}/livez").is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A window of a browser of its own, all that it asked for, and what its console said."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self.said.append(f"uncaught: {error.error}"))

    def open(self, url: str) -> Page:
        self.page.goto(url)
        return self.page

    def sign_in(self, server: Workspace, user: str) -> Page:
        self.open(f"{server.address.url}/login#{server.links.create(user)}")
        self.page.wait_for_url(f"{server.address.url}/docs")
        return self.page

    @property
    def cookies(self) -> list[str]:
        return [cookie["name"] for cookie in self.context.cookies()]


@pytest.fixture
def window(chromium: Browser) -> Iterator[Watched]:
    context = chromium.new_context()
    context.set_default_timeout(30_000)
    yield Watched(context)
    context.close()


def test_a_link_signs_in_and_its_code_is_gone_from_the_address_and_works_once(
    server: Workspace, window: Watched, chromium: Browser
) -> None:
    link = f"{server.address.url}/login#{server.links.create('ana')}"
    window.open(link)
    window.page.wait_for_url(f"{server.address.url}/docs")
    (cookie,) = window.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (COOKIE, True, "Lax", "/")
    assert COOKIE not in window.page.evaluate("document.cookie")
    window.page.go_back()  # the page that took the code is not in the history with it
    code = link.partition("#")[2]
    assert code not in window.page.url
    assert not [url for url in window.asked if code in url.partition("#")[0]]
    other = chromium.new_context()
    second = Watched(other)
    second.open(link)
    second.page.get_by_text("does not work any more").wait_for()
    assert second.page.url == f"{server.address.url}/login"
    assert second.cookies == []
    other.close()


def test_a_link_that_is_pasted_while_the_page_is_open_signs_in_too(server: Workspace, window: Watched) -> None:
    page = window.open(f"{server.address.url}/login")
    page.get_by_label("Your key").wait_for()
    window.sign_in(server, "ana")


def test_a_key_signs_in_and_a_wrong_one_says_so(server: Workspace, window: Watched) -> None:
    _, text = server.keys.create("k", ["admin"], owner="vic")
    page = window.open(f"{server.address.url}/login")
    page.get_by_label("Your key").fill("bp_wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("This key is not valid.").wait_for()
    assert page.get_by_label("Your key").input_value() == ""
    page.get_by_label("Your key").fill(f" {text} ")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.address.url}/docs")
    assert window.cookies == [COOKIE]
    assert not [url for url in window.asked if text in url]


def test_the_account_makes_and_revokes_keys_and_signs_out(server: Workspace, window: Watched) -> None:
    window.sign_in(server, "ana")
    page = window.open(f"{server.address.url}/account")
    page.get_by_role("heading", name="ana user").wait_for()
    page.get_by_text("None yet.").wait_for()
    page.get_by_label("What it is for").fill("<b onclick=alert(1)>ci</b>")
    page.get_by_label("run batches").check()
    page.get_by_role("button", name="Make the key").click()
    text = page.get_by_label("Copy this key now")
    text.wait_for()
    key = server.keys.find(text.input_value())
    assert key is not None
    assert (key.owner, key.name, key.scopes) == ("ana", "<b onclick=alert(1)>ci</b>", ("infer", "batch"))
    row = page.get_by_role("row").filter(has_text="<b onclick")
    assert "score, run batches" in row.inner_text()
    row.get_by_role("button").click()
    assert server.keys.get(key.id).revoked is None
    row.get_by_role("button", name="Really revoke").click()
    row.wait_for(state="detached")
    assert server.keys.get(key.id).revoked is not None
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{server.address.url}/login")
    assert window.cookies == []
    page.goto(f"{server.address.url}/account")
    page.wait_for_url(f"{server.address.url}/login")


def test_a_link_for_another_browser_signs_that_one_in(server: Workspace, window: Watched, chromium: Browser) -> None:
    window.sign_in(server, "vic")
    page = window.open(f"{server.address.url}/account")
    page.get_by_role("button", name="Make a link").click()
    other = chromium.new_context()
    second = Watched(other)
    link = page.get_by_label("Open this in the other browser")
    link.wait_for()  # it is there before, hidden and empty
    second.open(link.input_value())
    second.page.wait_for_url(f"{server.address.url}/docs")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{server.address.url}/login")
    second.page.goto(f"{server.address.url}/account")
    second.page.get_by_role("heading", name="vic viewer").wait_for()
    other.close()


def test_who_is_shut_out_goes_to_sign_in_at_his_next_click(server: Workspace, window: Watched) -> None:
    server.users.create("eve", "user")
    window.sign_in(server, "eve")
    page = window.open(f"{server.address.url}/account")
    page.get_by_text("None yet.").wait_for()  # the last that this page asks for by itself
    server.users.change("eve", disabled=True)
    page.get_by_role("button", name="Make a link").click()
    page.wait_for_url(f"{server.address.url}/login")


def test_no_page_asks_another_place_or_says_anything_bad(server: Workspace, window: Watched) -> None:
    window.sign_in(server, "adam")
    for path in ("/", "/docs", "/account", "/login"):
        window.open(f"{server.address.url}{path}")
        window.page.wait_for_load_state("networkidle")
        assert not [line for line in window.said if "Content Security Policy" in line], path
    assert {re.sub(r"(//[^/]*).*", r"\1", url) for url in window.asked} == {server.address.url}
    window.said.clear()
    for path in ("/account", "/login"):
        window.open(f"{server.address.url}{path}")
        window.page.wait_for_load_state("networkidle")
    assert window.said == []


def test_a_script_that_is_written_into_a_page_does_not_run(server: Workspace, window: Watched) -> None:
    page = window.open(f"{server.address.url}/login")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 2'}))"
    )
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/out'}))")
    wait_for(lambda: len([line for line in window.said if "Content Security Policy" in line]) >= 3)
    assert page.evaluate("window.ran") is None


# --- another site ---

EVIL = """<!doctype html><title>evil</title>
<form id="plain" action="{url}/api/v1/keys" method="post" enctype="text/plain">
  <input name='{{"name": "evil", "scopes": ["admin"], "x": "' value='"}}'></form>
<form id="coded" action="{url}/api/v1/server/stop" method="post"></form>
<form id="login" action="{url}/api/v1/session" method="post" enctype="text/plain">
  <input name='{{"code": "{code}", "x": "' value='"}}'></form>
<iframe id="frame" src="{url}/account"></iframe>
"""
# Each way that a page has to send something elsewhere; what the browser lets it see of the answer.
FETCHES = """async (url) => {
  const json = JSON.stringify({name: "evil", scopes: ["admin"]});
  const seen = {};
  for (const [name, path, options] of [
    ["read", "/api/v1/keys", {}],
    ["token", "/api/v1/session", {}],
    ["simple", "/api/v1/keys", {method: "POST", body: json}],
    ["json", "/api/v1/keys", {method: "POST", body: json, headers: {"Content-Type": "application/json"}}],
    ["blind", "/api/v1/keys", {method: "POST", body: json, mode: "no-cors"}],
    ["stop", "/api/v1/server/stop", {method: "POST", mode: "no-cors"}],
    ["delete", "/api/v1/session", {method: "DELETE"}],
    ["put", "/api/v1/users/ana", {method: "PATCH", body: "{}"}],
  ]) {
    try {
      const answer = await fetch(url + path, {credentials: "include", ...options});
      seen[name] = answer.type === "opaque" ? "opaque" : await answer.text();
    } catch { seen[name] = "blocked"; }
  }
  navigator.sendBeacon(url + "/api/v1/server/stop", json);
  return seen;
}"""


@contextmanager
def other_site(folder: Path) -> Iterator[str]:
    """A web server on another port of this machine, which to a browser is the same site and another origin."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}"
        finally:
            site.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def evil(server: Workspace, tmp_path: Path) -> Iterator[str]:
    code = server.links.create("vic")  # of the attacker, who wants us to work as him
    (tmp_path / "index.html").write_text(EVIL.format(url=server.address.url, code=code))
    with other_site(tmp_path) as url:
        yield url


def state(server: Workspace) -> tuple[object, ...]:
    return server.audit.count(), server.users.all(), server.keys.all()


def test_another_site_s_page_reads_nothing_and_changes_nothing(server: Workspace, window: Watched, evil: str) -> None:
    window.sign_in(server, "adam")
    before = state(server)
    page = window.open(evil)
    seen = page.evaluate(FETCHES, server.address.url)
    assert set(seen) == {"read", "token", "simple", "json", "blind", "stop", "delete", "put"}
    assert set(seen.values()) <= {"blocked", "opaque"}
    for form in ("plain", "coded", "login"):
        with page.expect_navigation() as answer:
            page.evaluate(f"document.getElementById('{form}').submit()")
        assert answer.value is not None and answer.value.status == 403, form
        page.goto(evil)
    assert page.frames[1].url.startswith("chrome-error"), "no other page frames ours"
    assert state(server) == before
    assert httpx.get(f"{server.address.url}/livez").is_success
    window.open(f"{server.address.url}/account").get_by_role("heading", name="adam admin").wait_for()


def test_a_page_of_another_name_for_this_machine_is_another_site(server: Workspace, window: Watched, evil: str) -> None:
    window.sign_in(server, "adam")
    before = state(server)
    page = window.open(evil.replace("127.0.0.1", "localhost"))
    assert set(page.evaluate(FETCHES, server.address.url).values()) <= {"blocked", "opaque"}
    assert state(server) == before
