"""The released clients in processes of their own, with HF_ENDPOINT at a real server's /hub and HF_TOKEN a key of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import bedplate
from bedplate.workspace import Workspace
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from harness import bedplate_home, free_port, run_cli
from light_server import light_server

CARD = "---\nlicense: apache-2.0\nlanguage: en\n---\n# {}\n"
TABLES = {
    "csv": b"text,intent\nmy card is lost,card\n",
    "tsv": b"text\tintent\nmy card is lost\tcard\n",
    "jsonl": b'{"text": "my card is lost", "intent": "card"}\n',
    "json": b'[{"text": "my card is lost", "intent": "card"}]',
}
ROW = {"text": "my card is lost", "intent": "card"}
READ = """
import json, sys
from datasets import load_dataset
from huggingface_hub import snapshot_download
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

def rows(name, **options):
    return [dict(row) for row in load_dataset(name, split="train", **options)]

found = {name: rows(f"acme/{name}") for name in ("csv", "tsv", "jsonl", "json", "parquet")}
found["old"] = rows("acme/csv", revision="v1")
found["streamed"] = rows("acme/csv", streaming=True)
found["alone"] = rows("_/tickets")
images = load_dataset("acme/pets", split="train")
found["pets"] = [[row["image"].size[0], images.features["label"].int2str(row["label"])] for row in images]
tokenizer = AutoTokenizer.from_pretrained("acme/tiny")
model = AutoModelForSequenceClassification.from_pretrained("acme/tiny", revision="v1")
found["logits"] = len(model(**tokenizer("my card is lost", return_tensors="pt")).logits[0])
found["label"] = pipeline(model="acme/tiny")("my card is lost")[0]["label"]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Served:
    """A server that has `acme/tiny` in two versions and datasets, and a key that reads."""

    workspace: Workspace
    url: str
    key: str

    def environment(self, cache: Path, key: str | None = None) -> dict[str, str]:
        key = self.key if key is None else key
        clean = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
        return {**clean, "HF_ENDPOINT": self.url, "HF_HOME": str(cache), **({"HF_TOKEN": key} if key else {})}

    def hf(self, *arguments: str, cache: Path, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """The program `hf`."""
        code = "from huggingface_hub.cli.hf import main; main()"
        command = [sys.executable, "-c", code, *arguments]
        environment = self.environment(cache, key)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = free_port()
    with light_server(port=port) as workspace:
        for card in ("First", "Second"):
            publish(workspace, models / "classifier", card)
        add_datasets(workspace, tmp_path_factory.mktemp("tables"))
        workspace.users.create("ana", "user")
        key = workspace.keys.create("reader", ["infer"], owner="ana")[1]
        yield Served(workspace, f"http://127.0.0.1:{port}/hub", key)


def publish(workspace: Workspace, folder: Path, card: str) -> None:
    blobs, entries = workspace.registry.blobs, []
    for path in sorted(path for path in folder.iterdir() if path.name != "README.md"):
        blob = blobs.put_file(path)
        entries.append(FileEntry(path.name, blob.size_bytes, blob.sha256))
    blob = blobs.put_bytes(CARD.format(card).encode())
    entries.append(FileEntry("README.md", blob.size_bytes, blob.sha256))
    class_name, labels = "BertForSequenceClassification", ("card", "login", "refund")
    facts = ModelFacts("text-classification", class_name, "bert", 1000, "float32", 4000, "apache-2.0", labels)
    draft = ModelDraft(Name.parse("acme/tiny"), tuple(entries), facts, Source("folder", card))
    workspace.registry.models.publish(draft)


def add_datasets(workspace: Workspace, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    datasets, blobs = workspace.registry.datasets, workspace.registry.blobs

    def add(name: str, filename: str, data: bytes) -> None:
        (folder / filename).write_bytes(data)
        datasets.add(Name.parse(name), folder / filename, filename)

    pq.write_table(pa.Table.from_pylist([ROW]), folder / "rows.parquet")
    add("acme/csv", "rows.csv", TABLES["csv"] + b"i cannot log in,login\n")
    for format, data in {**TABLES, "parquet": (folder / "rows.parquet").read_bytes()}.items():
        add(f"acme/{format}", f"rows.{format}", data)
    add("tickets", "tickets.csv", TABLES["csv"])
    entries = []
    for size, path in ((4, "cat/1.png"), (8, "dog/1.png")):
        Image.new("RGB", (size, size)).save(folder / "image.png")
        blob = blobs.put_file(folder / "image.png")
        entries.append(FileEntry(path, blob.size_bytes, blob.sha256))
    datasets.add_images(Name.parse("acme/pets"), entries)


@pytest.fixture(scope="module")
def found(served: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process reads by transformers and datasets."""
    environment = served.environment(tmp_path_factory.mktemp("cache"))
    command = [sys.executable, "-c", READ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


def test_load_dataset_reads_each_format_and_each_version(found: dict[str, Any]) -> None:
    for format in ("csv", "tsv", "jsonl", "json", "parquet", "streamed", "alone"):
        assert found[format] == [ROW], format
    assert found["old"] == [ROW, {"text": "i cannot log in", "intent": "login"}]
    assert found["pets"] == [[4, "cat"], [8, "dog"]]


def test_from_pretrained_reads_a_model_and_its_tokenizer_and_a_pipeline_knows_its_task(found: dict[str, Any]) -> None:
    assert found["logits"] == 3 and found["label"] in ("card", "login", "refund")


def test_hf_download_brings_a_revision_or_some_files(served: Served, models: Path, tmp_path: Path) -> None:
    done = served.hf("download", "acme/tiny", "--revision", "v1", "--local-dir", str(tmp_path / "v1"), cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "v1" / "README.md").read_text() == CARD.format("First")
    weights = models / "classifier" / "model.safetensors"
    assert (tmp_path / "v1" / "model.safetensors").read_bytes() == weights.read_bytes()
    some = ("--include", "*.json", "--local-dir", str(tmp_path / "some"))
    assert served.hf("download", "acme/tiny", *some, cache=tmp_path).returncode == 0
    assert {path.suffix for path in (tmp_path / "some").iterdir() if path.is_file()} == {".json"}
    table = ("--repo-type", "dataset", "--local-dir", str(tmp_path / "table"))
    assert served.hf("download", "acme/csv", *table, cache=tmp_path).returncode == 0
    assert (tmp_path / "table" / "rows.csv").read_bytes() == TABLES["csv"]


def test_a_key_says_who_it_is_and_without_a_right_one_nothing_is_read(served: Served, tmp_path: Path) -> None:
    assert "ana" in served.hf("auth", "whoami", cache=tmp_path).stdout
    wrong = served.hf("download", "acme/tiny", "config.json", cache=tmp_path, key="bp_wrong")
    assert wrong.returncode != 0 and "Invalid credentials" in wrong.stderr + wrong.stdout
    none = served.hf("download", "acme/tiny", "config.json", cache=tmp_path, key="")
    assert none.returncode != 0 and "authenticated" in none.stderr + none.stdout


@pytest.mark.parametrize("path", ["/api/models/acme/tiny", "/acme/tiny/resolve/main/config.json"])
def test_what_refuses_a_caller_is_said_in_the_headers_that_clients_read(served: Served, path: str) -> None:
    workspace = served.workspace
    limited = workspace.keys.create(f"limited{len(path)}", ["infer"], owner="ana", endpoints=["support"])[1]
    for key, status, said in (
        (None, 401, {"x-error-code": "RepoNotFound"}),
        ("bp_wrong", 401, {"x-error-message": "Invalid credentials in Authorization header"}),
        (limited, 403, {"x-error-code": "GatedRepo"}),
    ):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        for method in ("GET", "HEAD"):
            answer = httpx.request(method, served.url + path, headers=headers)
            assert answer.status_code == status and said.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(("asked", "status", "start"), [(None, 200, 0), ("bytes=100-", 206, 100)])
def test_a_file_comes_whole_or_from_a_byte_on_and_no_path_of_the_server_with_it(
    served: Served, models: Path, asked: str | None, status: int, start: int
) -> None:
    headers = {"Authorization": f"Bearer {served.key}", **({"Range": asked} if asked else {})}
    weights = (models / "classifier" / "model.safetensors").read_bytes()
    address = f"{served.url}/acme/tiny/resolve/main/model.safetensors"
    got, head = (httpx.request(method, address, headers=headers) for method in ("GET", "HEAD"))
    assert (got.status_code, got.content) == (status, weights[start:])
    assert got.headers["content-length"] == head.headers["content-length"] == str(len(weights) - start)
    for answer in (got, head):
        assert answer.headers["etag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
        assert str(served.workspace.home.path) not in str(answer.headers)


def test_questions_about_paths_are_no_changes_and_leave_no_entry(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.key}"}
    asked = httpx.post(f"{served.url}/api/models/acme/tiny/paths-info/main", data={"paths": ["a"]}, headers=headers)
    assert asked.status_code == 200 and asked.json() == []
    assert not [entry for entry in served.workspace.audit.entries(limit=100) if "/hub" in entry.action]


def test_another_bedplate_imports_a_version_with_its_facts_card_and_digests(served: Served) -> None:
    with bedplate_home() as home:
        asked = ("import", "acme/tiny", "--hub", served.url, "--revision", "v2")
        refused = run_cli(*asked, home=home, check=False, BEDPLATE_HUB_URL=served.url, HF_TOKEN="bp_wrong")
        assert refused.returncode != 0 and "refuses the token" in refused.stderr
        run_cli("stop", home=home)  # the server reads its token when it starts
        run_cli(*asked, home=home, BEDPLATE_HUB_URL=served.url, HF_TOKEN=served.key)
        with bedplate.connect(home=home) as ws:
            shown = ws.models.get("acme/tiny:1").data
    there = served.workspace.registry.models.get("acme/tiny:2")
    assert {file["path"]: file["sha256"] for file in shown["files"]} == {file.path: file.sha256 for file in there.files}
    assert (shown["license"], shown["languages"], shown["task"]) == ("apache-2.0", ["en"], "text-classification")
    assert shown["labels"] == ["card", "login", "refund"]
    assert shown["source"] == {"kind": "hub", "id": "acme/tiny", "commit": there.digest[:40], "url": served.url}
