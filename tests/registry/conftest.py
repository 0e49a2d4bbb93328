"""What the registry's tests stand on: hand-made models (no torch), a store, and a loopback Hub with faults."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bedplate_registry.blobs import Blobs
from bedplate_registry.hub import Hub
from bedplate_registry.hubserver import FolderSource, HubSource, create_hub_app
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from bedplate_registry.tasks import finetunable_tasks

# Read when huggingface_hub is first imported: without it the client calls home about the program that uses it.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}
BASE_TENSORS = {
    "embeddings.word_embeddings.weight": ("F32", (32, 8)),
    "embeddings.position_ids": ("I64", (1, 16)),
    "encoder.layer.0.output.dense.weight": ("F32", (8, 8)),
}
HEAD_TENSORS = {"classifier.weight": ("F32", (3, 8)), "classifier.bias": ("F32", (3,))}

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


def safetensors_bytes(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file made by hand: length, header, data."""
    header: dict[str, Any] = {"__metadata__": dict(metadata or {"format": "pt"})}
    position = 0
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    data = json.dumps(header).encode()
    return len(data).to_bytes(8, "little") + data + bytes(index % 251 for index in range(position))


def make_model(folder: Path, *, config: Mapping[str, Any] | None = None, tensors: Tensors | None = None) -> Path:
    """A folder as save_pretrained writes it: a tiny classifier, unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "max_position_embeddings": 16,
        "id2label": {"0": "card", "1": "refund", "2": "login"},
    }
    (folder / "config.json").write_text(json.dumps(given | dict(config or {})))
    data = safetensors_bytes(BASE_TENSORS | HEAD_TENSORS if tensors is None else tensors)
    (folder / "model.safetensors").write_bytes(data)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    (folder / "README.md").write_text("---\nlicense: Apache-2.0\nlanguage: [en, no]\n---\n# A model\n")
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "base", config={"architectures": ["BertModel"]}, tensors=BASE_TENSORS)


@pytest.fixture(name="make_model")
def make_model_fixture() -> Callable[..., Path]:
    return make_model


@pytest.fixture(name="safetensors_bytes")
def safetensors_bytes_fixture() -> Callable[..., bytes]:
    return safetensors_bytes


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home" / "registry")


@pytest.fixture
def blobs(registry: Registry) -> Blobs:
    return registry.blobs


@pytest.fixture
def make_draft(registry: Registry) -> Callable[..., ModelDraft]:
    def make(name: str = "acme/intents", source: str = "job-1", files: Mapping[str, bytes] | None = None) -> ModelDraft:
        files = files or {"config.json": b"{}", "README.md": b"# Card", "1_Pooling/config.json": b"[]"}
        entries = []
        for path, data in files.items():
            blob = registry.blobs.put_bytes(data)
            entries.append(FileEntry(path, blob.size_bytes, blob.sha256))
        able = finetunable_tasks("bert")
        about = ("text-classification", "BertForSequenceClassification", "bert", 10, "float32", 8)
        facts = ModelFacts(*about, finetunable_tasks=able)
        return ModelDraft(Name.parse(name), tuple(entries), facts, Source("job", source), {"base": "acme/base:1"})

    return make


@dataclass
class Recorder:
    """A reporter that keeps what it is told."""

    messages: list[str] = field(default_factory=list)
    steps: list[tuple[str, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # beside the steps
    threads: set[int] = field(default_factory=set)

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        self.steps.append((phase, done, total))
        self.notes.append(message)
        self.threads.add(threading.get_ident())

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@dataclass
class Faults:
    """What a loopback Hub does wrong, and what it saw."""

    app: Any = None
    token: str | None = None
    cut_after_bytes: int = 0  # the first large answer is cut there
    bytes_per_second: int = 0
    ignore_range: bool = False
    redirect_to: str | None = None  # weights are elsewhere
    statuses: list[int] = field(default_factory=list)  # answers to the next requests for bytes
    corrupt: bool = False
    commit: str | None = None  # claims this commit
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        path, headers = scope["path"], {key.decode(): value.decode() for key, value in scope["headers"]}
        self.requests.append((scope["method"], path, headers))
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return await _answer(send, 401, {"x-error-message": "Invalid credentials in Authorization header"})
        is_bytes = "/resolve/" in path and scope["method"] == "GET"
        if is_bytes and self.statuses:
            return await _answer(send, self.statuses.pop(0), {"retry-after": "0"})
        if is_bytes and self.redirect_to and path.endswith(".safetensors"):
            return await _answer(send, 302, {"location": self.redirect_to + path})
        if self.ignore_range:
            scope = {**scope, "headers": [item for item in scope["headers"] if item[0] != b"range"]}
        return await self.app({**scope, "extensions": {}}, receive, self._watched(send, path) if is_bytes else send)

    def _watched(self, send: Any, path: str) -> Any:
        async def watched(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and self.commit:
                headers = [item for item in message["headers"] if item[0] != b"x-repo-commit"]
                message = {**message, "headers": [*headers, (b"x-repo-commit", self.commit.encode())]}
            if message["type"] != "http.response.body":
                return await send(message)
            body = message["body"]
            if self.corrupt and body:
                body = bytes([body[0] ^ 1]) + body[1:]
            if self.cut_after_bytes and self.sent[path] + len(body) > self.cut_after_bytes:
                body = body[: self.cut_after_bytes - self.sent[path]]
                self.cut_after_bytes = 0
                await self._send_slowly(send, path, body, more=True)
                raise ConnectionResetError("cut on purpose")
            return await self._send_slowly(send, path, body, more=message.get("more_body", False))

        return watched

    async def _send_slowly(self, send: Any, path: str, body: bytes, *, more: bool) -> None:
        size = 1 << 16
        for start in range(0, max(len(body), 1), size):
            piece = body[start : start + size]
            if self.bytes_per_second:
                await asyncio.sleep(len(piece) / self.bytes_per_second)
            self.sent[path] += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": more or start + size < len(body)})

    @property
    def byte_requests(self) -> list[tuple[str, dict[str, str]]]:
        return [(path, headers) for method, path, headers in self.requests if "/resolve/" in path and method == "GET"]


async def _answer(send: Any, status: int, headers: Mapping[str, str]) -> None:
    raw = [(key.encode(), value.encode()) for key, value in {**headers, "content-length": "0"}.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass
class Loopback:
    """A Hub on loopback, served by uvicorn from a thread."""

    url: str
    faults: Faults

    @property
    def hub(self) -> Hub:
        return Hub(self.url, backoff_seconds=0.01)


class Slot:
    """A uvicorn server in a thread that answers as the test which holds it says. Servers outlive tests: stopping one
    takes a tenth of a second."""

    def __init__(self) -> None:
        self.faults = Faults()
        config = uvicorn.Config(
            self._app, "127.0.0.1", 0, log_level="critical", lifespan="off", ws="none", interface="asgi3"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    async def _app(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await self.faults(scope, receive, send)


@pytest.fixture(scope="session")
def slots() -> Iterator[list[Slot]]:
    made: list[Slot] = []
    yield made
    for slot in made:
        slot.server.should_exit = slot.server.force_exit = True
    for slot in made:
        slot.thread.join(timeout=10)


@pytest.fixture
def serve(slots: list[Slot]) -> Callable[..., Loopback]:
    """Start a Hub over a source, or over one folder under a MODEL_ID."""
    free = list(slots)

    def start(
        source: HubSource | Path, datasets: HubSource | None = None, *, model_id: str = "acme/intents", **info: Any
    ) -> Loopback:
        if isinstance(source, Path):
            source = FolderSource({model_id: (source, COMMIT, info)})
        if not free:
            slots.append(Slot())
            free.append(slots[-1])
        slot = free.pop()
        slot.faults = Faults(create_hub_app(source, datasets))
        return Loopback(slot.url, slot.faults)

    return start
