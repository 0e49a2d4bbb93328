"""Users, keys and the audit log on the command line, over the home's socket and over TCP with a key."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from bedplate import database
from bedplate.cli.app import app
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from harness import bedplate_home, environment, free_port, wait_for
from light_server import light_server

Run = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(port=free_port()) as workspace:
        wait_for(lambda: workspace.gateway.address is not None, seconds=60)
        yield workspace


@pytest.fixture
def run(server: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A command against the server, in this process; its stdout. Raises what it refuses."""
    monkeypatch.setenv("BEDPLATE_HOME", str(server.home.path))

    def invoke(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, arguments)
        if isinstance(done.exception, BedplateError):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout

    yield invoke
    gc.collect()  # a connection that a command left open is a warning, and so an error


def rows(run: Run, *arguments: str) -> object:
    return json.loads(run(*arguments, "--format", "json"))


def test_users_are_made_given_roles_shut_out_and_let_in(run: Run) -> None:
    run("users", "create", "ana")
    run("users", "create", "olga", "--role", "operator")
    run("users", "role", "ana", "viewer")
    run("users", "disable", "olga")
    table = run("users", "list")
    assert re.search(r"(?m)^name +role +disabled +created$", table)
    assert re.search(r"(?m)^local +admin +False", table)
    assert re.search(r"(?m)^ana +viewer +False +\d{4}-\d\d-\d\d ", table)
    assert re.search(r"(?m)^olga +operator +True ", table)
    run("users", "enable", "olga")
    assert [(user["name"], user["disabled"]) for user in rows(run, "users", "list")] == [  # type: ignore[attr-defined]
        ("local", False),
        ("ana", False),
        ("olga", False),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("users", "create", "Ana"), "not a name"),
        (("users", "create", "bob", "--role", "owner"), "owner"),
        (("users", "role", "nobody", "viewer"), "There is no user 'nobody'"),
        (("users", "disable", "local"), "built in"),
        (("users", "link", "nobody"), "There is no user 'nobody'"),
        (("keys", "create", "k", "--scope", "root"), "root"),
        (("keys", "create", "k", "--scope", "infer", "--endpoint", "none"), "none"),
        (("keys", "create", "k", "--scope", "infer", "--rate", "0"), "rate"),
        (("keys", "create", "k", "--scope", "infer", "--user", "nobody"), "There is no user 'nobody'"),
        (("keys", "revoke", "key-0"), "There is no key 'key-0'"),
        (("audit", "verify", "--expect", "5"), "not SEQ:HASH"),
    ],
)
def test_what_is_wrong_is_named(run: Run, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(BedplateError, match=re.escape(says)):
        run(*arguments)


def test_a_link_is_printed_alone_and_signs_a_browser_in(server: Workspace, run: Run) -> None:
    url = run("users", "link").strip()
    assert url.startswith(f"{server.address.url}/login#")
    wait_for(lambda: httpx.get(f"{server.address.url}/livez").is_success)
    signed_in = httpx.post(f"{server.address.url}/api/v1/session", json={"code": url.partition("#")[2]})
    assert signed_in.json()["user"] == "local"


def test_a_key_has_its_owner_its_limits_and_its_end(server: Workspace, run: Run) -> None:
    server.users.create("kim", "user")
    limits = ("--user", "kim", "--days", "30", "--rate", "20", "--concurrency", "8")
    made = rows(run, "keys", "create", "ci", "--scope", "infer", "--scope", "batch", *limits)
    assert isinstance(made, dict)
    key = server.keys.get(made["id"])
    assert (key.owner, key.scopes, key.rate, key.concurrency) == ("kim", ("infer", "batch"), 20, 8)
    assert key.expires == pytest.approx(key.created + 30 * 86400)
    assert server.keys.find(made["key"]) == key
    table = run("keys", "list")
    assert re.search(rf"(?m)^{key.id} +ci +kim +\[", table)
    assert made["key"] not in table
    run("keys", "revoke", key.id)
    assert server.keys.find(made["key"]) is None


def test_from_another_machine_a_key_does_what_its_owner_may(server: Workspace, run: Run) -> None:
    server.users.create("lee", "user")
    _, text = server.keys.create("k", ["admin"], owner="lee")
    wait_for(lambda: httpx.get(f"{server.address.url}/livez").is_success)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEDPLATE_TOKEN", text)
        there = ("--url", server.address.url)
        assert run("users", "link", *there).startswith(f"{server.address.url}/login#")
        made = json.loads(run("keys", "create", "mine", "--scope", "infer", "--format", "json", *there))
        assert made["owner"] == "lee"
        for command in (("users", "list"), ("audit", "list"), ("users", "link", "local")):
            with pytest.raises(BedplateError, match="admin"):
                run(*command, *there)


# --- the audit log ---


def test_the_audit_log_is_listed_with_who_what_and_how_it_ended(run: Run) -> None:
    run("users", "create", "pat")
    with contextlib.suppress(BedplateError):
        run("users", "create", "pat")
    table = run("audit", "list", "--limit", "2").splitlines()
    assert re.fullmatch(r"seq +time +who +status +action +what", table[0])
    assert re.search(r"local +409 +POST /api/v1/users +user=pat role=user", table[1])
    assert re.search(r"local +201 +POST /api/v1/users +user=pat role=user", table[2])
    assert run("audit", "list", "--who", "nobody").splitlines()[1:] == []


def test_a_changed_entry_is_found_and_so_is_a_log_that_was_written_anew(server: Workspace, run: Run) -> None:
    run("users", "create", "max")
    last = re.search(r"(?m)^last +(\d+:[0-9a-f]{64})$", run("audit", "verify"))
    assert last is not None
    run("users", "create", "mia")
    assert re.search(r"(?m)^log +whole$", run("audit", "verify", "--expect", last[1]))
    seq, _, hash = last[1].partition(":")
    assert "written anew" in run("audit", "verify", "--expect", f"{seq}:{'0' * 64}", code=1)
    assert "cut off" in run("audit", "verify", "--expect", f"{int(seq) + 1000}:{hash}", code=1)
    table = database.audit
    with server.database.begin() as connection:
        who = connection.execute(sa.select(table.c.who).where(table.c.seq == int(seq))).scalar_one()
        connection.execute(table.update().where(table.c.seq == int(seq)).values(who="somebody"))
    try:
        found = run("audit", "verify", code=1)
        assert re.search(r"(?m)^log +CHANGED$", found)
        assert f"Entry {seq} was changed after it was written." in found
        assert json.loads(run("audit", "verify", "--format", "json", code=1))["intact"] is False
    finally:
        with server.database.begin() as connection:
            connection.execute(table.update().where(table.c.seq == int(seq)).values(who=who))
    run("audit", "verify")


# --- what `serve` says ---


def test_serve_shows_a_link_on_a_terminal_and_to_a_log_how_to_get_one() -> None:
    with bedplate_home() as home:
        ours, its = pty.openpty()
        with _serve(home, its) as process:
            os.close(its)
            said = _read_until(ours, b"\n", 2).decode()
            url = re.search(r"once and within ten minutes: (http://127\.0\.0\.1:\d+)/login#(\S+)", said)
            assert url is not None, said
            answer = httpx.post(f"{url[1]}/api/v1/session", json={"code": url[2]})
            assert (answer.status_code, answer.json()["user"]) == (201, "local")
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        os.close(ours)
        with _serve(home, subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert process.stdout.readline().decode() == f"Sign a browser in with: bedplate users link --home {home}\n"


@contextlib.contextmanager
def _serve(home: Path, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", "from bedplate.cli import main; main()", "serve", "--port", str(free_port())]
    with subprocess.Popen(argv, env=environment(home), stdout=stdout) as process:
        yield process
        process.terminate()


def _read_until(fd: int, what: bytes, times: int) -> bytes:
    found = b""
    while found.count(what) < times:
        found += os.read(fd, 4096)
    return found
