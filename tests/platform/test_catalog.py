"""What can be imported, by REST, by the Python client and on the command line; the Hub is one of ours on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.workspace import Workspace
from bedplate_registry.errors import Forbidden, Refused, Unavailable
from bedplate_registry.models import ModelDraft, Source
from light_server import light_server
from rest_server import Rest, publish_model, rest_server
from scripted_server import Answer, scripted_server

TOKEN = "hf_not_to_be_shown"
DISTIL = "distilbert/distilbert-base-uncased"
HITS = [
    {"id": DISTIL, "pipeline_tag": "fill-mask", "config": {"model_type": "distilbert"}, "downloads": 9, "gated": False},
    {"id": "acme/of-the-hub", "pipeline_tag": "image-segmentation", "gated": "manual"},
]


@pytest.fixture(scope="module")
def hub() -> Iterator[tuple[str, list[Any]]]:
    with scripted_server(Answer(body=json.dumps(HITS).encode())) as (url, asked):
        yield url, asked


@pytest.fixture(scope="module")
def rest(hub: tuple[str, list[Any]]) -> Iterator[Rest]:
    with rest_server(BEDPLATE_HUB_URL=hub[0], HF_TOKEN=TOKEN) as started:
        started.workspace.users.create("vera", "viewer")
        started.keys["vera"] = started.workspace.keys.create("vera", ["admin"], owner="vera")[1]
        import_of(started.workspace, DISTIL)
        yield started


@pytest.fixture(scope="module")
def server(hub: tuple[str, list[Any]]) -> Iterator[Workspace]:
    with light_server() as workspace:
        workspace.settings = replace(workspace.settings, hub_url=hub[0], offline=False)
        import_of(workspace, DISTIL)
        yield workspace


def import_of(workspace: Workspace, model_id: str) -> None:
    """What an import of that model leaves, under another name."""
    models = workspace.registry.models
    version = models.get(publish_model(workspace, "our-distil", "fill-mask"))
    models.publish(ModelDraft(version.name, version.files, version.facts, Source("hub", model_id, "a" * 40)))


def items(rest: Rest, path: str = "", user: str = "ana", **params: Any) -> list[dict[str, Any]]:
    answer = rest.call("GET", f"/api/v1/catalog{path}", user=user, params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_the_shipped_list_says_what_is_here_already(rest: Rest) -> None:
    found = {item["model_id"]: item["here"] for item in items(rest, user="vera")}
    assert len(found) > 50
    assert {model_id: here for model_id, here in found.items() if here} == {DISTIL: "our-distil:2"}


def test_the_list_is_filtered_and_comes_in_pages(rest: Rest) -> None:
    german = items(rest, language="de", task="fill-mask")
    assert [item["model_id"] for item in german] == ["google-bert/bert-base-german-cased"]
    whole = items(rest)
    first = rest.call("GET", "/api/v1/catalog", params={"limit": 10}).json()
    second = items(rest, limit=1000, after=first["next"])
    assert [*first["items"], *second] == whole
    refused = rest.call("GET", "/api/v1/catalog", params={"task": "fill-masks"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown-task")


def test_the_hub_is_searched_in_the_servers_name_by_who_may_import(rest: Rest, hub: tuple[str, list[Any]]) -> None:
    found = items(rest, "/hub", query="bert")
    assert [(item["model_id"], item["here"]) for item in found] == [(DISTIL, "our-distil:2"), ("acme/of-the-hub", None)]
    asked = hub[1][-1]
    assert asked.path.startswith("/api/models?search=bert&")
    assert {name.lower(): value for name, value in asked.headers.items()}["authorization"] == f"Bearer {TOKEN}"
    refused = rest.call("GET", "/api/v1/catalog/hub", user="vera")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_a_hub_that_is_not_there_leaves_the_shipped_list(rest: Rest, caplog: pytest.LogCaptureFixture) -> None:
    settings = rest.workspace.settings
    try:
        for change, code in (({"hub_url": "http://127.0.0.1:1"}, "no-connection"), ({"offline": True}, "offline")):
            rest.workspace.settings = replace(settings, **change)  # type: ignore[arg-type]
            refused = rest.call("GET", "/api/v1/catalog/hub")
            assert (refused.status_code, refused.json()["code"]) == (503, code)
            assert refused.json()["hint"]
            assert TOKEN not in refused.text + caplog.text
            assert items(rest, task="translation")
    finally:
        rest.workspace.settings = settings


def test_the_python_client_finds_what_can_be_imported(server: Workspace) -> None:
    with bedplate.connect(home=server.home.path) as ws:
        [model] = ws.catalog.search("conversations", task="summarization", max_parameters=500_000_000)
        assert (model.model_id, model.license, model.here) == ("philschmid/bart-large-cnn-samsum", "MIT", None)
        assert len(ws.catalog.search(limit=7)) == 7
        assert [found.here for found in ws.catalog.search(hub=True)] == ["our-distil:2", None]
        with pytest.raises(Refused, match="fill-masks"):
            ws.catalog.search(task="fill-masks")


@pytest.fixture
def run(server: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("BEDPLATE_URL", raising=False)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["catalog", "--home", str(server.home.path), *arguments])

    return invoke


def test_the_command_shows_a_table_or_json_and_how_to_go_on(run: Any) -> None:
    shown = run("--task", "fill-mask", "--max-parameters", "70M", "--language", "en")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["model_id", "task", "license", "parameters", "here", "about"]
    assert any(line.startswith(DISTIL) and "our-distil:2" in line for line in lines)
    assert "Import one with: bedplate import" in shown.stderr
    [found] = json.loads(run("--query", "conversations", "--format", "json").stdout)
    assert found["model_id"] == "philschmid/bart-large-cnn-samsum"
    assert "--hub" in run("--query", "no such words").stderr


def test_the_command_searches_the_hub_where_asked(run: Any) -> None:
    shown = run("--hub").stdout.splitlines()
    assert shown[0].split()[4] == "downloads"
    assert [line.split()[0] for line in shown[1:]] == [DISTIL, "acme/of-the-hub"]


@pytest.mark.parametrize("text", ["many", "1G", "-5", "1e9", ""])
def test_a_size_that_is_none_is_wrong_use(run: Any, text: str) -> None:
    done = run("--max-parameters", text)
    assert "no number of parameters" in str(done.exception)


def test_a_failure_of_the_hub_reaches_the_client_as_such(server: Workspace) -> None:
    settings = server.settings
    try:
        server.settings = replace(settings, hub_url="http://127.0.0.1:1")
        with bedplate.connect(home=server.home.path) as ws, pytest.raises(Unavailable, match="No connection"):
            ws.catalog.search(hub=True)
        with scripted_server(Answer(403)) as (url, _):
            server.settings = replace(settings, hub_url=url)
            with bedplate.connect(home=server.home.path) as ws, pytest.raises(Forbidden, match="refuses the token"):
                ws.catalog.search(hub=True)
    finally:
        server.settings = settings
