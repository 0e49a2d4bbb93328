"""Every route declares its policy, and holds it: no key, a wrong scope, a lesser role, another user's key.

`route_policies.txt` lists all that can be reached. A route that is added, moved or opened shows up as a changed line.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from starlette.routing import Mount

from bedplate.api.access import POLICIES, Routes, check_policies, leaves, policy_of
from bedplate.api.app import create_app
from bedplate.gateway_process import Address
from bedplate.settings import Settings
from bedplate.users import ROLES, User
from bedplate.workspace import Workspace
from harness import free_port, wait_for
from light_server import light_server

CLIENT = httpx.Client(timeout=60)  # one for all: making one takes longer than most requests here
TABLE = Path(__file__).with_name("route_policies.txt")
OPEN = {
    "/livez",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/",
    "/login",
    "/account",
    "/static/{name}",
    "/api/v1/session",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(Settings.from_environment({"BEDPLATE_HOME": str(tmp_path)}), address=Address("127.0.0.1", 8686))
    yield made
    made.database.close()


def declared(app: FastAPI) -> set[str]:
    """`METHOD path policy` of every route, mount and websocket."""
    return {
        f"{method} {getattr(route, 'path', '?')} {policy_of(route)}"
        for route in leaves(app.routes)
        for method in (["MOUNT"] if isinstance(route, Mount) else getattr(route, "methods", None) or ["WEBSOCKET"])
    }


def test_all_that_can_be_reached_is_in_the_table_with_its_policy(workspace: Workspace) -> None:
    found = declared(create_app(workspace, stop=lambda: None))
    listed = set(TABLE.read_text().splitlines())
    assert sorted(found - listed) == [], f"not in {TABLE.name}"
    assert sorted(listed - found) == [], f"only in {TABLE.name}"


def test_only_what_a_caller_without_a_key_needs_is_open() -> None:
    rows = [line.split() for line in TABLE.read_text().splitlines()]
    assert {policy for _, _, policy in rows} <= set(POLICIES)
    assert {path for _, path, policy in rows if policy == "open"} <= OPEN


def test_a_route_without_a_known_policy_does_not_register() -> None:
    with pytest.raises(ValueError, match="everyone"):
        Routes("/x", "x").route("GET", "", "everyone")


def test_a_server_with_a_route_mount_or_websocket_beside_the_table_does_not_start() -> None:
    route, mount, socket = (FastAPI(docs_url=None, redoc_url=None, openapi_url=None) for _ in range(3))
    route.get("/secret")(lambda: None)
    mount.mount("/files", FastAPI())

    @socket.websocket("/live")
    async def live(websocket: WebSocket) -> None: ...

    for app, path in ((route, "/secret"), (mount, "/files"), (socket, "/live")):
        with pytest.raises(ValueError, match=path):
            check_policies(app)


# --- a server with users ---


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(port=free_port()) as workspace:
        wait_for(lambda: workspace.gateway.address is not None)
        wait_for(lambda: _answers(workspace), seconds=60)
        for name, role in (("vic", "viewer"), ("ana", "user"), ("bo", "user"), ("olga", "operator"), ("adam", "admin")):
            workspace.users.create(name, role)
        yield workspace
        CLIENT.close()


def _answers(workspace: Workspace) -> bool:
    try:
        return httpx.get(f"{workspace.address.url}/livez").status_code == 200
    except httpx.HTTPError:
        return False


def key_of(server: Workspace, user: str, *scopes: str) -> dict[str, str]:
    _, text = server.keys.create("k", scopes or ("admin",), owner=user)
    return {"Authorization": f"Bearer {text}"}


def requests() -> list[tuple[str, str, str]]:
    """A request for each route that is not open, with its policy; path parameters are an `x`."""
    rows = [line.split() for line in TABLE.read_text().splitlines()]
    found = [
        ("GET" if method == "MOUNT" else method, re.sub(r"{[^}]*}", "x", path), policy)
        for method, path, policy in rows
        if policy != "open"
    ]
    assert len(found) > 40
    return [(method, "/hub/api/models/a/b" if path == "/hub" else path, policy) for method, path, policy in found]


def send(server: Workspace, method: str, path: str, headers: dict[str, str], **options: Any) -> httpx.Response:
    if method in ("POST", "PUT", "PATCH") and not options:
        options = {"json": {"kind": "script"} if path == "/api/v1/jobs" else {}}
    CLIENT.cookies.clear()
    return CLIENT.request(method, server.address.url + path, headers=headers, **options)


def test_no_key_and_a_wrong_key_open_nothing(server: Workspace) -> None:
    for method, path, _ in requests():
        for headers in ({}, {"Authorization": "Bearer bp_wrong"}, {"Authorization": "Basic eDp5"}, {"Cookie": "a=b"}):
            answer = send(server, method, path, headers)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("user", ["vic", "ana", "olga", "adam"])
def test_each_role_may_what_it_says_and_nothing_else(server: Workspace, user: str) -> None:
    headers, permissions = key_of(server, user), ROLES[server.users.get(user).role]
    for method, path, policy in requests():
        status = send(server, method, path, headers).status_code
        if path == "/api/v1/jobs" and method == "POST":  # what its kind needs counts: a script needs `batch`
            policy = "batch"
        may = bool(permissions & {"batch", "operate"}) if policy == "data" else policy in permissions
        assert status != 401, (method, path)
        assert (status == 403) is not may, (method, path, policy, status)


@pytest.mark.parametrize("scope", ["infer", "batch", "train", "import"])
def test_a_key_of_an_admin_does_not_more_than_its_scope(server: Workspace, scope: str) -> None:
    headers = key_of(server, "adam", scope)
    for method, path, policy in requests():
        status = send(server, method, path, headers).status_code
        if path == "/api/v1/jobs" and method == "POST":
            policy = "batch"
        may = policy in ("read", scope) or (policy == "data" and scope != "infer")
        assert (status == 403) is not may, (method, path, policy, status)


def test_the_key_of_an_endpoint_opens_nothing_here(server: Workspace) -> None:
    _, slot = server.keys.rotate("support", "primary")
    _, limited = server.keys.create("k", ["infer"], owner="adam", endpoints=["support"])
    for text in (slot, limited):
        for method, path, _ in requests():
            status = send(server, method, path, {"Authorization": f"Bearer {text}"}).status_code
            assert status in (401, 403), (method, path)


def test_no_other_spelling_of_a_path_or_method_opens_it(server: Workspace) -> None:
    for method, path, _ in requests():
        for other in (
            path + "/",
            "/" + path,
            path.upper(),
            "/" + path[1:].replace("/", "%2f"),
            path + "/../x",
            f"/x/..{path}",
        ):
            assert send(server, method, other, {}).status_code in (307, 400, 401, 403, 404, 405), (method, other)
        for verb in ("HEAD", "OPTIONS", "TRACE", "get", "X"):
            assert send(server, verb, path, {}).status_code in (400, 401, 403, 404, 405, 501), (verb, path)


# --- what is another user's ---


def without(text: str, *ids: str) -> str:
    for id in ids:
        text = text.replace(id, "ID")
    return re.sub(r'"request_id":"[^"]*"', "", text)


def test_another_user_s_job_is_the_same_to_him_as_one_that_is_not_there(server: Workspace) -> None:
    ana, bo, olga = (key_of(server, name) for name in ("ana", "bo", "olga"))
    job = send(server, "POST", "/api/v1/jobs", ana, json={"kind": "script", "code": "print('secret')"}).json()["id"]
    wait_for(lambda: server.jobs.get(job).is_final, seconds=60)
    routes = [(method, path) for method, path, _ in requests() if path.startswith("/api/v1/jobs/x")]
    assert len(routes) >= 10
    for method, path in routes:
        mine = path.replace("/jobs/x", f"/jobs/{job}")
        unknown = send(server, method, path.replace("/jobs/x", "/jobs/script-none"), bo)
        theirs = send(server, method, mine, bo)
        assert (theirs.status_code, unknown.status_code) == (404, 404), (method, path)
        assert without(theirs.text, job) == without(unknown.text, "script-none")
        assert send(server, method, mine, ana).status_code not in (401, 403), (method, path)
        assert send(server, method, mine, olga).status_code not in (401, 403), (method, path)


def test_lists_hold_what_is_one_s_own_and_operators_see_all(server: Workspace) -> None:
    keys = {name: key_of(server, name) for name in ("vic", "ana", "bo", "olga")}
    for name in ("ana", "bo"):
        send(server, "POST", "/api/v1/jobs", keys[name], json={"kind": "script"})
    seen = {name: {job["owner"] for job in httpx.get(f"{server.address.url}/api/v1/jobs", headers=key).json()["items"]}
            for name, key in keys.items()}  # fmt: skip
    assert seen["vic"] == set()
    assert (seen["ana"], seen["bo"]) == ({"ana"}, {"bo"})
    assert seen["olga"] >= {"ana", "bo"}


def test_a_user_manages_keys_of_his_own_only(server: Workspace) -> None:
    ana = key_of(server, "ana")
    other, _ = server.keys.create("other", ["infer"], owner="bo")
    listed = send(server, "GET", "/api/v1/keys", ana).json()["items"]
    assert {key["owner"] for key in listed} == {"ana"}
    assert send(server, "DELETE", f"/api/v1/keys/{other.id}", ana).status_code == 404
    body = {"name": "k", "scopes": ["infer"], "user": "bo"}
    assert send(server, "POST", "/api/v1/keys", ana, json=body).status_code == 403
    made = send(server, "POST", "/api/v1/keys", ana, json={"name": "k", "scopes": ["infer"]})
    assert (made.status_code, made.json()["owner"]) == (201, "ana")
    infer = {"Authorization": f"Bearer {made.json()['key']}"}
    again = send(server, "POST", "/api/v1/keys", infer, json={"name": "k", "scopes": ["infer"]})
    assert again.status_code == 403
    assert "admin" in again.json()["detail"]


def test_a_role_that_is_taken_away_acts_at_once_and_so_does_being_shut_out(server: Workspace) -> None:
    server.users.create("eve", "operator")
    eve, admin = key_of(server, "eve"), key_of(server, "adam")
    path = "/api/v1/endpoints/none"
    assert send(server, "DELETE", path, eve).status_code == 404
    assert send(server, "PATCH", "/api/v1/users/eve", admin, json={"role": "viewer"}).status_code == 200
    denied = send(server, "DELETE", path, eve)
    assert (denied.status_code, denied.json()["hint"]) == (403, "Ask an admin for the role 'operator'.")
    send(server, "PATCH", "/api/v1/users/eve", admin, json={"disabled": True})
    assert send(server, "GET", "/api/v1/models", eve).status_code == 401


def test_a_revoked_key_is_refused_at_once(server: Workspace) -> None:
    admin = key_of(server, "adam")
    made = send(server, "POST", "/api/v1/keys", admin, json={"name": "k", "scopes": ["admin"]}).json()
    mine = {"Authorization": f"Bearer {made['key']}"}
    assert send(server, "GET", "/api/v1/keys", mine).status_code == 200
    send(server, "DELETE", f"/api/v1/keys/{made['id']}", admin)
    assert send(server, "GET", "/api/v1/keys", mine).status_code == 401


def test_a_key_that_is_revoked_in_a_running_loop_is_refused_everywhere_within_a_second(server: Workspace) -> None:
    """Nobody's endpoint is 404 to a key that may score, and 401 to one that is none."""
    _, text = server.keys.create("k", ["infer"], owner="ana")
    ended, successes = threading.Event(), dict.fromkeys(("/endpoints/none", "/api/v1/models"), 0.0)

    def loop(method: str, path: str, well: int) -> None:
        with httpx.Client(base_url=server.address.url, headers={"Authorization": f"Bearer {text}"}) as client:
            while not ended.is_set():
                status = client.request(method, path, json={"inputs": "x"} if method == "POST" else None).status_code
                assert status in (well, 401)
                if status == well:
                    successes[path] = time.monotonic()

    calls = [("POST", "/endpoints/none", 404), ("GET", "/api/v1/models", 200)]
    threads = [threading.Thread(target=loop, args=call) for call in calls for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(successes.values()))
    key = next(key for key in server.keys.all("ana") if server.keys.find(text) == key)
    send(server, "DELETE", f"/api/v1/keys/{key.id}", key_of(server, "adam"))
    revoked = time.monotonic()
    time.sleep(2)
    ended.set()
    for thread in threads:
        thread.join()
    assert max(successes.values()) - revoked < 1.0


