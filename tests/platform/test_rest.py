"""REST, resource by resource: who sees which jobs, what is sent twice, what was changed meanwhile, what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from bedplate.api import job_streams
from bedplate.api.observed import observe
from bedplate.api.problems import add_problem_handlers
from bedplate.job_folder import EventReader
from bedplate_registry.errors import Conflict
from harness import wait_for
from light_server import light_server
from rest_server import CSV, MODEL, Rest, fill, finished_job, publish_model, rest_server

JOBS = "/api/v1/jobs"
BATCH = {"kind": "batch", "model": MODEL, "input": "tickets", "output": "scored.csv", "columns": {"sentence1": "text"}}


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as started:
        fill(started)
        yield started


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


# --- whose jobs


def test_a_job_of_another_user_is_one_that_does_not_exist(rest: Rest) -> None:
    job = finished_job(rest.workspace, owner="ana").id
    calls = [("GET", ""), ("GET", "/metrics"), ("GET", "/log"), ("GET", "/outputs/rows.csv"), ("GET", "/events")]
    calls += [("POST", f"/{action}") for action in ("cancel", "resume", "retry", "rerun", "archive")]
    for method, part in calls:
        hidden = problem(rest.call(method, f"{JOBS}/{job}{part}", user="bob"), 404, "not-found")
        unknown = problem(rest.call(method, f"{JOBS}/batch-ffffffff{part}", user="bob"), 404, "not-found")
        for body in (hidden, unknown):
            del body["request_id"]
        assert json.dumps(hidden).replace(job, "ID") == json.dumps(unknown).replace("batch-ffffffff", "ID")
    for user in ("ana", "olga", "root"):
        assert rest.call("GET", f"{JOBS}/{job}", user=user).json()["owner"] == "ana"


def test_lists_leave_the_jobs_of_others_out_and_their_pages_are_full(rest: Rest) -> None:
    mine = []
    for _ in range(4):
        mine.append(rest.workspace.jobs.submit("batch", {}, owner="bob").id)
        rest.workspace.jobs.submit("batch", {}, owner="ana")
    first = rest.call("GET", f"{JOBS}?limit=3", user="bob").json()
    second = rest.call("GET", f"{JOBS}?limit=3&after={first['next']}", user="bob").json()
    assert [job["id"] for job in first["items"] + second["items"]] == mine[::-1]
    assert second["next"] is None
    everybody = {job["owner"] for job in rest.call("GET", JOBS, user="olga").json()["items"]}
    assert everybody >= {"ana", "bob", "root"}


def test_a_job_keeps_whose_it_is_and_by_which_call_it_came(rest: Rest) -> None:
    made = rest.call("POST", JOBS, user="ana", json=BATCH, headers={"X-Request-ID": "call-7"})
    assert (made.status_code, made.headers["x-request-id"]) == (202, "call-7")
    assert (made.json()["owner"], made.json()["request_id"]) == ("ana", "call-7")


# --- sent twice


def test_a_request_that_is_sent_twice_makes_one_job_whatever_became_of_what_it_names(rest: Rest) -> None:
    headers = {"Idempotency-Key": "key 1"}
    first = rest.call("POST", JOBS, json=BATCH, headers=headers).json()
    other_order = dict(reversed(BATCH.items()))
    add_dataset(rest, "tickets", CSV + b"one more,card\n")  # the request would be resolved otherwise now
    assert rest.call("POST", JOBS, json=other_order, headers=headers).json()["id"] == first["id"]
    assert rest.call("POST", JOBS, user="ana", json=BATCH, headers=headers).json()["id"] != first["id"]
    other = rest.call("POST", JOBS, json={**BATCH, "output": "other.csv"}, headers=headers)
    assert first["id"] in problem(other, 422, "idempotency-mismatch")["detail"]
    again = f"{JOBS}/{first['id']}/rerun"
    assert problem(rest.call("POST", again, headers=headers), 422, "idempotency-mismatch")
    rerun = [rest.call("POST", again, headers={"Idempotency-Key": "key 2"}).json()["id"] for _ in range(2)]
    assert rerun[0] == rerun[1] != first["id"]


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\there", "\x1fchild", "é"])
def test_a_key_that_no_job_can_be_told_by_is_refused(rest: Rest, key: str) -> None:
    answer = rest.call("POST", JOBS, json=BATCH, headers={"Idempotency-Key": key.encode("latin-1")})
    assert "idempotency-key" in problem(answer, 422, "bad-request")["detail"]


# --- what is refused


@pytest.mark.parametrize(
    ("path", "body", "code", "hint"),
    [
        (JOBS, {**BATCH, "outptu": "x"}, "unknown-setting", "'output'"),
        (JOBS, {"kind": "bach"}, "unknown-kind", "'batch'"),
        (JOBS, {"kind": ["batch"]}, "unknown-kind", "text"),
        (JOBS, {"kind": "batch", "input": "tickets", "output": "x.csv"}, "missing-setting", "model"),
        ("/api/v1/endpoints", {"name": "abc", "model": MODEL, "instnces": 2}, "unknown-setting", "'instances'"),
        ("/api/v1/endpoints", {"name": "abc"}, "missing-setting", "model"),
        ("/api/v1/endpoints", {"name": "abc", "model": MODEL, "instances": "2"}, "bad-request", "integer"),
        ("/api/v1/endpoints", {"name": "abc", "model": MODEL, "instances": 99}, "bad-request", "16"),
        (
            "/api/v1/endpoints",
            {"name": "abc", "model": MODEL, "sample": {"inptus": "a"}},
            "unknown-setting",
            "'inputs'",
        ),
        ("/api/v1/endpoints", {"name": "abc", "model": MODEL, "sample": {"inputs": None}}, "bad-sample", "inputs"),
        ("/api/v1/endpoints", {"name": "abc", "model": MODEL, "sample": {"inputs": []}}, "bad-sample", "inputs"),
        ("/api/v1/datasets", {"name": "x", "upload": "../etc", "filename": "f.csv"}, "bad-digest", "64"),
        ("/api/v1/users", {"name": "eve", "rol": "user"}, "unknown-setting", "'role'"),
        ("/api/v1/keys", {"name": "ci", "scopes": ["infer"], "days": "90"}, "bad-request", "number"),
        ("/api/v1/keys", {"name": "ci", "scopes": ["infer"], "concurrency": 2.0}, "bad-request", "integer"),
        ("/api/v1/batch-endpoints/nightly/jobs", {"model": MODEL}, "unknown-setting", "model"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest_one(
    rest: Rest, path: str, body: dict[str, Any], code: str, hint: str
) -> None:
    refused = problem(rest.call("POST", path, json=body), 422, code)
    assert hint in refused["hint"], refused


def test_images_are_not_written_into_a_table_of_texts(rest: Rest) -> None:
    publish_model(rest.workspace, "painter", task="text-to-image")
    body = {**BATCH, "model": "painter", "columns": {"prompt": "text"}}
    assert ".parquet" in problem(rest.call("POST", JOBS, json=body), 422, "bad-format")["hint"]
    assert rest.call("POST", JOBS, json={**body, "output": "images.parquet"}).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"kind": "batch", "priority": NaN}', 422, "bad-json"),
        (b'{"kind": "batch", "model": "\\ud800"}', 422, "bad-json"),
        (b'{"kind": "batch", "model": "a\\u0000b"}', 422, "bad-json"),
        (b'{"kind": "batch", "model": "a\xff"}', 422, "bad-json"),
        (b"[" * 100_000, 422, "bad-json"),
        (b'{"a":' * 5_000, 422, "bad-json"),
        (b"[1, 2]", 422, "bad-request"),
        (b"", 422, "bad-request"),
        (b" " * (9 << 20), 413, "body-too-large"),
    ],
)
def test_what_is_no_plain_json_object_is_refused(rest: Rest, body: bytes, status: int, code: str) -> None:
    answer = rest.call("POST", JOBS, content=body, headers={"Content-Type": "application/json"})
    assert "Traceback" not in problem(answer, status, code)["detail"]


NAMES = b'{"0":1' + b"".join(b',"%d":1' % number for number in range(600_000)) + b"}"
SCOPES = b'{"name":"ci","scopes":[1' + b",1" * (7 << 19) + b"]}"


@pytest.mark.parametrize("body", [NAMES, SCOPES])
@pytest.mark.parametrize(("path", "user"), [("/api/v1/session", None), ("/api/v1/keys", "ana"), ("/api/v1/keys", None)])
def test_a_body_of_nothing_but_names_or_items_is_refused_before_it_costs_anything(
    rest: Rest, path: str, user: str | None, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    if user is not None:
        headers["Authorization"] = f"Bearer {rest.keys[user]}"
    began = time.process_time()
    problem(rest.client.post(path, content=body, headers=headers), 413, "body-too-large")
    assert time.process_time() - began < 1


def test_the_first_thing_that_is_wrong_with_a_body_is_enough(rest: Rest) -> None:
    began = time.process_time()
    many = {str(number): 1 for number in range(100_000)}
    problem(rest.call("POST", "/api/v1/keys", json=many), 422, "unknown-setting")
    for path, body in (
        ("keys", {"name": "ci", "scopes": [*many]}),
        ("keys", {"name": "ci", "scopes": ["infer"] * 11}),
        ("keys", {"name": {"a": [*many]}, "scopes": ["infer"]}),
        ("endpoints", {"name": many, "model": MODEL}),
    ):
        problem(rest.call("POST", f"/api/v1/{path}", json=body), 422, "bad-request")
    problem(rest.call("PATCH", "/api/v1/endpoints/support", json={"traffic": many}), 422, "bad-request")
    assert time.process_time() - began < 4


def test_a_server_answers_others_while_it_refuses_what_is_hostile() -> None:
    with light_server() as workspace:

        def client() -> httpx.Client:
            transport = httpx.HTTPTransport(uds=str(workspace.home.gateway_socket))
            return httpx.Client(transport=transport, base_url="http://bedplate", timeout=20)

        def attack(body: bytes) -> int:
            with client() as hostile:
                headers = {"Content-Type": "application/json"}
                return hostile.post("/api/v1/session", content=body, headers=headers).status_code

        with ThreadPoolExecutor() as pool, client() as other:
            attacks = [pool.submit(attack, body) for body in (NAMES, SCOPES) * 3]
            assert other.get("/livez", timeout=2).status_code == 200
            assert {each.result() for each in attacks} == {413}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", None])
def test_json_that_is_sent_as_something_else_is_refused(rest: Rest, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = rest.call("POST", JOBS, content=json.dumps(BATCH).encode(), headers=headers)
    assert "application/json" in problem(answer, 415, "unsupported-media-type")["hint"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{JOBS}?limt=5", "unknown-parameter"),
        (f"{JOBS}?limit=0", "bad-request"),
        (f"{JOBS}?limit=1001", "bad-request"),
        (f"{JOBS}?after=x", "bad-request"),
        (f"{JOBS}?kind=a%00b", "bad-request"),
        (f"{JOBS}/a%00b", "bad-request"),
        ("/api/v1/models/_/a%00b", "bad-request"),
        ("/api/v1/models?task=a%00b", "bad-request"),
        ("/api/v1/uploads/../../etc/passwd", "not-found"),
        ("/api/v1/nowhere", "not-found"),
    ],
)
def test_an_address_that_means_nothing_is_refused(rest: Rest, path: str, code: str) -> None:
    refused = problem(rest.call("GET", path), 404 if code == "not-found" else 422, code)
    assert refused["hint"]
    if code == "not-found":
        assert "/docs" in refused["hint"]


def test_a_method_that_a_path_has_not_is_refused_with_those_it_has(rest: Rest) -> None:
    answer = rest.call("DELETE", "/api/v1/compute")
    assert "/docs" in problem(answer, 405, "method-not-allowed")["hint"]
    assert "GET" in answer.headers["allow"]


def test_what_nobody_expected_is_logged_by_its_route_and_under_its_id(
    rest: Rest, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/broken/{name}")
    def broken(name: str) -> None:
        raise RuntimeError(name[:0])

    observe(app, rest.workspace)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken/secret", headers={"X-Request-ID": "r-9"})
    assert (answer.status_code, answer.json()["request_id"]) == (500, "r-9")
    [record] = [record for record in caplog.records if record.name == "bedplate.api.problems"]
    assert (record.getMessage(), record.__dict__["request_id"]) == ("GET /broken/{name} failed", "r-9")


# --- what was changed meanwhile


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/models/{MODEL}",
        f"/api/v1/models/_/{MODEL}",
        "/api/v1/models/_/support-intent/aliases/production",
        "/api/v1/datasets/tickets:1",
        "/api/v1/endpoints/support",
        "/api/v1/batch-endpoints/nightly",
    ],
)
def test_who_has_the_newest_state_is_not_sent_it_again(rest: Rest, path: str) -> None:
    first = rest.call("GET", path)
    tag = first.headers["etag"]
    for have in (tag, f'"other", W/{tag}', "*"):
        again = rest.call("GET", path, headers={"If-None-Match": have})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert rest.call("GET", path, headers={"If-None-Match": '"other"'}).json() == first.json()


def test_a_job_that_moved_on_has_another_tag(rest: Rest) -> None:
    job = rest.workspace.jobs.submit("batch", {}, owner="root").id
    tag = rest.call("GET", f"{JOBS}/{job}").headers["etag"]
    rest.workspace.jobs.ask_cancel(job)
    moved = rest.call("GET", f"{JOBS}/{job}", headers={"If-None-Match": tag})
    assert (moved.status_code, moved.json()["state"]) == (200, "cancelled")


def test_a_change_that_goes_by_an_old_state_of_an_endpoint_is_refused(rest: Rest) -> None:
    rest.workspace.endpoints.deploy("shared", MODEL, "text-classification")
    path = "/api/v1/endpoints/shared"
    old = rest.call("GET", path).headers["etag"]
    rest.workspace.endpoints.note_waiting(rest.workspace.endpoints.deployments("shared")[0], "a card")
    changed = rest.call("PATCH", path, json={"instances": {"main": 2}}, headers={"If-Match": old})
    assert changed.json()["deployments"][0]["instances"] == 2, "what changes by itself is not in the way"
    for method, body in (("PATCH", {"instances": {"main": 3}}), ("DELETE", None)):
        problem(rest.call(method, path, json=body, headers={"If-Match": old}), 412, "changed")
    problem(rest.call("DELETE", path, headers={"If-Match": '"no tag of ours"'}), 412, "changed")
    assert rest.call("DELETE", path, headers={"If-Match": changed.headers["etag"]}).status_code == 204
    problem(rest.call("GET", path), 404, "not-found")


def test_an_alias_is_moved_by_whoever_saw_what_it_means(rest: Rest) -> None:
    publish_model(rest.workspace, "other")
    path = "/api/v1/models/_/other/aliases/best"
    problem(rest.call("GET", path), 404, "not-found")
    problem(rest.call("PUT", path, json={}, headers={"If-Match": '"x"'}), 412, "changed")
    made = rest.call("PUT", path, json={"why": "the only one"})
    assert made.json()["aliases"] == {"best": 1}
    assert rest.call("GET", path).json() == {"alias": "best", "version": 1, "model": "other:1"}
    assert rest.call("GET", path).headers["etag"] == made.headers["etag"]
    assert rest.call("PUT", path, json={}, headers={"If-Match": made.headers["etag"]}).status_code == 200
    problem(rest.call("PUT", path, user="ana", json={}), 403, "forbidden")


def test_a_user_is_changed_by_whoever_saw_what_he_may(rest: Rest) -> None:
    rest.workspace.users.create("eve", "viewer")
    tag = rest.call("GET", "/api/v1/users/eve").headers["etag"]
    assert rest.call("GET", "/api/v1/users/eve", headers={"If-None-Match": tag}).status_code == 304
    headers = {"If-Match": tag}
    assert rest.call("PATCH", "/api/v1/users/eve", json={"role": "user"}, headers=headers).json()["role"] == "user"
    problem(rest.call("PATCH", "/api/v1/users/eve", json={"role": "admin"}, headers=headers), 412, "changed")


# --- lists


def test_every_list_comes_in_pages_that_neither_repeat_nor_miss_anything(rest: Rest) -> None:
    for name in ("aaa", "m-1", "org/a", "zzz"):
        publish_model(rest.workspace, name)
        add_dataset(rest, name, CSV)
        rest.workspace.registry.evaluations.add({"model": MODEL, "metrics": {}})
    for name in ("one", "two", "three"):
        rest.workspace.endpoints.deploy(name, MODEL, "text-classification")
    listed = ("models", "datasets", "evaluations", "endpoints", "users", "keys")
    listed += ("models/_/support-intent/files", "datasets/aaa/preview")
    for path in listed:
        whole = rest.call("GET", f"/api/v1/{path}").json()
        assert whole["next"] is None
        found, after, pages = [], "", 0
        while after is not None:
            page = rest.call("GET", f"/api/v1/{path}?limit=1{after and '&after=' + after}").json()
            found += page["items"]
            after, pages = page["next"], pages + 1
        assert found == whole["items"]
        assert pages == len(found) > 1, path


def test_metrics_come_in_pages_and_what_is_no_number_is_null(rest: Rest) -> None:
    job = finished_job(rest.workspace, owner="root").id
    first = rest.call("GET", f"{JOBS}/{job}/metrics?limit=1").json()
    assert first == {"items": [{"attempt": 1, "step": 1, "loss": 0.5}], "next": "1"}
    rest_of_them = rest.call("GET", f"{JOBS}/{job}/metrics?after=1").json()
    assert rest_of_them == {"items": [{"attempt": 1, "step": 2, "loss": None}], "next": None}


# --- uploads and downloads


def add_dataset(rest: Rest, name: str, data: bytes, filename: str = "t.csv") -> httpx.Response:
    body = {"name": name, "upload": rest.upload(data), "filename": filename}
    return rest.call("POST", "/api/v1/datasets", json=body)


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def incoming(rest: Rest) -> list[str]:
    return [path.name for path in rest.workspace.registry.blobs.root.rglob("*.part")]


def test_bytes_are_kept_once_under_the_digest_that_they_have(rest: Rest) -> None:
    data = b"x" * (3 << 20)
    path = f"/api/v1/uploads/{hashlib.sha256(data).hexdigest()}"
    assert rest.call("HEAD", path).status_code == 404
    for _ in range(2):
        sent = rest.call("PUT", path, content=data)
        assert (sent.status_code, sent.json()["size_bytes"]) == (201, len(data))
    assert rest.call("HEAD", path).status_code == 200
    problem(rest.call("PUT", path, content=data[1:]), 422, "bad-digest")
    for name in ("x", "A" * 64, "0" * 63, "%2e%2e"):
        assert rest.call("PUT", f"/api/v1/uploads/{name}", content=b"1").status_code in (404, 422)
    assert not incoming(rest)


def test_an_upload_beyond_the_limit_is_refused_whether_its_size_is_stated_or_not(rest: Rest) -> None:
    settings, path = rest.workspace.settings, f"/api/v1/uploads/{'0' * 64}"
    rest.workspace.settings = replace(settings, max_upload_gb=0)
    try:
        refused = problem(rest.call("PUT", path, content=b"12345"), 413, "upload-too-large")
        assert "BEDPLATE_MAX_UPLOAD_GB" in refused["hint"]
        problem(rest.call("PUT", path, content=iter([b"123", b"45"])), 413, "upload-too-large")
        rest.workspace.settings = replace(settings, max_upload_gb=10**6)
        headers = {"Content-Length": str(10**14)}
        problem(rest.call("PUT", path, content=b"12345", headers=headers), 507, "no-room")
    finally:
        rest.workspace.settings = settings
    assert not incoming(rest)


def test_an_upload_that_its_sender_breaks_off_is_no_failure_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with light_server() as workspace:
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(str(workspace.home.socket))
            head = f"PUT /api/v1/uploads/{'0' * 64} HTTP/1.1\r\nHost: bedplate\r\nContent-Length: 1000000\r\n\r\n"
            sender.sendall(head.encode() + b"x" * 1000)
            wait_for(lambda: [*workspace.registry.blobs.root.rglob("*.part")])
        wait_for(lambda: [record for record in caplog.records if record.name == "bedplate.access"])
        assert not [*workspace.registry.blobs.root.rglob("*.part")]
    seen = [(record.name, record.levelname) for record in caplog.records if record.levelno > logging.INFO]
    assert seen == []
    [line] = [record.__dict__ for record in caplog.records if record.name == "bedplate.access"]
    assert (line["route"], line["status"]) == ("/api/v1/uploads/{sha256}", 499)


def test_an_output_is_a_file_to_be_saved_and_never_a_page(rest: Rest) -> None:
    job = finished_job(rest.workspace, owner="root").id
    answer = rest.call("GET", f"{JOBS}/{job}/outputs/rows.csv")
    assert answer.content == CSV
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="rows.csv"'
    part = rest.call("GET", f"{JOBS}/{job}/outputs/rows.csv", headers={"Range": "bytes=5-10"})
    assert (part.status_code, part.content) == (206, CSV[5:11])
    outputs = rest.workspace.job_folder(job).outputs
    (outputs / "token").symlink_to(rest.workspace.home.database)
    (outputs / "folder").mkdir()
    os.mkfifo(outputs / "pipe")
    opened = open_files()
    for name in ("..%2fspec.json", "none", "%2e%2e", "token", "folder", "pipe"):
        assert rest.call("GET", f"{JOBS}/{job}/outputs/{name}").status_code == 404
    assert open_files() == opened
    outputs.rename(outputs.with_name("aside"))
    outputs.symlink_to(outputs.with_name("aside"))
    hidden = problem(rest.call("GET", f"{JOBS}/{job}/outputs/none"), 404, "not-found")
    assert "rows.csv" not in hidden["hint"]


def test_rows_that_json_has_no_form_for_are_shown_all_the_same(rest: Rest) -> None:
    data = b'{"a": 123456789012345678901234567890, "b": "\\ud800", "c": NaN}\n'
    assert add_dataset(rest, "odd", data, "t.jsonl").status_code == 201
    shown = rest.call("GET", "/api/v1/datasets/odd/preview")
    assert shown.json()["items"] == [{"a": 123456789012345678901234567890, "b": "\ud800", "c": None}]


# --- endpoints


@pytest.mark.parametrize("kind", ["endpoints", "batch-endpoints"])
def test_a_deployment_that_is_only_tried_out_is_checked_and_nothing_of_it_is_kept(rest: Rest, kind: str) -> None:
    path, body = f"/api/v1/{kind}?dry_run=true", {"name": "tried", "model": "support-intent"}
    plan = rest.call("POST", path, json=body, user="olga")
    assert plan.status_code == 200
    assert plan.json() | {"instances": 0, "demand": None} == {
        "name": "tried",
        "kind": "batch" if kind == "batch-endpoints" else "real-time",
        "task": "text-classification",
        "deployment": "main",
        "model": MODEL,
        "device": "cpu",
        "is_new": True,
        "traffic": {"main": 100},
        "instances": 0,
        "demand": None,
    }
    assert "tried" not in [one.name for one in rest.workspace.endpoints.all()]
    assert rest.workspace.keys.of_endpoint("tried") == []
    problem(rest.call("POST", path, json=body, user="ana"), 403, "forbidden")
    for change, status, code in (
        ({"name": "T"}, 422, "bad-name"),
        ({"model": "nothing:1"}, 404, "not-found"),
        ({"device": "cuda"}, 422, "no-gpu"),
        ({"traffic": 101}, 422, "bad-request"),
    ):
        problem(rest.call("POST", path, json=body | change), status, code)


def test_what_would_come_of_another_deployment_is_told_with_everybodys_share(rest: Rest) -> None:
    rest.workspace.endpoints.deploy("shared", MODEL, "text-classification")
    publish_model(rest.workspace, "better")
    before = rest.call("GET", "/api/v1/endpoints/shared").json()
    path, body = "/api/v1/endpoints?dry_run=true", {"name": "shared", "model": "better", "deployment": "green"}
    plan = rest.call("POST", path, json=body | {"traffic": 10, "instances": 3}).json()
    assert (plan["is_new"], plan["traffic"], plan["instances"]) == (False, {"main": 90, "green": 10}, 3)
    assert plan["demand"]["memory_bytes"] > 0
    problem(rest.call("POST", path, json=body | {"deployment": "main"}), 409, "other-model")
    problem(rest.call("POST", path, json=body | {"instances": 16}), 422, "does-not-fit")
    assert rest.call("GET", "/api/v1/endpoints/shared").json() == before


def test_traffic_and_replicas_are_changed_together_and_a_deployment_leaves_when_it_holds_none(rest: Rest) -> None:
    rest.workspace.endpoints.deploy("busy", MODEL, "text-classification")
    publish_model(rest.workspace, "better")
    rest.workspace.endpoints.deploy("busy", "better:1", "text-classification", deployment="green")
    path = "/api/v1/endpoints/busy"
    body = {"traffic": {"main": 90, "green": 10}, "instances": {"green": 2}}
    changed = rest.call("PATCH", path, json=body).json()
    shown = {row["name"]: (row["traffic"], row["instances"]) for row in changed["deployments"]}
    assert (shown, changed["revision"]) == ({"main": (90, 1), "green": (10, 2)}, 3)
    for wrong, status, code in (
        ({}, 422, "missing-setting"),
        ({"traffic": {"main": 90}}, 422, "refused"),
        ({"traffic": {"main": 101}}, 422, "bad-request"),
        ({"traffic": {"blue": 100}}, 404, "not-found"),
        ({"instances": {"blue": 1}}, 404, "not-found"),
        ({"instances": {"main": True}}, 422, "bad-request"),
    ):
        problem(rest.call("PATCH", path, json=wrong), status, code)
    assert rest.call("GET", path).json()["revision"] == 3, "a change that is refused is none"
    problem(rest.call("DELETE", f"{path}/deployments/main"), 409, "has-traffic")
    rest.call("PATCH", path, json={"traffic": {"green": 100}})
    assert rest.call("DELETE", f"{path}/deployments/main").status_code == 204
    assert [row["name"] for row in rest.call("GET", path).json()["deployments"]] == ["green"]
    problem(rest.call("DELETE", f"{path}/deployments/main"), 404, "not-found")
    for user in ("ana", "bob"):
        problem(rest.call("PATCH", path, user=user, json={"traffic": {"green": 100}}), 403, "forbidden")


def test_the_keys_of_an_endpoint_lie_in_two_slots_and_are_shown_once(rest: Rest) -> None:
    path = "/api/v1/endpoints/support/keys"
    before = rest.call("GET", path).json()["items"]
    assert [key["slot"] for key in before] == ["primary"]
    made = {slot: rest.call("POST", f"{path}/{slot}/rotate").json()["key"] for slot in ("secondary", "primary")}
    listed = rest.call("GET", path)
    assert [key["slot"] for key in listed.json()["items"]] == ["primary", "secondary"]
    assert listed.json()["items"][0]["id"] != before[0]["id"]
    for text in made.values():
        assert text.startswith("bp_")
        assert text not in listed.text
        assert rest.workspace.keys.find(text) is not None
    assert "'primary'" in problem(rest.call("POST", f"{path}/primry/rotate"), 422, "unknown-slot")["hint"]
    problem(rest.call("GET", path, user="ana"), 403, "forbidden")


def test_a_batch_endpoint_scores_with_the_version_that_holds_most_traffic_and_starts_nothing(rest: Rest) -> None:
    path, ref = "/api/v1/batch-endpoints", publish_model(rest.workspace, "newer")
    made = rest.call("POST", path, json={"name": "weekly", "model": MODEL})
    assert (made.status_code, made.json()["state"], made.json()["kind"]) == (201, "ready", "batch")
    rest.call("POST", path, json={"name": "weekly", "model": ref, "deployment": "green"})
    body = {"input": "tickets", "output": "scored.csv", "columns": {"sentence1": "text"}}
    headers = {"Idempotency-Key": "weekly-1"}
    first = rest.call("POST", f"{path}/weekly/jobs", user="ana", json=body, headers=headers)
    assert (first.status_code, first.json()["spec"]["model"], first.json()["owner"]) == (202, MODEL, "ana")
    rest.call("PATCH", f"{path}/weekly", json={"traffic": {"green": 100}})
    again = rest.call("POST", f"{path}/weekly/jobs", user="ana", json=body, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert rest.call("POST", f"{path}/weekly/jobs", json=body).json()["spec"]["model"] == ref
    assert "weekly" not in {row.endpoint for row in rest.workspace.endpoints.missing()}
    assert "weekly" not in [row["name"] for row in rest.call("GET", "/api/v1/endpoints").json()["items"]]
    assert "batch" in problem(rest.call("GET", "/api/v1/endpoints/weekly"), 404, "not-found")["hint"]
    assert rest.call("DELETE", f"{path}/weekly").status_code == 204
    problem(rest.call("POST", f"{path}/weekly/jobs", json=body), 404, "not-found")


def test_a_name_is_of_a_real_time_endpoint_or_of_a_batch_endpoint(rest: Rest) -> None:
    body = {"name": "support", "model": MODEL}
    problem(rest.call("POST", "/api/v1/batch-endpoints", json=body), 409, "other-kind")
    with pytest.raises(Conflict, match="batch endpoint"):
        rest.workspace.endpoints.deploy("nightly", MODEL, "text-classification")
    problem(rest.call("DELETE", "/api/v1/batch-endpoints/support"), 404, "not-found")
    problem(rest.call("DELETE", "/api/v1/endpoints/nightly"), 404, "not-found")


# --- streams


def test_events_resume_by_id_and_end_at_once_when_the_server_stops(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    done = finished_job(rest.workspace, owner="root").id
    whole = rest.call("GET", f"{JOBS}/{done}/events")
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert whole.text.startswith("retry: 1000\nid: 1\nevent: message\ndata: {")
    resumed = rest.call("GET", f"{JOBS}/{done}/events", headers={"Last-Event-ID": "1"}).text
    assert re.findall("^(?:id|event): .*", resumed, re.MULTILINE) == ["event: state"]
    problem(rest.call("GET", f"{JOBS}/{done}/events", headers={"Last-Event-ID": "x"}), 422, "bad-request")
    waiting = rest.workspace.jobs.submit("batch", {}, owner="root").id
    monkeypatch.setattr(job_streams, "HEARTBEAT_SECONDS", 0.0)
    looks: list[EventReader] = []
    read = EventReader.read

    def look(reader: EventReader) -> list[dict[str, Any]]:
        looks.append(reader)
        if len(looks) == 3:
            rest.workspace.is_stopping = True
        return read(reader)

    monkeypatch.setattr(EventReader, "read", look)
    try:
        text = rest.call("GET", f"{JOBS}/{waiting}/events").text
    finally:
        rest.workspace.is_stopping = False
    assert text.count("event: state") == 1
    assert ": still here\n\n" in text
    assert len(looks) == 3


def test_a_log_that_the_server_breaks_off_has_no_end_so_that_its_reader_asks_for_the_rest() -> None:
    with light_server() as workspace:
        job = workspace.jobs.submit("script", {"code": "print('one', flush=True); import time; time.sleep(60)"})
        url, transport = f"http://bedplate{JOBS}/{job.id}/log", httpx.HTTPTransport(uds=str(workspace.home.socket))
        with httpx.Client(transport=transport, timeout=20) as client, client.stream("GET", f"{url}?follow=1") as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"one\n"
            workspace.is_stopping = True
            with pytest.raises(httpx.RemoteProtocolError):
                next(pieces)


# --- the page


def test_the_page_of_the_api_lists_every_route_and_asks_nobody_else(rest: Rest) -> None:
    for path in ("/docs", "/"):
        page = rest.client.get(path)
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script|style=|\son\w+=|(src|href)=[\"']?(https?:)?//", page.text)
        for route in rest.client.get("/openapi.json").json()["paths"]:
            assert f"<code>{route}</code>" in page.text
        assert "Successful Response" not in page.text
    for asset in set(re.findall(r'(?:href|src)="(/static/[^"]+)"', rest.client.get("/docs").text)):
        assert rest.client.get(asset).status_code == 200


def test_the_page_of_the_api_says_of_each_field_what_it_takes_and_how_an_endpoint_is_called(rest: Rest) -> None:
    page = rest.client.get("/docs").text
    [made] = re.findall(
        r"<details><summary><b class=post>POST</b> <code>/api/v1/endpoints</code>.*?</details>", page, re.S
    )
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", made)]
    assert ["<code>name</code>", "string", "required", "", "Of the endpoint."] in rows
    assert ["<code>instances</code>", "integer or null", "", "≥ 1, ≤ 16", ""] in rows
    assert ["<code>deployments[].replicas[].id</code>", "string", "", "", ""] in rows
    assert made.count("Deploy a model") == 1, "the summary is not told twice"
    calls = re.findall("<pre>(curl.*?)</pre>", page, re.S)
    places = [re.findall(r"/endpoints/support(/\w+)?", call)[0] for call in calls]
    assert places == ["", "/score", "/score", "/health", "/info"]
    for call, name in zip(calls, ("inputs", "input_data", "inputs"), strict=False):
        assert name in json.loads(unescape(call).split("-d '")[1].rstrip("'"))
