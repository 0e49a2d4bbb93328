"""Browsers: how one signs in and out, what its cookie is good for, and what another site's page cannot do with it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bedplate.api.pages import STATIC
from bedplate.sessions import COOKIE, is_own_page
from bedplate.workspace import Workspace
from harness import free_port, wait_for
from light_server import light_server

TABLE = Path(__file__).with_name("route_policies.txt")
SESSION = "/api/v1/session"
SAFE = ("GET", "HEAD", "OPTIONS")


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(port=free_port()) as workspace:
        wait_for(lambda: _answers(workspace), seconds=60)
        for name, role in (("vic", "viewer"), ("ana", "user"), ("bo", "user"), ("adam", "admin")):
            workspace.users.create(name, role)
        yield workspace


def _answers(workspace: Workspace) -> bool:
    try:
        return httpx.get(f"{workspace.address.url}/livez").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def client(server: Workspace) -> Iterator[httpx.Client]:
    """What has no session yet, and keeps no cookie by itself."""
    with httpx.Client(base_url=server.address.url) as made:
        yield made


@pytest.fixture
def inside(server: Workspace) -> Iterator[httpx.Client]:
    """As the gateway calls the control plane: past its own checks, and with what it tells."""
    transport = httpx.HTTPTransport(uds=str(server.home.gateway_socket))
    with httpx.Client(transport=transport, base_url=server.address.url) as made:
        yield made


@dataclass(frozen=True)
class Browser:
    """One that is signed in."""

    client: httpx.Client
    cookie: str
    csrf_token: str

    def send(self, method: str, path: str, **options: object) -> httpx.Response:
        """As a page of the server does."""
        return self.forge(
            method, path, {"Origin": str(self.client.base_url), "X-CSRF-Token": self.csrf_token}, **options
        )

    def forge(self, method: str, path: str, headers: dict[str, str], **options: object) -> httpx.Response:
        """With the cookie, and these headers only."""
        sent = {"Cookie": f"{COOKIE}={self.cookie}", **{name: value for name, value in headers.items() if value}}
        return self.client.request(method, path, headers=sent, **options)  # type: ignore[arg-type]


def sign_in(server: Workspace, client: httpx.Client, user: str) -> Browser:
    answer = client.post(SESSION, json={"code": server.links.create(user)})
    assert answer.status_code == 201, answer.text
    cookie = answer.cookies[COOKIE]
    client.cookies.clear()
    return Browser(client, cookie, answer.json()["csrf_token"])


# --- in and out ---


def test_a_link_signs_one_browser_in_once(server: Workspace, client: httpx.Client) -> None:
    code = server.links.create("ana")
    first = client.post(SESSION, json={"code": code})
    assert first.status_code == 201
    assert first.json() == {
        "user": "ana",
        "role": "user",
        "permissions": ["account", "batch", "import", "infer", "read", "train"],
        "csrf_token": first.json()["csrf_token"],
        "expires": pytest.approx(time.time() + 12 * 3600, abs=60),
    }
    assert client.get(SESSION).json() == first.json()
    client.cookies.clear()
    again = client.post(SESSION, json={"code": code})
    assert (again.status_code, again.json()["code"]) == (401, "bad-link")
    assert "set-cookie" not in again.headers


def test_the_cookie_is_for_this_server_alone_and_no_script_reads_it(
    server: Workspace, client: httpx.Client, inside: httpx.Client
) -> None:
    def flags(client: httpx.Client, headers: dict[str, str]) -> set[str]:
        answer = client.post(SESSION, json={"code": server.links.create("ana")}, headers=headers)
        client.cookies.clear()
        assert answer.headers["cache-control"] == "no-store"
        return set(answer.headers["set-cookie"].split("; ")[1:])

    plain = flags(client, {})
    assert plain >= {"HttpOnly", "Path=/", "SameSite=lax"}
    assert any(flag.startswith("Max-Age=43") for flag in plain)
    assert "Secure" not in plain
    assert not any(flag.startswith("Domain") for flag in plain)
    assert "Secure" not in flags(client, {"X-Bedplate-Scheme": "https"})  # callers do not say this, the gateway does
    assert "Secure" in flags(inside, {"X-Bedplate-Scheme": "https"})


def test_a_key_that_stands_for_its_user_signs_in_and_a_lesser_one_does_not(
    server: Workspace, client: httpx.Client
) -> None:
    def status(key: str) -> tuple[int, str]:
        answer = client.post(SESSION, json={"key": key})
        return answer.status_code, answer.json().get("code") or answer.json()["user"]

    key, whole = server.keys.create("k", ["admin"], owner="ana")
    _, scores = server.keys.create("k", ["infer"], owner="adam")
    _, limited = server.keys.create("k", ["infer"], owner="adam", endpoints=["support"])
    _, slot = server.keys.rotate("support", "primary")
    assert status(f" {whole}\n") == (201, "ana")  # as it was pasted
    assert status(str(server.home.token())) == (201, "local")
    assert status(scores) == status(limited) == (403, "forbidden")
    assert status(slot)[0] in (401, 403)
    for wrong in ("bp_wrong", "'", "a\0b", "é", "x" * 1000):
        assert status(wrong)[0] in (401, 422), wrong
    server.keys.revoke(key.id)
    assert status(whole) == (401, "unauthorized")


@pytest.mark.parametrize(
    "body", [{}, {"code": "a", "key": "b"}, {"code": ""}, {"key": 5}, {"user": "ana"}, {"key": "x" * 1001}, []]
)
def test_a_sign_in_of_another_form_is_refused(client: httpx.Client, body: object) -> None:
    assert client.post(SESSION, json=body).status_code == 422


def test_signing_out_ends_this_session_and_no_other(server: Workspace, client: httpx.Client) -> None:
    first, second = sign_in(server, client, "ana"), sign_in(server, client, "ana")
    answer = first.send("DELETE", SESSION)
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert first.send("GET", SESSION).status_code == 401
    assert second.send("GET", SESSION).status_code == 200


def test_signing_in_anew_ends_what_the_browser_had(server: Workspace, client: httpx.Client) -> None:
    old = sign_in(server, client, "ana")
    new = old.send("POST", SESSION, json={"code": server.links.create("bo")})
    client.cookies.clear()
    assert (new.status_code, new.json()["user"]) == (201, "bo")
    assert old.send("GET", SESSION).status_code == 401


def test_a_session_ends_after_its_hours(
    server: Workspace, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.sessions, "seconds", 0.3)
    browser = sign_in(server, client, "ana")
    wait_for(lambda: browser.send("GET", SESSION).status_code == 401, seconds=60)
    assert browser.send("POST", "/api/v1/keys", json={"name": "k", "scopes": ["infer"]}).status_code == 401


def test_a_session_does_not_outlive_the_key_that_began_it(server: Workspace, client: httpx.Client) -> None:
    _, short = server.keys.create("k", ["admin"], owner="ana", days=0.01)
    assert client.post(SESSION, json={"key": short}).json()["expires"] < time.time() + 865
    key, text = server.keys.create("k", ["admin"], owner="ana")
    answer = client.post(SESSION, json={"key": text})
    browser = Browser(client, answer.cookies[COOKIE], answer.json()["csrf_token"])
    client.cookies.clear()
    assert browser.send("GET", SESSION).status_code == 200
    server.keys.revoke(key.id)
    assert browser.send("GET", SESSION).status_code == 401
    cut = Browser(client, browser.cookie.partition(".")[0], browser.csrf_token)
    assert cut.send("GET", SESSION).status_code == 401


def test_another_role_and_being_shut_out_act_on_a_session_at_once(server: Workspace, client: httpx.Client) -> None:
    server.users.create("eve", "admin")
    eve, adam = sign_in(server, client, "eve"), sign_in(server, client, "adam")
    code = server.links.create("eve")
    assert eve.send("GET", "/api/v1/users").status_code == 200
    adam.send("PATCH", "/api/v1/users/eve", json={"role": "viewer"})
    assert eve.send("GET", "/api/v1/users").status_code == 403
    assert eve.send("GET", SESSION).json()["role"] == "viewer"
    adam.send("PATCH", "/api/v1/users/eve", json={"disabled": True})
    assert eve.send("GET", SESSION).status_code == 401
    assert client.post(SESSION, json={"code": code}).status_code == 401
    adam.send("PATCH", "/api/v1/users/eve", json={"disabled": False})
    assert eve.send("GET", SESSION).status_code == 401, "who comes back signs in anew"


@pytest.mark.parametrize("cookie", ["", "x", '"', "a.b.c", "." * 5000, "é", "%00", "' OR 1=1 --", "a\tb"])
def test_a_cookie_that_is_none_opens_nothing(client: httpx.Client, cookie: str) -> None:
    answer = client.get("/api/v1/models", headers=[("Cookie", f"{COOKIE}={cookie}".encode())])  # type: ignore[list-item]
    assert answer.status_code == 401


def test_a_program_has_no_session(server: Workspace, client: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {server.home.token()}"}
    for method in ("GET", "DELETE"):
        answer = client.request(method, SESSION, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "no-session")


def test_the_audit_log_names_who_signed_in_how_and_out(server: Workspace, client: httpx.Client) -> None:
    before = server.audit.count()
    sign_in(server, client, "ana").send("DELETE", SESSION)
    key, text = server.keys.create("k", ["infer"], owner="bo")
    client.post(SESSION, json={"key": text})
    client.post(SESSION, json={"code": "wrong"})
    entries = server.audit.entries(limit=server.audit.count() - before)[::-1]
    assert [(e.who, e.action, e.detail["status"], e.detail["via"], e.detail["key"]) for e in entries] == [
        ("ana", "POST /api/v1/session", 201, "link", None),
        ("ana", "DELETE /api/v1/session", 204, "session", None),
        ("bo", "POST /api/v1/session", 403, "key", key.id),
    ]
    assert text not in str(entries)


# --- links ---


def test_a_link_leads_to_the_server_as_the_caller_reached_it(server: Workspace, client: httpx.Client) -> None:
    ana = sign_in(server, client, "ana")
    url = ana.send("POST", f"{SESSION}/links", json={}).json()["url"]
    assert url.startswith(f"{server.address.url}/login#")
    assert client.post(SESSION, json={"code": url.partition("#")[2]}).json()["user"] == "ana"
    socket = httpx.HTTPTransport(uds=str(server.home.socket))
    with httpx.Client(transport=socket, base_url="http://bedplate") as local:
        assert local.post(f"{SESSION}/links", json={}).json()["url"].startswith(f"{server.address.url}/login#")


def test_links_for_others_are_made_by_admins_and_for_nobody_who_is_shut_out(
    server: Workspace, client: httpx.Client
) -> None:
    ana, adam = sign_in(server, client, "ana"), sign_in(server, client, "adam")
    server.users.create("gone", "user")
    server.users.change("gone", disabled=True)
    links = f"{SESSION}/links"
    assert ana.send("POST", links, json={"user": "adam"}).status_code == 403
    assert ana.send("POST", links, json={"user": "ana"}).status_code == 201
    assert adam.send("POST", links, json={"user": "nobody"}).status_code == 404
    assert adam.send("POST", links, json={"user": "gone"}).status_code == 409
    url = adam.send("POST", links, json={"user": "ana"}).json()["url"]
    assert client.post(SESSION, json={"code": url.partition("#")[2]}).json()["user"] == "ana"


def test_where_no_port_is_open_there_is_no_link() -> None:
    with light_server() as workspace:
        transport = httpx.HTTPTransport(uds=str(workspace.home.socket))
        with httpx.Client(transport=transport, base_url="http://bedplate") as local:
            answer = local.post(f"{SESSION}/links", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "no-port")
    assert "bedplate serve" in answer.json()["hint"]


# --- what another site's page can send ---


def unsafe_routes() -> list[tuple[str, str]]:
    """Every route that changes something, and the mounted Hub; path parameters are an `x`."""
    rows = [line.split() for line in TABLE.read_text().splitlines()]
    found = [
        (method, re.sub(r"{[^}]*}", "x", path))
        for method, path, policy in rows
        if method not in (*SAFE, "MOUNT") and policy != "open"
    ]
    assert len(found) > 20
    return [*found, ("POST", "/hub/api/models/a/b/paths-info/main"), ("DELETE", "/hub/x")]


def state(server: Workspace) -> tuple[object, ...]:
    return server.audit.count(), server.users.all(), server.keys.all(), server.jobs.counts(), server.endpoints.all()


@pytest.mark.parametrize(
    ("origin", "token"),
    [
        ("own", ""),
        ("own", "0" * 64),
        ("own", "é"),
        ("", "right"),
        ("null", "right"),
        ("http://evil.example", "right"),
        ("http://127.0.0.1", "right"),
        ("http://[", "right"),
    ],
)
def test_every_unsafe_route_refuses_a_cookie_without_its_token_or_from_elsewhere(
    server: Workspace, client: httpx.Client, inside: httpx.Client, origin: str, token: str
) -> None:
    browser = sign_in(server, client, "adam")
    headers = {
        "Origin": server.address.url if origin == "own" else origin,
        "X-CSRF-Token": browser.csrf_token if token == "right" else token,
    }
    sent = {name: value.encode() for name, value in headers.items()}
    before = state(server)
    for method, path in unsafe_routes():
        body = {} if method == "DELETE" else {"json": {}}
        for caller, codes in ((client, {"bad-origin", "csrf-failed"}), (inside, {"csrf-failed"})):
            answer = Browser(caller, browser.cookie, "").forge(method, path, sent, **body)  # type: ignore[arg-type]
            assert answer.status_code == 403, (method, path, answer.text)
            assert answer.json()["code"] in codes, (method, path)
    assert state(server) == before
    assert browser.send("GET", SESSION).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_can_send_is_not_taken_for_json(server: Workspace, client: httpx.Client, kind: str) -> None:
    browser = sign_in(server, client, "adam")
    body = b'{"name": "k", "scopes": ["admin"]}'
    headers = {"Origin": server.address.url, "X-CSRF-Token": browser.csrf_token, "Content-Type": kind}
    before = server.keys.all()
    assert browser.forge("POST", "/api/v1/keys", headers, content=body).status_code == 415
    assert server.keys.all() == before


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1:9", "https://", "http://["])
def test_another_site_s_page_cannot_sign_a_browser_in(server: Workspace, inside: httpx.Client, origin: str) -> None:
    answer = inside.post(SESSION, json={"code": server.links.create("ana")}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf-failed")
    assert "set-cookie" not in answer.headers


def test_a_key_in_the_header_needs_no_token_whatever_cookie_comes_along(
    server: Workspace, client: httpx.Client
) -> None:
    browser = sign_in(server, client, "ana")
    key = {"Authorization": f"Bearer {server.home.token()}"}
    made = browser.forge("POST", "/api/v1/users", key, json={"name": "by-key"})
    assert made.status_code == 201
    wrong = browser.forge("GET", "/api/v1/models", {"Authorization": "Bearer bp_wrong"})
    assert wrong.status_code == 401


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"origin": "http://gpu01:8686"}, True),
        ({"origin": "HTTPS://GPU01:8686"}, True),
        ({"origin": "http://gpu01:8686", "x-bedplate-scheme": "https"}, False),
        ({"origin": "https://gpu01:8686", "x-bedplate-scheme": "https"}, True),
        ({"origin": "http://gpu01"}, False),
        ({"origin": "http://gpu01:8686.evil.example"}, False),
        ({"origin": "http://gpu01:8686@evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "null", "host": ""}, False),
        ({"origin": ""}, False),
        ({"origin": "http://["}, False),
        ({"origin": "file://gpu01:8686"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({}, False),
    ],
)
def test_a_page_is_ours_by_its_origin(headers: dict[str, str], is_own: bool) -> None:
    assert is_own_page({"host": "gpu01:8686", **headers}) is is_own


# --- the pages ---


def test_pages_run_no_written_in_script_and_ask_nobody_else(server: Workspace, client: httpx.Client) -> None:
    browser = sign_in(server, client, "ana")
    for path in ("/login", "/account"):
        page = browser.send("GET", path)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) == {"'none'", "'self'"}
        assert page.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)
        sources = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert sources and all(source.startswith("/") and not source.startswith("//") for source in sources)
        for source in sources:
            found = browser.send("GET", source)
            assert found.status_code == 200 or found.headers["location"] == "/docs", source  # without Studio here


def test_every_file_of_the_pages_is_served_as_what_it_is(client: httpx.Client) -> None:
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    files = [file for file in STATIC.iterdir() if file.suffix in kinds]
    assert len(files) >= 5
    for file in files:
        answer = client.get(f"/static/{file.name}")
        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"].partition(";")[0] == kinds[file.suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "login.html",
        "..%2fkeys.py",
        "%2e%2e%2f%2e%2e%2fsettings.py",
        "pages.css%00",
        "none.js",
        ".css",
        "PAGES.CSS",
        "a/b.js",
    ],
)
def test_nothing_else_is_served_as_a_file(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/static/{name}")
    assert answer.status_code in (400, 404, 422)
    assert "import" not in answer.text


def test_the_account_is_shown_to_who_is_signed_in_and_others_go_to_sign_in(
    server: Workspace, client: httpx.Client
) -> None:
    assert sign_in(server, client, "vic").send("GET", "/account").status_code == 200
    for headers in ({}, {"Cookie": f"{COOKIE}=old"}):
        answer = client.get("/account", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