def test_the_loopback_token_is_this_machine_s_user(server: Workspace) -> None:
    me = send(server, "GET", "/api/v1/users/me", {"Authorization": f"Bearer {server.home.token()}"}).json()
    assert (me["name"], me["role"]) == ("local", "admin")


def test_a_key_is_stored_as_a_digest_only(workspace: Workspace) -> None:
    _, text = workspace.keys.create("k", ["infer"])
    cookie = workspace.sessions.create("local")
    stored = workspace.home.database.read_bytes()
    assert text.encode() not in stored and cookie.encode() not in stored


def test_a_stream_ends_when_the_key_that_began_it_does(server: Workspace) -> None:
    headers = key_of(server, "ana", "batch")
    script = {"kind": "script", "code": "import time\nfor i in range(300): print(i, flush=True); time.sleep(0.1)"}
    job = send(server, "POST", "/api/v1/jobs", headers, json=script).json()["id"]
    wait_for(lambda: server.jobs.get(job).state == "running")
    for path in ("log?follow=true", "events"):
        headers = key_of(server, "ana", "batch")
        with CLIENT.stream("GET", f"{server.address.url}/api/v1/jobs/{job}/{path}", headers=headers) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            [key] = [key for key in server.keys.all("ana") if server.keys.find(headers["Authorization"][7:]) == key]
            server.keys.revoke(key.id)
            began = time.monotonic()
            with suppress(httpx.RemoteProtocolError):  # a log that is broken off has no end
                list(chunks)
            assert time.monotonic() - began < 3
    server.cancel_job(job)


