"""The Hub's own search: what is asked, what is made of the answer, and a Hub that answers wrongly or not at all."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import pytest

from bedplate_registry import hubsearch
from bedplate_registry.catalog import Wanted
from bedplate_registry.errors import BedplateError, Forbidden, Unavailable
from bedplate_registry.hub import Hub
from bedplate_registry.hubsearch import search_hub
from bedplate_registry.hubserver import FolderSource

TOKEN = "hf_not_to_be_shown"
BERT: dict[str, Any] = {
    "id": "google-bert/bert-base-uncased",
    "pipeline_tag": "fill-mask",
    "tags": ["transformers", "license:mit", "en"],
    "cardData": {"license": "Apache-2.0", "language": "en"},
    "config": {"model_type": "bert"},
    "safetensors": {"parameters": {"F32": 110}, "total": 110},
    "gated": False,
    "downloads": 5,
}


class ScriptedHub:
    """Answers each search with what the test says, and keeps what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.items: Any = [BERT]
        self.status = 200
        self.headers: dict[str, str] = {}
        self.piece_seconds = 0.0
        self.asked: list[dict[str, list[str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(parse_qs(scope["query_string"].decode()))
        headers = [(key.encode(), value.encode()) for key, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        data = self.items if isinstance(self.items, bytes) else json.dumps(self.items).encode()
        for at in range(0, len(data), 1 << 16 if not self.piece_seconds else 4):
            await asyncio.sleep(self.piece_seconds)
            piece = data[at : at + (1 << 16 if not self.piece_seconds else 4)]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def scripted(serve: Callable[..., Any]) -> ScriptedHub:
    loopback = serve(FolderSource({}))
    loopback.faults.app = hub = ScriptedHub(loopback.url)
    return hub


def test_a_hit_says_what_the_hub_and_the_shipped_list_know_of_it(scripted: ScriptedHub) -> None:
    [entry], following = search_hub(Hub(scripted.url), Wanted(query="bert"))
    assert following is None
    assert (entry.model_id, entry.task, entry.model_type) == (BERT["id"], "fill-mask", "bert")
    assert (entry.license, entry.languages, entry.parameters) == ("apache-2.0", ("en",), 110)
    assert entry.finetunable_tasks == ("text-classification", "token-classification", "question-answering")
    assert (entry.gated, entry.downloads) == (False, 5)
    assert entry.about.startswith("The first BERT")


def test_filters_are_asked_of_the_hub_and_held_against_what_it_answers(scripted: ScriptedHub) -> None:
    other = {**BERT, "id": "acme/llama", "pipeline_tag": "text-generation", "config": {"model_type": "llama"}}
    unknown = {"id": "acme/unknown", "pipeline_tag": "fill-mask"}
    scripted.items = [other, unknown, BERT]
    wanted = Wanted(
        query="  bert base ",
        task="fill-mask",
        license="Apache-2.0",
        language="EN",
        min_parameters=1,
        max_parameters=200,
    )
    found, _ = search_hub(Hub(scripted.url), wanted, limit=7)
    assert [entry.model_id for entry in found] == [BERT["id"]]
    [asked] = scripted.asked
    assert asked["search"] == ["bert base"]
    assert asked["pipeline_tag"] == ["fill-mask"]
    assert asked["filter"] == ["en", "license:apache-2.0"]
    assert asked["num_parameters"] == ["min:1,max:200"]
    assert (asked["sort"], asked["limit"]) == (["downloads"], ["7"])
    able, _ = search_hub(Hub(scripted.url), Wanted(finetunable_for="question-answering"))
    assert [entry.model_id for entry in able] == [BERT["id"]]


def test_pages_go_on_by_the_hubs_cursor_and_at_the_same_hub(scripted: ScriptedHub) -> None:
    scripted.headers = {"link": '<http://elsewhere.invalid/api/models?cursor=ab%3D&limit=1>; rel="next"'}
    _, following = search_hub(Hub(scripted.url), Wanted(), limit=1)
    assert following == "ab="
    search_hub(Hub(scripted.url), Wanted(), limit=1, after=following)
    assert scripted.asked[1]["cursor"] == ["ab="]


def test_what_is_no_model_is_left_out_and_what_is_no_fact_is_unknown(scripted: ScriptedHub) -> None:
    odd: dict[str, Any] = {
        "id": "acme/odd",
        "pipeline_tag": ["fill-mask"],
        "tags": "license:mit",
        "cardData": {"license": "x\x1b[31m", "language": ["en", 7, "l" * 200]},
        "config": "bert",
        "safetensors": {"total": -1},
        "gated": "auto",
        "downloads": True,
    }
    scripted.items = [odd, {"id": "../../etc"}, {"id": 7}, {}, None, "text", {"id": "a/b/c"}]
    [entry], _ = search_hub(Hub(scripted.url), Wanted())
    assert entry.model_id == "acme/odd"
    assert (entry.task, entry.model_type, entry.parameters) == (None, None, None)
    assert entry.license == "x[31m"  # a terminal prints it, and does nothing else
    assert (entry.languages, entry.gated, entry.downloads) == (("en",), True, None)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Forbidden, "refuses the token"),
        (403, Forbidden, "refuses the token"),
        (404, Unavailable, "answered 404"),
        (302, Unavailable, "answered 302"),
        (429, Unavailable, "answered 429"),
        (503, Unavailable, "answered 503"),
    ],
)
def test_what_the_hub_refuses_is_told_at_once_and_without_the_token(
    scripted: ScriptedHub, status: int, kind: type[BedplateError], words: str
) -> None:
    scripted.status, scripted.headers = status, {"retry-after": "3600", "location": "http://127.0.0.1:1/api/models"}
    with pytest.raises(kind, match=words) as failed:
        search_hub(Hub(scripted.url, TOKEN), Wanted())
    assert TOKEN not in f"{failed.value.message}{failed.value.hint}{failed.value.__cause__!r}"
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("items", [b"<html>", b'{"items": []}', b"[" * 100_000, b"\xff\xfe", b""])
def test_an_answer_that_is_no_list_is_said_to_be_no_hubs(scripted: ScriptedHub, items: bytes) -> None:
    scripted.items = items
    with pytest.raises(Unavailable, match="did not answer as a Hub does"):
        search_hub(Hub(scripted.url), Wanted())


def test_an_answer_without_end_is_cut_off(scripted: ScriptedHub) -> None:
    scripted.items = b"[" + b" " * (hubsearch.MOST_BYTES + 1)
    with pytest.raises(Unavailable, match="more than 8 MiB"):
        search_hub(Hub(scripted.url), Wanted())


@pytest.mark.parametrize("piece_seconds", [0.1, 5.0])
def test_a_hub_that_stalls_or_drips_is_given_up(
    scripted: ScriptedHub, monkeypatch: pytest.MonkeyPatch, piece_seconds: float
) -> None:
    monkeypatch.setattr(hubsearch, "SECONDS", 0.3)
    scripted.piece_seconds = piece_seconds
    with pytest.raises(Unavailable, match="did not answer within"):
        search_hub(Hub(scripted.url), Wanted())


def test_a_hub_whose_headers_never_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubsearch, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)  # on a busy machine it may be given up before it has asked
        dripping = threading.Thread(target=_drip_headers, args=(server,))
        dripping.start()
        with pytest.raises(Unavailable, match="did not answer within"):
            search_hub(Hub(f"http://127.0.0.1:{server.getsockname()[1]}"), Wanted())
        dripping.join()


def _drip_headers(server: socket.socket) -> None:
    """Three seconds of a header, unless the other side hangs up before."""
    with suppress(OSError), server.accept()[0] as connection:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(60):
            connection.sendall(b"a")
            time.sleep(0.05)


def test_no_more_than_a_few_searches_run_at_once(scripted: ScriptedHub) -> None:
    for _ in range(hubsearch.AT_ONCE):
        assert hubsearch._turns.acquire(timeout=5)
    try:
        with pytest.raises(Unavailable, match="Too many questions to Hubs"):
            search_hub(Hub(scripted.url), Wanted())
    finally:
        hubsearch._turns.release(hubsearch.AT_ONCE)
    assert scripted.asked == []


def test_without_a_network_the_shipped_list_is_offered() -> None:
    with pytest.raises(Unavailable, match="No connection") as failed:
        search_hub(Hub("http://127.0.0.1:1"), Wanted())
    assert "bedplate catalog" in failed.value.hint
    with pytest.raises(Unavailable, match="set to work offline"):
        search_hub(Hub("https://huggingface.co", offline=True), Wanted())
