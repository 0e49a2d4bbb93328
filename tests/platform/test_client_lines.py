"""How the client lives with a line that breaks, a server that says no, and one that scores: what it sends, exactly.

Both clients, the one that blocks and the one for asyncio, against answers that are written down.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

import bedplate
from awaited import Awaited
from bedplate import aio
from bedplate.client import RemoteWorkspace
from bedplate.home import Home
from bedplate.remote.connection import Connection
from bedplate.targets import Target
from bedplate_registry.errors import (
    BedplateError,
    Changed,
    Conflict,
    Forbidden,
    NoRoom,
    NotFound,
    Refused,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from harness import free_port
from scripted_server import Answer, scripted_server

CUT = Answer(cut=True, body=b"")
JOB = Answer(202, json.dumps({"id": "script-1", "state": "queued"}).encode())
Open = Callable[[Target], Any]


@pytest.fixture(params=["blocking", "asyncio"])
def open_workspace(request: pytest.FixtureRequest) -> Iterator[Open]:
    """What makes a workspace of a target; each client in turn."""
    opened: list[Any] = []
    with asyncio.Runner() as runner:

        def open_it(target: Target) -> Any:
            if request.param == "blocking":
                opened.append(RemoteWorkspace(Connection(target)))
            else:
                opened.append(Awaited(aio.RemoteWorkspace(aio.Connection(target)), runner))
            return opened[-1]

        yield open_it
        for workspace in opened:
            workspace.close()


def test_a_submit_whose_answer_was_cut_off_is_sent_again_with_its_key(open_workspace: Open) -> None:
    with scripted_server(CUT, JOB) as (url, asked):
        assert open_workspace(Target(url)).submit("script", {}).id == "script-1"
    assert [(request.method, request.path) for request in asked] == [("POST", "/api/v1/jobs")] * 2
    first, second = (request.headers["idempotency-key"] for request in asked)
    assert first == second
    assert len(first) == 32


def test_a_change_that_was_cut_off_is_not_sent_twice(open_workspace: Open) -> None:
    with scripted_server(CUT) as (url, asked):
        with pytest.raises(Unavailable):
            open_workspace(Target(url)).keys.create("ci", ["infer"])
        assert len(asked) == 1
        with pytest.raises(Unavailable):
            open_workspace(Target(url)).status()
        assert len(asked) == 1 + 3  # reading does no harm


def test_an_upload_that_was_cut_off_is_sent_again_whole(open_workspace: Open, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"text\n" + b"hello\n" * 1000)
    with scripted_server(Answer(404), CUT, Answer(201)) as (url, asked):
        sent = open_workspace(Target(url)).upload(file)
    assert [request.method for request in asked] == ["HEAD", "PUT", "PUT"]
    assert [request.body for request in asked[1:]] == [file.read_bytes()] * 2
    assert asked[1].path.endswith(sent["upload"])
    with scripted_server(Answer()) as (url, asked):
        assert open_workspace(Target(url)).upload(file) == sent
    assert [request.method for request in asked] == ["HEAD"]


def test_a_download_that_breaks_off_begins_anew_and_appears_when_it_is_whole(
    open_workspace: Open, tmp_path: Path
) -> None:
    target = tmp_path / "rows.csv"
    with scripted_server(Answer(body=b"one,tw", cut=True), Answer(body=b"one,two\n")) as (url, _):
        open_workspace(Target(url)).connection.download("/api/v1/x", target)
    assert target.read_bytes() == b"one,two\n"
    no = Answer(404, b'{"detail": "No.", "code": "none"}')
    with scripted_server(no) as (url, _), pytest.raises(NotFound, match="No"):
        open_workspace(Target(url)).connection.download("/api/v1/x", tmp_path / "other.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_events_are_taken_up_after_the_last_one_that_came(open_workspace: Open) -> None:
    job = {"id": "script-1", "state": "running"}
    first = b'retry: 1000\n\nid: 7\nevent: message\ndata: {"text": "a"}\n\n: still here\n\nid: 8\nevent: mess'
    last = b'id: 8\nevent: message\ndata: {"text": "b"}\n\nevent: state\ndata: {"is_final": true}\n\n'
    answers = [Answer(body=json.dumps(job).encode()), Answer(body=first, cut=True), Answer(body=last)]
    with scripted_server(*answers) as (url, asked):
        found = list(open_workspace(Target(url)).jobs.get("script-1").events(after=3))
    assert [(event.id, event.type) for event in found] == [(7, "message"), (8, "message"), (None, "state")]
    assert [request.headers["last-event-id"] for request in asked[1:]] == ["3", "7"]


def test_a_call_that_came_too_soon_waits_its_turn(open_workspace: Open) -> None:
    too_soon = Answer(429, b'{"code": "rate-limited", "detail": "Too many."}', {"Retry-After": "0"})
    with scripted_server(too_soon, too_soon, JOB) as (url, asked):
        assert open_workspace(Target(url)).submit("script", {}).id == "script-1"
    assert len(asked) == 3
    much = Answer(429, too_soon.body, {"Retry-After": "600"})
    with scripted_server(much) as (url, asked), pytest.raises(Unavailable) as refused:
        open_workspace(Target(url)).status()
    assert (refused.value.code, len(asked)) == ("rate-limited", 1)


def test_a_submit_that_a_restart_kept_the_gateway_from_passing_on_is_sent_again(open_workspace: Open) -> None:
    restarting = Answer(503, b'{"code": "control-unavailable", "detail": "It stops."}', {"Retry-After": "0"})
    with scripted_server(restarting, restarting, JOB) as (url, asked):
        assert open_workspace(Target(url)).submit("script", {}).id == "script-1"
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    assert len(asked) == 3
    with scripted_server(restarting) as (url, asked), pytest.raises(Unavailable) as refused:
        open_workspace(Target(url)).keys.create("ci", ["infer"])  # which may have been done
    assert (refused.value.code, len(asked)) == ("control-unavailable", 1)
    busy = Answer(503, b'{"code": "no-room", "detail": "Not now."}', {"Retry-After": "0"})
    with scripted_server(busy) as (url, asked), pytest.raises(Unavailable):
        open_workspace(Target(url)).submit("script", {})
    assert len(asked) == 1


def test_an_upload_and_a_stream_wait_for_the_next_control_plane(open_workspace: Open, tmp_path: Path) -> None:
    restarting = Answer(503, b'{"code": "control-unavailable", "detail": "It stops."}', {"Retry-After": "0"})
    file = tmp_path / "rows.csv"
    file.write_bytes(b"text\n")
    with scripted_server(Answer(503, b""), restarting, Answer(201)) as (url, asked):
        open_workspace(Target(url)).upload(file)
    assert [request.method for request in asked] == ["HEAD", "PUT", "PUT"]
    with scripted_server(restarting, Answer(body=b"a,b\n")) as (url, asked):
        open_workspace(Target(url)).connection.download("/api/v1/x", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b"a,b\n"


def test_a_workspace_that_is_closed_says_so(open_workspace: Open, tmp_path: Path) -> None:
    with scripted_server(Answer()) as (url, asked):
        ws = open_workspace(Target(url))
        ws.close()
        for call in (ws.models.list, lambda: ws.connection.score(url, {}), lambda: ws.submit("script", {})):
            with pytest.raises(Conflict, match="This workspace is closed") as refused:
                call()
            assert refused.value.code == "closed"
    assert asked == []


def test_a_certificate_that_is_not_trusted_and_a_server_that_is_elsewhere_have_their_own_hints(
    open_workspace: Open, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        answering = threading.Thread(target=_shake_hands, args=(listener, context))
        answering.start()
        with pytest.raises(Unavailable) as distrusted:
            open_workspace(Target(f"https://localhost:{port}")).status()
        answering.join()
    assert "SSL_CERT_FILE" in distrusted.value.hint
    hints = {"http://127.0.0.1": "bedplate serve", "http://localhost": "bedplate serve", "http://0.0.0.0": "runs there"}
    for place, hint in hints.items():
        with pytest.raises(Unavailable) as absent:
            open_workspace(Target(f"{place}:{free_port()}")).status()
        assert hint in absent.value.hint


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        context.wrap_socket(connection, server_side=True).close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (412, Changed),
        (413, TooLarge),
        (415, UnsupportedMedia),
        (422, Refused),
        (500, BedplateError),
        (503, Unavailable),
        (507, NoRoom),
    ],
)
def test_each_status_is_an_error_of_ours_with_the_servers_words(status: int, kind: type[BedplateError]) -> None:
    body = json.dumps({"code": "its-code", "detail": "What happened.", "hint": "What to do."}).encode()
    with (
        scripted_server(Answer(status, body)) as (url, _),
        bedplate.connect(url) as ws,
        pytest.raises(BedplateError) as raised,
    ):
        ws.status()
    assert type(raised.value) is kind
    assert raised.value.to_json() == {"code": "its-code", "message": "What happened.", "hint": "What to do."}


def test_one_rule_of_a_gate_is_changed_only_if_the_others_are_still_those_that_were_seen(open_workspace: Open) -> None:
    gate = json.dumps({"rules": [{"metric": "f1", "at_least": 0.8, "at_most": None, "sha256": "0" * 64}]}).encode()
    seen = Answer(body=gate, headers={"ETag": '"seen"'})
    with scripted_server(seen) as (url, asked):
        models = open_workspace(Target(url)).models
        models.set_rule("a", "production", {"metric": "accuracy", "at_least": 0.9})
        models.remove_rule("a", "production", "f1")
    assert [request.method for request in asked] == ["GET", "PUT", "GET", "DELETE"]
    assert [request.headers.get("if-match") for request in asked] == [None, '"seen"'] * 2
    f1 = {"metric": "f1", "at_least": 0.8}
    assert asked[1].json["rules"] == [f1, {"metric": "accuracy", "at_least": 0.9}]


def test_what_reads_every_byte_is_waited_for_longer_than_anything_else(open_workspace: Open) -> None:
    late = Answer(body=b'{"items": [], "problems": [], "next": null, "count": 0, "ref": "a:1"}', after_seconds=0.5)
    with scripted_server(late) as (url, _):
        workspace = open_workspace(Target(url))
        workspace.connection._client.timeout = 0.2
        with pytest.raises(Unavailable):
            workspace.models.get("a")
        assert workspace.models.gc(dry_run=True)["count"] == 0
        assert list(workspace.models.verify()) == []
        workspace.connection._client.timeout = 60.0
        model = workspace.models.get("a")
        workspace.connection._client.timeout = 0.2
        assert model.verify() == []


def test_a_list_in_pages_is_read_to_its_end_or_to_what_was_asked_for(open_workspace: Open) -> None:
    pages = [Answer(body=json.dumps({"items": [{"ref": "a:1"}], "next": "a"}).encode())]
    pages.append(Answer(body=json.dumps({"items": [{"ref": "b:1"}], "next": None}).encode()))
    with scripted_server(*pages) as (url, asked):
        assert [model.ref for model in open_workspace(Target(url)).models.list()] == ["a:1", "b:1"]
    assert [request.path for request in asked] == ["/api/v1/models", "/api/v1/models?after=a"]
    with scripted_server(*pages) as (url, asked):
        assert [entry.data["ref"] for entry in open_workspace(Target(url)).audit.list(limit=1)] == ["a:1"]
    assert [request.path for request in asked] == ["/api/v1/audit?limit=1"]


# --- scoring ---

ENDPOINT = {"name": "support", "url": "http://gpu01:8686/endpoints/support", "state": "ready", "deployments": []}
SCORES = Answer(body=b'[[{"label": "card"}], [{"label": "login"}]]')


def test_a_server_elsewhere_scores_at_the_address_that_was_connected_to(open_workspace: Open) -> None:
    found = Answer(body=json.dumps({**ENDPOINT, "task": "text-classification"}).encode())
    with scripted_server(found, SCORES) as (url, asked):
        endpoint = open_workspace(Target(url, "bp_mine")).endpoints.get("support")
        assert endpoint.score(["my card", "my login"], top_k=1) == [[{"label": "card"}], [{"label": "login"}]]
    assert asked[1].path == "/endpoints/support"
    assert asked[1].headers["authorization"] == "Bearer bp_mine"
    assert asked[1].json == {"inputs": ["my card", "my login"], "parameters": {"top_k": 1}}


@pytest.mark.parametrize(
    ("task", "body", "answer"),
    [
        ("text-classification", b'[[{"label": "card"}]]', [{"label": "card"}]),
        ("translation", b'[{"translation_text": "a"}]', {"translation_text": "a"}),
        ("text-generation", b'[{"generated_text": "a"}, {"generated_text": "b"}]', None),
        ("token-classification", b'[{"word": "Ana"}]', [{"word": "Ana"}]),
        ("question-answering", b'{"answer": "42"}', {"answer": "42"}),
        ("fill-mask", b"[]", []),
    ],
)
def test_one_input_has_one_answer_whatever_the_task(open_workspace: Open, task: str, body: bytes, answer: Any) -> None:
    found = Answer(body=json.dumps({**ENDPOINT, "task": task}).encode())
    with scripted_server(found, Answer(body=body)) as (url, _):
        scored = open_workspace(Target(url, "bp_mine")).endpoints.get("support").score("my card")
    assert scored == (json.loads(body) if answer is None else answer)


def test_an_image_is_its_bytes(open_workspace: Open) -> None:
    found = Answer(body=json.dumps({**ENDPOINT, "task": "text-to-image"}).encode())
    image = Answer(body=b"\x89PNG", headers={"Content-Type": "image/png"})
    with scripted_server(found, image) as (url, _):
        assert open_workspace(Target(url, "bp_mine")).endpoints.get("support").score("a cat") == b"\x89PNG"


def test_the_home_scores_at_the_gateways_socket_without_a_key_and_else_at_its_port(
    open_workspace: Open, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    body = {"inputs": "my card"}
    with scripted_server(SCORES, socket=home.scoring_socket) as (_, asked):
        connection = open_workspace(Target("http://bedplate", home=home)).connection
        connection.score("http://127.0.0.1:8686/endpoints/support", body, key="bp_key")
        assert (asked[0].path, asked[0].headers.get("authorization")) == ("/endpoints/support", None)
    home.scoring_socket.unlink()
    with scripted_server(SCORES) as (url, asked):
        connection.score(f"{url}/endpoints/support", body, key="bp_key")
    assert (asked[0].path, asked[0].headers["authorization"]) == ("/endpoints/support", "Bearer bp_key")


def test_an_endpoint_that_refuses_is_an_error_of_ours_and_an_overload_is_not_hidden(open_workspace: Open) -> None:
    busy = Answer(
        429, b'{"code": "overloaded", "detail": "The queue is full.", "hint": "Later."}', {"Retry-After": "1"}
    )
    with scripted_server(busy) as (url, asked), pytest.raises(Unavailable) as refused:
        open_workspace(Target(url)).connection.score(f"{url}/endpoints/support", {"inputs": "a"})
    assert (refused.value.code, len(asked)) == ("overloaded", 1)