def test_a_key_gives_on_no_more_than_it_has(server: Workspace) -> None:
    _, text = server.keys.create("k", ["admin"], owner="ana", rate=5, concurrency=2, days=1)
    headers = {"Authorization": f"Bearer {text}"}
    made = send(server, "POST", "/api/v1/keys", headers, json={"name": "k", "scopes": ["infer"]}).json()
    assert (made["rate"], made["concurrency"]) == (5, 2)
    assert made["expires"] < time.time() + 86401
    for more in ({"rate": 6}, {"concurrency": 3}, {"days": 2}):
        answer = send(server, "POST", "/api/v1/keys", headers, json={"name": "k", "scopes": ["infer"], **more})
        assert (answer.status_code, answer.json()["code"]) == (422, "beyond-own-limit"), more
    less = {"name": "k", "scopes": ["infer"], "rate": 1, "days": 0.5}
    assert send(server, "POST", "/api/v1/keys", headers, json=less).status_code == 201


def test_the_head_of_the_line_is_for_operators(server: Workspace) -> None:
    for user, priority, status in (("ana", 1, 403), ("ana", 0, 202), ("ana", -5, 202), ("olga", 50, 202)):
        body = {"kind": "script", "priority": priority}
        assert send(server, "POST", "/api/v1/jobs", key_of(server, user), json=body).status_code == status
    batch = send(server, "POST", "/api/v1/batch-endpoints/none/jobs", key_of(server, "ana"), json={"priority": 1})
    assert (batch.status_code, batch.json()["code"]) == (403, "priority")


