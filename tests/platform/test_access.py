"""Every route declares its policy, and holds it: no key, a wrong scope, another endpoint's key, a foreign Host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount

from bedplate.api.access import POLICIES, Routes
from bedplate.api.app import create_app
from bedplate.gateway_process import Address
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from harness import bedplate_home, free_port, serving

# What FastAPI adds by itself: the API's description, open like the health routes.
DESCRIPTION = {"/openapi.json"}
OPEN = {"/livez", "/readyz"}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(Settings.from_environment({"BEDPLATE_HOME": str(tmp_path)}), address=Address("127.0.0.1", 8686))
    yield made
    made.database.close()


def policies(app: Any) -> dict[tuple[str, str], str]:
    """Every method and path of the API with the policy it declares."""
    found = {}
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            found[method.upper(), path] = operation.get("x-policy", "")
    return found


def test_every_route_declares_a_policy_and_only_health_is_open(workspace: Workspace) -> None:
    table = policies(create_app(workspace, stop=lambda: None))
    assert table
    assert set(table.values()) <= set(POLICIES)
    assert {path for (_, path), policy in table.items() if policy == "open"} == OPEN


def test_nothing_is_mounted_or_routed_beside_that_table(workspace: Workspace) -> None:
    app = create_app(workspace, stop=lambda: None)
    known = {path for _, path in policies(app)} | DESCRIPTION
    mounts = {route.path for route in app.routes if isinstance(route, Mount)}
    paths = {route.path for route in app.routes if isinstance(route, APIRoute) or hasattr(route, "endpoint")}
    assert mounts == {"/hub"}
    assert {path for path in paths if isinstance(path, str)} - mounts <= known


def test_a_route_without_a_known_policy_does_not_register() -> None:
    with pytest.raises(ValueError, match="everyone"):
        Routes("/x", "x").route("GET", "", "everyone")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """A served home: its URL and its loopback token."""
    with bedplate_home() as home:
        port = free_port()
        with serving(home, port):
            yield f"http://127.0.0.1:{port}", (home / "run" / "token").read_text()


def requests_of(url: str) -> list[tuple[str, str]]:
    """One request for each route that is not open, with the path's parameters filled in."""
    spec = httpx.get(f"{url}/openapi.json").json()["paths"]
    return [
        (method.upper(), "/".join("x" if part.startswith("{") else part for part in path.split("/")))
        for path, methods in spec.items()
        for method, operation in methods.items()
        if operation["x-policy"] != "open"
    ]


def test_no_key_and_a_wrong_key_open_nothing(server: tuple[str, str]) -> None:
    url, _ = server
    for method, path in [*requests_of(url), ("GET", "/hub/api/models/a/b")]:
        for headers in ({}, {"Authorization": "Bearer bp_wrong"}, {"Authorization": "Basic eDp5"}):
            assert httpx.request(method, url + path, headers=headers).status_code == 401, (method, path, headers)


def test_a_key_that_may_score_changes_nothing_here(server: tuple[str, str]) -> None:
    url, token = server
    admin = {"Authorization": f"Bearer {token}"}
    key = httpx.post(f"{url}/api/v1/keys", json={"name": "k", "scopes": ["infer"]}, headers=admin).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{url}/api/v1/models", headers=headers).status_code == 200
    for method, path, body in (
        ("POST", "/api/v1/endpoints", {"name": "abc", "model": "x"}),
        ("POST", "/api/v1/keys", {"name": "more", "scopes": ["admin"]}),
        ("POST", "/api/v1/jobs", {"kind": "import", "model_id": "a/b"}),
        ("POST", "/api/v1/jobs", {"kind": "finetune"}),
        ("POST", "/api/v1/jobs", {"kind": "no such kind"}),
        ("POST", "/api/v1/server/stop", {}),
        ("DELETE", "/api/v1/endpoints/abc", None),
    ):
        assert httpx.request(method, url + path, json=body, headers=headers).status_code == 403, (method, path)


