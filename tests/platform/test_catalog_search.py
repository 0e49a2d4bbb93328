"""Search over what is here, by REST, by the Python client and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from light_server import light_server
from rest_server import Rest, publish_model, rest_server

NAMES = ("acme/support-intent", "acme/support-urgency", "news-summaries")


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as started:
        fill(started.workspace)
        yield started


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        fill(workspace)
        yield workspace


def fill(workspace: Workspace) -> None:
    models = workspace.registry.models
    for name in NAMES:
        publish_model(workspace, name, "summarization" if "summaries" in name else "text-classification")
    models.set_alias("acme/support-intent:1", "production", by="root")
    publish_model(workspace, "old")
    models.archive("old:1", by="root")


def refs(rest: Rest, **params: Any) -> list[str]:
    answer = rest.call("GET", "/api/v1/models", params=params)
    assert answer.status_code == 200, answer.text
    return [item["ref"] for item in answer.json()["items"]]


def test_models_are_found_by_words_and_filters(rest: Rest) -> None:
    assert refs(rest) == [f"{name}:1" for name in NAMES]
    assert refs(rest, query="support urg") == ["acme/support-urgency:1"]
    assert refs(rest, query="summar") == refs(rest, task="summarization") == ["news-summaries:1"]
    assert refs(rest, alias="production") == ["acme/support-intent:1"]
    assert refs(rest, archived=True) == ["old:1"]
    assert refs(rest, source="hub") == refs(rest, query='") OR 1=1 --') == refs(rest, min_bytes=10**18) == []
    assert refs(rest, sort="name", descending=True) == [f"{name}:1" for name in reversed(NAMES)]


def test_a_hit_is_what_showing_the_model_shows(rest: Rest) -> None:
    [hit] = rest.call("GET", "/api/v1/models", params={"query": "intent"}).json()["items"]
    assert hit == rest.call("GET", "/api/v1/models/acme/support-intent:1").json()


def test_pages_go_on_where_the_last_one_ended(rest: Rest) -> None:
    found, after = [], None
    for _ in NAMES:
        page = rest.call("GET", "/api/v1/models", params={"limit": 1, **({"after": after} if after else {})}).json()
        found += [item["ref"] for item in page["items"]]
        after = page["next"]
    assert found == refs(rest)
    assert after is None
    for wrong, code in (
        ({"after": "x"}, "bad-cursor"),
        ({"sort": "age"}, "unknown-sort"),
        ({"task": "x"}, "unknown-task"),
    ):
        refused = rest.call("GET", "/api/v1/models", params=wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, code)


def test_the_python_client_takes_the_same_filters(server: Workspace) -> None:
    with bedplate.connect(home=server.home.path) as ws:
        assert [model.ref for model in ws.models.list(query="support", limit=1)] == ["acme/support-intent:1"]
        assert ws.models.list(sort="name", descending=True)[0].ref == "news-summaries:1"
        assert [model.ref for model in ws.models.list(alias="production", min_bytes=1)] == ["acme/support-intent:1"]
        with pytest.raises(Refused, match="age"):
            ws.models.list(sort="age")


def test_the_command_shows_a_page_and_says_that_there_are_more(server: Workspace) -> None:
    listing = ["models", "list", "--home", str(server.home.path)]
    done = CliRunner().invoke(app, [*listing, "--query", "support", "--limit", "1"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ref", "acme/support-intent:1"]
    assert "There are more: give --page 2" in done.stderr
    found = json.loads(CliRunner().invoke(app, [*listing, "--sort", "name", "--format", "json"]).stdout)
    assert [item["ref"] for item in found] == [f"{name}:1" for name in NAMES]