def test_a_link_ends_with_the_key_that_made_it_and_with_its_user(server: Workspace) -> None:
    key, text = server.keys.create("k", ["admin"], owner="ana")
    headers = {"Authorization": f"Bearer {text}"}
    codes = [send(server, "POST", "/api/v1/session/links", headers, json={}).json()["url"][-43:] for _ in range(2)]
    cookie = send(server, "POST", "/api/v1/session", {}, json={"code": codes[0]}).headers["set-cookie"].split(";")[0]
    assert send(server, "GET", "/api/v1/session", {"Cookie": cookie}).status_code == 200
    server.keys.revoke(key.id)
    assert send(server, "GET", "/api/v1/session", {"Cookie": cookie}).status_code == 401
    assert send(server, "POST", "/api/v1/session", {}, json={"code": codes[1]}).status_code == 401
    server.users.create("tom", "user")
    link = send(server, "POST", "/api/v1/session/links", key_of(server, "adam"), json={"user": "tom"}).json()["url"]
    for disabled in (True, False):
        send(server, "PATCH", "/api/v1/users/tom", key_of(server, "adam"), json={"disabled": disabled})
    assert send(server, "POST", "/api/v1/session", {}, json={"code": link[-43:]}).status_code == 401


def test_a_websocket_to_a_mount_is_refused(server: Workspace) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Cookie": "bedplate_session=abc"}
    for path in ("/hub/x", "/api/v1/jobs"):
        assert send(server, "GET", path, headers).status_code in (401, 403, 404), path


def test_the_token_opens_nothing_where_a_proxy_brings_callers_from_elsewhere(tmp_path: Path) -> None:
    for address, opens in (
        (Address("127.0.0.1", 1), True),
        (Address("127.0.0.1", 1, behind_proxy=True), False),
        (Address("0.0.0.0", 1, behind_proxy=True), False),
    ):
        assert address.takes_token is opens


