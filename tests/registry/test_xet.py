"""A repository whose large files lie in Xet storage: the Hub itself has none of their bytes, and leads to a bridge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import fetch
from bedplate_registry.blobs import Blobs
from bedplate_registry.errors import Unavailable
from bedplate_registry.fetch import fetch_file
from bedplate_registry.hub import Hub, HubFile, HubModel

MIB = 1 << 20
WEIGHTS = "model.safetensors"
XET = "ab" * 32


class XetHub:
    """The Hub's routes around another app: weights are redirected to a bridge."""

    def __init__(self, app: Any, bridge: str) -> None:
        self.app, self.bridge = app, bridge

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        if "/resolve/" in path and path.endswith(".safetensors"):
            return await self._redirect(path, send)
        return await self.app(scope, receive, send)

    async def _redirect(self, path: str, send: Any) -> None:
        token = path.partition("/resolve/")[0] + "/xet-read-token/main"
        headers = {
            "location": f"{self.bridge}{path}?X-Amz-Signature=secret",
            "x-xet-hash": XET,
            "link": f'<http://hub.invalid/api/models{token}>; rel="xet-auth"',
            "content-length": "0",
        }
        raw = [(key.encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": 302, "headers": raw})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(bytes(range(256)) * (4 * MIB // 256))
    (folder / "vocab.txt").write_text("small\n")
    return folder


@pytest.fixture
def xet(serve: Callable[..., Any], folder: Path) -> tuple[Any, Any]:
    """The Hub, and the bridge that has the bytes."""
    hub, bridge = serve(folder, model_id="acme/big"), serve(folder, model_id="acme/big")
    hub.faults.app = XetHub(hub.faults.app, bridge.url)
    return hub, bridge


def weights_of(model: HubModel) -> HubFile:
    return next(file for file in model.files if file.path == WEIGHTS)


def test_a_file_in_xet_storage_comes_by_the_bridge_and_goes_on_where_it_was_cut(
    xet: tuple[Any, Any], folder: Path, blobs: Blobs
) -> None:
    front, bridge = xet
    hub = Hub(front.url, "hf_secret", backoff_seconds=0.01)
    model = hub.resolve("acme/big")
    bridge.faults.cut_after_bytes = 2 * MIB
    blob = fetch_file(hub, model, weights_of(model), blobs)
    assert blob.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (_, first), (_, second) = bridge.faults.byte_requests
    assert "range" not in first and int(second["range"].removeprefix("bytes=").removesuffix("-")) > MIB
    assert "authorization" not in {**first, **second}, "the bridge gets no token of the Hub"
    assert not any("xet-read-token" in path for _, path, _ in front.faults.requests), "nothing of Xet is needed"


class ClientHub:
    """A Hub that gives weights to its own client alone."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        agent = dict(scope.get("headers") or ()).get(b"user-agent", b"")
        if scope["path"].endswith(WEIGHTS) and b"hf_hub" not in agent:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"only by Xet", "more_body": False})
            return
        await self.app(scope, receive, send)


def test_a_file_that_the_hub_gives_to_its_client_alone_comes_through_the_client(
    serve: Callable[..., Any], folder: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PLAIN_BYTES", MIB)
    front = serve(folder, model_id="acme/big")
    front.faults.app = ClientHub(front.faults.app)
    model = front.hub.resolve("acme/big")
    counted: list[int] = []
    blob = fetch_file(front.hub, model, weights_of(model), blobs, counted.append)
    assert blob.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert sum(counted) == blob.size_bytes
    assert not [path for path in (blobs.root / "incoming").rglob("*") if path.is_dir()]


def test_a_file_that_not_even_the_client_gets_is_named_with_another_way(xet: tuple[Any, Any], blobs: Blobs) -> None:
    front, bridge = xet
    model = front.hub.resolve("acme/big")
    huge = replace(weights_of(model), size_bytes=60 * 10**9)
    bridge.faults.statuses = [400]
    with pytest.raises(Unavailable, match=r"model\.safetensors.*60 GB.*neither by HTTP nor by Xet") as caught:
        fetch_file(front.hub, model, huge, blobs)
    assert "hf download acme/big" in caught.value.hint and "bedplate import --from" in caught.value.hint
    assert "Signature" not in caught.value.message + caught.value.hint