def test_a_key_does_nothing_with_a_job_whose_kind_is_not_in_its_scope(server: tuple[str, str]) -> None:
    url, token = server
    admin = {"Authorization": f"Bearer {token}"}
    request = {"kind": "import", "model_id": "a/b", "hub": "http://127.0.0.1:9"}
    job = httpx.post(f"{url}/api/v1/jobs", json=request, headers=admin).json()["id"]
    key = httpx.post(f"{url}/api/v1/keys", json={"name": "k", "scopes": ["train"]}, headers=admin).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    actions = [("POST", action) for action in ("cancel", "resume", "retry", "rerun", "archive")]
    for method, action in [*actions, ("GET", "log"), ("GET", "log?follow=true"), ("GET", "outputs/x")]:
        answer = httpx.request(method, f"{url}/api/v1/jobs/{job}/{action}", headers=headers)
        assert answer.status_code == 403, action
    assert httpx.get(f"{url}/api/v1/jobs/{job}", headers=headers).status_code == 200


def test_a_body_beyond_the_limit_is_refused_before_a_key_is_asked_for(server: tuple[str, str]) -> None:
    url, _ = server
    answer = httpx.post(f"{url}/api/v1/jobs", content=b"[" * (9 << 20), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/jobs", {"kind": "import", "files": ["a"], "name": "x"}),
        ("/api/v1/jobs", {"kind": "import", "model_id": "a/b", "name": 5, "hub": 7}),
        ("/api/v1/jobs", {"kind": "batch", "model": "x", "input": 3, "output": "o.csv", "columns": ["a"]}),
        ("/api/v1/jobs", {"kind": "finetune", "model": "x", "task": "t", "train": {}, "output": "o", "settings": "x"}),
        ("/api/v1/jobs", {"kind": "import", "model_id": "a/b", "priority": "high"}),
        ("/api/v1/jobs", {"kind": "import", "model_id": "a/b", "needs": ["cores"]}),
        ("/api/v1/jobs", {"kind": ["import"]}),
        ("/api/v1/jobs/x/archive", {"archived": "no"}),
        ("/api/v1/keys", {"name": "k", "scopes": 5}),
        ("/api/v1/keys", {"name": "k", "scopes": ["infer"], "days": 0}),
        ("/api/v1/keys", {"name": "k", "scopes": ["infer"], "days": 1e305}),
        ("/api/v1/endpoints", {"name": "abc", "model": "x", "instances": "many"}),
        ("/api/v1/datasets", {"name": "../x", "upload": "zz", "filename": "f.csv"}),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused_and_is_no_error_of_ours(
    server: tuple[str, str], path: str, body: dict[str, Any]
) -> None:
    url, token = server
    answer = httpx.post(url + path, json=body, headers={"Authorization": f"Bearer {token}"})
    assert 400 <= answer.status_code < 500, answer.text


def test_a_revoked_key_is_refused_at_once(server: tuple[str, str]) -> None:
    url, token = server
    admin = {"Authorization": f"Bearer {token}"}
    made = httpx.post(f"{url}/api/v1/keys", json={"name": "k", "scopes": ["admin"]}, headers=admin).json()
    mine = {"Authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{url}/api/v1/keys", headers=mine).status_code == 200
    httpx.delete(f"{url}/api/v1/keys/{made['id']}", headers=admin)
    assert httpx.get(f"{url}/api/v1/keys", headers=mine).status_code == 401


def test_a_foreign_host_header_is_refused(server: tuple[str, str]) -> None:
    url, token = server
    headers = {"Authorization": f"Bearer {token}", "Host": "evil.example"}
    answer = httpx.get(f"{url}/api/v1/models", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["code"] == "bad-host"


def test_a_key_is_stored_as_a_digest_only(workspace: Workspace) -> None:
    _, text = workspace.keys.create("k", ["infer"])
    assert text.encode() not in workspace.home.database.read_bytes()


def test_errors_are_problem_documents_without_a_path_or_a_traceback(server: tuple[str, str]) -> None:
    url, token = server
    headers = {"Authorization": f"Bearer {token}"}
    for method, path, body in (
        ("GET", "/api/v1/models/no/such", None),
        ("POST", "/api/v1/jobs", {"kind": "finetun"}),
        ("GET", "/api/v1/nowhere", None),
        ("POST", "/api/v1/jobs", [1, 2]),
    ):
        answer = httpx.request(method, url + path, json=body, headers=headers)
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "code", "detail"} <= set(problem)
        assert "Traceback" not in answer.text
        assert "/bedplate" not in answer.text