# --- the audit log tells it ---


def test_every_change_is_an_entry_with_who_what_from_where_and_how_it_ended(server: Workspace) -> None:
    ana, adam = key_of(server, "ana"), key_of(server, "adam")
    before = server.audit.count()
    job = send(server, "POST", "/api/v1/jobs", ana, json={"kind": "script", "code": "import time; time.sleep(60)"})
    assert send(server, "POST", f"/api/v1/jobs/{job.json()['id']}/cancel", ana).status_code == 202
    send(server, "DELETE", "/api/v1/endpoints/none", ana)
    send(server, "POST", "/api/v1/users", adam, json={"name": "new", "role": "viewer"})
    send(server, "GET", "/api/v1/jobs", ana)
    send(server, "POST", "/api/v1/jobs", {})
    entries = server.audit.entries(limit=server.audit.count() - before)[::-1]
    assert [(entry.who, entry.action, entry.detail["status"]) for entry in entries] == [
        ("ana", "POST /api/v1/jobs", 202),
        ("ana", "POST /api/v1/jobs/{job_id}/cancel", 202),
        ("ana", "DELETE /api/v1/endpoints/{name}", 403),
        ("adam", "POST /api/v1/users", 201),
    ]
    first = entries[0].detail
    assert (first["via"], first["from"], first["job"]) == ("key", "127.0.0.1", job.json()["id"])
    assert first["request_id"] == job.headers["x-request-id"]
    assert entries[1].detail["job_id"] == job.json()["id"]
    assert server.audit.verify().problem is None


def test_a_change_whose_answer_fails_is_an_entry_too(server: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    adam = key_of(server, "adam")
    monkeypatch.setattr(User, "to_json", lambda self: 1 / 0)
    answer = send(server, "POST", "/api/v1/users", adam, json={"name": "half", "role": "viewer"})
    monkeypatch.undo()
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert server.users.find("half") is not None
    [entry] = server.audit.entries(limit=1)
    assert (entry.who, entry.detail["user"], entry.detail["status"]) == ("adam", "half", 500)


def test_an_entry_keeps_no_key_and_no_body_whatever_somebody_names(server: Workspace) -> None:
    adam = key_of(server, "adam")
    text = adam["Authorization"].removeprefix("Bearer ")
    assert send(server, "DELETE", f"/api/v1/keys/{text}", adam).status_code == 404
    long = send(server, "POST", f"/api/v1/jobs/{'A' * 50_000}/cancel", adam)
    assert long.status_code == 404
    large = {"traffic": {f"n{number}": 1 for number in range(5000)} | {"x" * 5000: 1}}
    send(server, "PATCH", "/api/v1/endpoints/none", adam, json=large)
    for entry in server.audit.entries(limit=3):
        shown = json.dumps(entry.to_json())
        assert text not in shown
        assert len(shown) < 8000


def test_while_the_audit_log_cannot_be_written_nothing_is_changed_and_reading_goes_on(
    server: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    adam = key_of(server, "adam")
    begin = server.audit._database

    class Full:
        """A database that reads and does not write."""

        def __getattr__(self, name: str) -> object:
            if name == "begin":
                raise server_full
            return getattr(begin, name)

    from bedplate_registry.errors import Unavailable

    server_full = Unavailable("The metadata database did not answer.", code="database")
    monkeypatch.setattr(server.audit, "_database", Full())
    first = send(server, "POST", "/api/v1/users", adam, json={"name": "unheard", "role": "viewer"})
    assert (first.status_code, first.json()["code"]) == (503, "audit-unavailable")
    second = send(server, "POST", "/api/v1/users", adam, json={"name": "unmade", "role": "viewer"})
    assert (second.status_code, second.json()["code"]) == (503, "audit-unavailable")
    assert "may have been done" in first.json()["hint"]
    assert server.users.find("unmade") is None
    assert send(server, "GET", "/api/v1/users", adam).status_code == 200
    monkeypatch.undo()
    assert send(server, "POST", "/api/v1/users", adam, json={"name": "made", "role": "viewer"}).status_code == 201
    newest = [(entry.detail["user"], entry.detail.get("recorded")) for entry in server.audit.entries(limit=2)]
    assert newest == [("made", None), ("unheard", "late")]
    assert server.audit.verify().problem is None
