"""The registry as a Hub, read by the released client and by plain HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate_registry.hubserver import RegistrySource
from bedplate_registry.models import ModelDraft
from bedplate_registry.registry import Registry

Serve = Callable[..., Any]
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "README.md": b"# Card\n",
    "1_Pooling/config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 5000,
}


@pytest.fixture
def published(registry: Registry, make_draft: Callable[..., ModelDraft]) -> Registry:
    registry.models.publish(make_draft(source="job-1", files={**FILES, "README.md": b"# First\n"}))
    registry.models.publish(make_draft(source="job-2", files=FILES))
    registry.models.set_alias("acme/intents:1", "production", by="ana")
    return registry


@pytest.fixture
def url(serve: Serve, published: Registry) -> str:
    address: str = serve(RegistrySource(published)).url
    return address


def test_the_client_reads_what_a_model_is(url: str, published: Registry) -> None:
    from huggingface_hub import HfApi

    api, version = HfApi(endpoint=url, token=False), published.models.get("acme/intents:2")
    info = api.model_info("acme/intents", files_metadata=True)
    assert (info.id, info.sha, info.pipeline_tag) == ("acme/intents", version.digest[:40], "text-classification")
    assert {sibling.rfilename: sibling.size for sibling in info.siblings} == {
        path: len(data) for path, data in FILES.items()
    }
    assert info.author == "acme" and info.private is False and info.last_modified is not None
    assert sorted(api.list_repo_files("acme/intents")) == sorted(FILES)
    assert api.repo_exists("acme/intents") and not api.repo_exists("acme/nobody")
    assert api.file_exists("acme/intents", "config.json") and not api.file_exists("acme/intents", "x.json")


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"?" * path.stat().st_size), Path.unlink])
def test_a_damaged_or_missing_file_is_never_served_and_the_others_are(
    url: str, published: Registry, damage: Callable[[Path], object]
) -> None:
    entries = {entry.path: entry for entry in published.models.get("acme/intents:2").files}
    path = published.blobs.path(entries["model.safetensors"].sha256)
    path.chmod(0o644)
    damage(path)
    for _ in range(2):  # it is found once, and is gone then
        answer = httpx.get(f"{url}/acme/intents/resolve/main/model.safetensors")
        assert answer.status_code == 503 and answer.headers["X-Error-Code"] == "DamagedFile"
        assert "model.safetensors is damaged" in answer.json()["error"]
    assert httpx.get(f"{url}/acme/intents/resolve/main/config.json").content == FILES["config.json"]
    published.blobs.put_bytes(FILES["model.safetensors"])
    assert httpx.get(f"{url}/acme/intents/resolve/main/model.safetensors").content == FILES["model.safetensors"]


def test_versions_and_aliases_are_revisions(url: str, published: Registry) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    api = HfApi(endpoint=url, token=False)
    first, second = (published.models.get(f"acme/intents:{n}").digest[:40] for n in (1, 2))
    for revision, commit in [("v1", first), ("production", first), (first, first), ("main", second), ("v2", second)]:
        assert api.model_info("acme/intents", revision=revision).sha == commit
    refs = {ref.name: ref.target_commit for ref in api.list_repo_refs("acme/intents").branches}
    assert refs == {"main": second, "production": first, "v1": first, "v2": second}
    for wrong in ("v3", "staging", "f" * 40, "V1"):
        with pytest.raises(RevisionNotFoundError):
            api.model_info("acme/intents", revision=wrong)


def test_main_is_the_newest_version_that_is_not_archived(url: str, published: Registry) -> None:
    from huggingface_hub import HfApi

    published.models.archive("acme/intents:2", by="ana")
    api = HfApi(endpoint=url, token=False)
    refs = {ref.name: ref.target_commit for ref in api.list_repo_refs("acme/intents").branches}
    assert refs["main"] == refs["v1"] == api.model_info("acme/intents", revision="main").sha


def test_snapshot_download_brings_every_byte_and_a_second_one_is_cached(url: str, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download("acme/intents", endpoint=url, cache_dir=tmp_path, token=False))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    again = snapshot_download("acme/intents", endpoint=url, cache_dir=tmp_path, token=False)
    assert Path(again) == folder
    old = Path(snapshot_download("acme/intents", revision="v1", endpoint=url, cache_dir=tmp_path, token=False))
    assert (old / "README.md").read_bytes() == b"# First\n"


def test_hf_hub_download_takes_up_a_cut_connection_with_a_range(
    serve: Serve, registry: Registry, make_draft: Callable[..., ModelDraft], tmp_path: Path
) -> None:
    from huggingface_hub import hf_hub_download

    data = FILES["model.safetensors"] * 10  # the client resumes at whole pieces of 10 MiB
    registry.models.publish(make_draft(files={"model.safetensors": data}))
    loopback = serve(RegistrySource(registry))
    loopback.faults.cut_after_bytes = 11 << 20
    path = hf_hub_download("acme/intents", "model.safetensors", endpoint=loopback.url, cache_dir=tmp_path, token=False)
    assert Path(path).read_bytes() == data
    assert [headers.get("range") for _, headers in loopback.faults.byte_requests] == [None, f"bytes={10 << 20}-"]


def test_a_missing_file_and_a_missing_model_have_the_clients_own_errors(url: str, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    with pytest.raises(EntryNotFoundError):
        hf_hub_download("acme/intents", "adapter_config.json", endpoint=url, cache_dir=tmp_path, token=False)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("acme/nobody", "config.json", endpoint=url, cache_dir=tmp_path, token=False)


def test_the_client_finds_the_digests_right(url: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi, snapshot_download

    snapshot_download("acme/intents", endpoint=url, cache_dir=tmp_path, token=False)
    checked = HfApi(endpoint=url, token=False).verify_repo_checksums("acme/intents", cache_dir=tmp_path)
    assert checked.checked_count == len(FILES) and not checked.mismatches


def test_a_one_part_name_is_served_too(serve: Serve, registry: Registry, make_draft: Callable[..., ModelDraft]) -> None:
    from huggingface_hub import HfApi

    registry.models.publish(make_draft(name="gpt2", files=FILES))
    api = HfApi(endpoint=serve(RegistrySource(registry)).url, token=False)
    assert api.model_info("gpt2").id == "gpt2" and sorted(api.list_repo_files("gpt2")) == sorted(FILES)
    assert api.list_repo_refs("gpt2").branches[0].name == "main"


def test_a_folder_of_the_tree_is_listed_alone(url: str) -> None:
    top = httpx.get(f"{url}/api/models/acme/intents/tree/main").json()
    assert {entry["path"]: entry["type"] for entry in top} == {
        "1_Pooling": "directory",
        "README.md": "file",
        "config.json": "file",
        "model.safetensors": "file",
    }
    assert [entry["path"] for entry in httpx.get(f"{url}/api/models/acme/intents/tree/main/1_Pooling").json()] == [
        "1_Pooling/config.json"
    ]
    missing = httpx.get(f"{url}/api/models/acme/intents/tree/main/nothing")
    assert missing.status_code == 404 and missing.headers["x-error-code"] == "EntryNotFound"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=1000000-", 206, slice(1_000_000, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=99999999-", 416, slice(0, 0)),
    ],
)
def test_ranges_and_head(url: str, published: Registry, asked: str | None, status: int, part: slice) -> None:
    data, headers = FILES["model.safetensors"], {"Range": asked} if asked else {}
    address = f"{url}/acme/intents/resolve/main/model.safetensors"
    got = httpx.get(address, headers=headers)
    assert got.status_code == status
    if status == 416:
        return
    assert got.content == data[part] and got.headers["accept-ranges"] == "bytes"
    head = httpx.head(address, headers=headers)
    assert head.content == b"" and head.headers["content-length"] == str(len(got.content))
    digest = hashlib.sha256(data).hexdigest()
    commit = published.models.get("acme/intents").digest[:40]
    for answer in (got, head):
        assert answer.headers["etag"] == answer.headers["x-linked-etag"] == f'"{digest}"'
        assert answer.headers["x-repo-commit"] == commit and answer.headers["x-linked-size"] == str(len(data))


@pytest.mark.parametrize(
    "path",
    [
        "/acme/intents/resolve/main/../../../../../manifest.json",
        "/acme/intents/resolve/main/%2e%2e/manifest.json",
        "/acme/intents/resolve/main/..%2f..%2fmanifest.json",
        "/acme/intents/resolve/main//etc/passwd",
        "/acme/../acme/resolve/main/config.json",
        "/../acme/resolve/main/config.json",
        "/api/models/..%2f..",
        "/api/models/acme%5cintents",
        "/api/models/",
        "/",
        "/acme/intents",
    ],
)
def test_nothing_outside_a_version_is_served(url: str, path: str) -> None:
    with httpx.Client() as client:
        request = client.build_request("GET", url)
        request.url = httpx.URL(url).copy_with(raw_path=path.encode())
        answer = client.send(request)
    assert answer.status_code == 404 and "x-error-code" in answer.headers


def test_only_reading_is_offered(url: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, f"{url}/api/models/acme/intents").status_code == 405
        assert httpx.request(method, f"{url}/acme/intents/resolve/main/config.json").status_code == 405


def test_a_folder_is_served_under_its_fixed_commit(serve: Serve, model_folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import HfApi, snapshot_download

    loopback = serve(model_folder, model_id="acme/x", pipeline_tag="text-classification")
    api = HfApi(endpoint=loopback.url, token=False)
    assert api.model_info("acme/x").pipeline_tag == "text-classification"
    snapshot_download("acme/x", endpoint=loopback.url, cache_dir=tmp_path / "cache", token=False)
    checked = api.verify_repo_checksums("acme/x", cache_dir=tmp_path / "cache")
    assert checked.checked_count == 5 and not checked.mismatches
