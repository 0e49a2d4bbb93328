"""The Hub: what is resolved, and what each failure is called."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import BedplateError, Forbidden, NotFound, Refused, Unavailable
from bedplate_registry.hub import Hub

Serve = Callable[..., Any]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_canaryCANARYcanary"


def test_a_model_id_is_resolved_to_a_commit_with_its_files(serve: Serve, model_folder: Path) -> None:
    hub = serve(model_folder, pipeline_tag="text-classification").hub
    model = hub.resolve("acme/intents")
    assert (model.model_id, model.commit, model.pipeline_tag) == ("acme/intents", COMMIT, "text-classification")
    assert (model.license, model.languages, model.gated) == ("apache-2.0", ("en", "no"), False)
    files = {file.path: file for file in model.files}
    assert set(files) == {path.name for path in model_folder.iterdir()}
    assert files["model.safetensors"].sha256 and not files["vocab.txt"].sha256
    assert files["vocab.txt"].size_bytes == (model_folder / "vocab.txt").stat().st_size
    assert hub.resolve("acme/intents", COMMIT) == hub.resolve("acme/intents", "main") == model


def test_a_model_is_known_by_the_id_the_hub_answers_with(serve: Serve, model_folder: Path) -> None:
    loopback = serve(model_folder, model_id="acme/intents", id="acme-ai/intents")
    loopback.faults.app = _renamed(loopback.faults.app)
    assert loopback.hub.resolve("acme/intents").model_id == "acme-ai/intents"


def _renamed(app: Any) -> Any:
    async def renamed(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "path": scope["path"].replace("acme-ai/", "acme/")}, receive, send)

    return renamed


@pytest.mark.parametrize(
    ("model_id", "revision", "kind", "what"),
    [
        ("acme/nobody", None, NotFound, "no model 'acme/nobody'"),
        ("acme/intents", "v9", NotFound, "no revision 'v9'"),
        ("https://huggingface.co/acme/intents", None, Refused, "URL"),
        ("./intents", None, Refused, "path"),
        ("acme/intents", "../../x", Refused, "not a revision"),
        ("acme/intents", "a b", Refused, "not a revision"),
    ],
)
def test_what_cannot_be_resolved_says_why(
    serve: Serve, model_folder: Path, model_id: str, revision: str | None, kind: type[BedplateError], what: str
) -> None:
    loopback = serve(model_folder)
    with pytest.raises(kind, match=what) as caught:
        loopback.hub.resolve(model_id, revision)
    assert caught.value.hint
    if kind is Refused:
        assert loopback.faults.requests == []


def test_a_hub_that_wants_a_token_gets_it_and_nothing_else_does(
    serve: Serve, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loopback = serve(model_folder)
    loopback.faults.token = TOKEN
    assert Hub(loopback.url, TOKEN).resolve("acme/intents").commit == COMMIT
    with caplog.at_level(logging.DEBUG), pytest.raises(Forbidden, match="refuses the token") as caught:
        Hub(loopback.url, TOKEN + "x").resolve("acme/intents")
    shown = f"{caught.value.to_json()} {Hub(loopback.url, TOKEN)!r} {caplog.text}"
    assert TOKEN not in shown and caught.value.__cause__ is None


def test_without_a_token_none_is_taken_from_the_users_cache(
    serve: Serve, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    loopback = serve(model_folder)
    loopback.hub.resolve("acme/intents")
    assert all("authorization" not in headers for _, _, headers in loopback.faults.requests)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "code"),
    [
        (403, {"x-error-code": "GatedRepo"}, Forbidden, "gated"),
        (404, {"x-error-code": "RepoNotFound"}, NotFound, "not-found"),
        (401, {}, NotFound, "not-found"),
        (500, {}, Unavailable, "unavailable"),
        (200, {}, Unavailable, "hub-inconsistent"),
    ],
)
def test_each_answer_of_the_hub_has_its_error(
    serve: Serve, model_folder: Path, status: int, headers: dict[str, str], kind: type[BedplateError], code: str
) -> None:
    loopback = serve(model_folder)
    loopback.faults.app = _always(status, headers)
    with pytest.raises(kind) as caught:
        loopback.hub.resolve("acme/intents")
    assert caught.value.code == code and caught.value.hint


def _always(status: int, headers: dict[str, str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raw = [(key.encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"<html>not a hub</html>", "more_body": False})

    return app


def test_no_connection_is_said_with_the_address_and_a_way_without() -> None:
    with pytest.raises(Unavailable, match=r"No connection to http://127\.0\.0\.1:9") as caught:
        Hub("http://127.0.0.1:9").resolve("acme/intents")
    assert caught.value.code == "no-connection" and "--from DIR" in caught.value.hint


def test_offline_is_refused_without_a_connection(serve: Serve, model_folder: Path) -> None:
    loopback = serve(model_folder)
    with pytest.raises(Unavailable, match="offline") as caught:
        Hub(loopback.url, offline=True).resolve("acme/intents")
    assert caught.value.code == "offline" and loopback.faults.requests == []


@pytest.mark.parametrize("url", ["huggingface.co", "ftp://x", "file:///x", "https://", "https://user:pw@host/"])
def test_an_address_that_is_no_hub_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(Refused) as caught:
        Hub(url)
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    "entry",
    [
        {"rfilename": "../../evil"},
        {"size": -1},
        {"blobId": "xyz"},
        {"lfs": {"sha256": "../x", "size": 1, "pointerSize": 1}},
    ],
)
def test_a_listing_that_could_lead_elsewhere_is_refused(
    serve: Serve, model_folder: Path, entry: dict[str, Any]
) -> None:
    loopback = serve(model_folder)

    async def hostile(scope: Any, receive: Any, send: Any) -> None:
        listed = {"rfilename": "x", "size": 1, "blobId": "0" * 40} | entry
        body = json.dumps({"id": "acme/intents", "sha": COMMIT, "siblings": [listed]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    loopback.faults.app = hostile
    with pytest.raises(Refused):
        loopback.hub.resolve("acme/intents")


def test_the_client_is_imported_only_when_a_hub_is_asked() -> None:
    program = """
import sys
import bedplate_registry.hub, bedplate_registry.importing, bedplate_registry.hubserver, bedplate_registry.registry
heavy = "huggingface_hub torch transformers datasets evaluate accelerate peft pandas sklearn numpy pyarrow yaml".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
