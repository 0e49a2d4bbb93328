"""The registry as a Hub, read by the released client and by plain HTTP."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate_registry.catalog import Wanted
from bedplate_registry.hubregistry import RegistryDatasets, RegistryModels
from bedplate_registry.hubsearch import search_hub
from bedplate_registry.models import FileEntry, ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from harness import wait_for

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
    address: str = serve(RegistryModels(published)).url
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
    loopback = serve(RegistryModels(registry))
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
    api = HfApi(endpoint=serve(RegistryModels(registry)).url, token=False)
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
        refused = httpx.request(method, f"{url}/api/models/acme/intents")
        assert refused.status_code == 405 and "only read" in refused.headers["x-error-message"]
        assert httpx.request(method, f"{url}/acme/intents/resolve/main/config.json").status_code == 405


def test_a_folder_is_served_under_its_fixed_commit(serve: Serve, model_folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import HfApi, snapshot_download

    loopback = serve(model_folder, model_id="acme/x", pipeline_tag="text-classification")
    api = HfApi(endpoint=loopback.url, token=False)
    assert api.model_info("acme/x").pipeline_tag == "text-classification"
    snapshot_download("acme/x", endpoint=loopback.url, cache_dir=tmp_path / "cache", token=False)
    checked = api.verify_repo_checksums("acme/x", cache_dir=tmp_path / "cache")
    assert checked.checked_count == 5 and not checked.mismatches


def masked(draft: ModelDraft) -> ModelDraft:
    return replace(draft, facts=replace(draft.facts, task="fill-mask"))


def test_models_are_searched_page_by_page_as_the_client_asks(
    serve: Serve, registry: Registry, make_draft: Callable[..., ModelDraft]
) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    for name in ("acme/bert-a", "acme/bert-b", "other/bert-c", "gpt2"):
        registry.models.publish(make_draft(name=name))
    registry.models.publish(masked(make_draft(name="acme/masked")))
    loopback = serve(RegistryModels(registry))
    api = HfApi(endpoint=loopback.url, token=False)

    def ids(**asked: Any) -> list[str]:
        return [model.id for model in api.list_models(**asked)]

    assert ids() == ["acme/bert-a", "acme/bert-b", "acme/masked", "gpt2", "other/bert-c"]
    assert ids(author="acme", search="bert a", limit=9) == ["acme/bert-a"]
    assert ids(author="acme", search="bert b") == ["acme/bert-b"]
    assert (
        ids(pipeline_tag="fill-mask") == ids(filter="fill-mask") == ids(filter=["bert", "fill-mask"]) == ["acme/masked"]
    )
    assert ids(filter="license:mit") == ids(pipeline_tag="image-segmentation") == ids(gated=True) == []
    assert ids(filter="gpt-neo") == [] and len(ids(filter="transformers")) == 5
    assert len(ids(sort="created_at")) == len(ids(sort="downloads", limit=5)) == 5
    before = len(loopback.faults.requests)
    found = httpx.get(f"{loopback.url}/api/models?limit=2&filter=transformers")
    assert [model["id"] for model in found.json()] == ["acme/bert-a", "acme/bert-b"]
    following = httpx.get(found.links["next"]["url"]).json()
    assert [model["id"] for model in following] == ["acme/masked", "gpt2"]
    assert len(loopback.faults.requests) == before + 2
    for wrong in ("sort=beauty", "limit=0", "limit=x", "num_parameters=many", "cursor=x"):
        answer = httpx.get(f"{loopback.url}/api/models?{wrong}")
        assert answer.status_code == 400 and answer.headers["x-error-message"], wrong
    with pytest.raises(HfHubHTTPError, match="beauty"):
        ids(sort="beauty")


def test_our_own_search_of_a_hub_finds_what_another_registry_has(
    serve: Serve, registry: Registry, make_draft: Callable[..., ModelDraft]
) -> None:
    registry.models.publish(make_draft(name="acme/small"))
    registry.models.publish(masked(make_draft(name="acme/masked")))
    hub = serve(RegistryModels(registry)).hub
    found, following = search_hub(hub, Wanted(task="fill-mask"))
    assert [(entry.model_id, entry.task) for entry in found] == [("acme/masked", "fill-mask")] and following is None
    first, following = search_hub(hub, Wanted(), limit=1)
    second, end = search_hub(hub, Wanted(), limit=1, after=following)
    assert [entry.model_id for entry in (*first, *second)] == ["acme/masked", "acme/small"] and end is None
    parameters = first[0].parameters
    assert parameters is not None and not search_hub(hub, Wanted(min_parameters=parameters + 1))[0]


def test_only_what_is_asked_for_is_told(url: str) -> None:
    from huggingface_hub import HfApi

    info = HfApi(endpoint=url, token=False).model_info("acme/intents", expand=["safetensors", "config", "siblings"])
    assert info.safetensors is not None and info.safetensors.total > 0 and info.config is not None
    assert info.siblings is not None and len(info.siblings) == len(FILES)
    assert (info.id, info.sha, info.tags) == ("acme/intents", None, None)


def test_the_clients_other_questions_are_answered(url: str, published: Registry) -> None:
    from huggingface_hub import HfApi, get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = HfApi(endpoint=url, token=False)
    first, second = (published.models.get(f"acme/intents:{n}").digest[:40] for n in (1, 2))
    assert [commit.commit_id for commit in api.list_repo_commits("acme/intents")] == [second, first]
    assert [commit.title for commit in api.list_repo_commits("acme/intents", revision="v1")] == ["v1"]
    paths = api.get_paths_info("acme/intents", ["1_Pooling", "config.json", "nothing"])
    assert [path.path for path in paths] == ["1_Pooling", "config.json"]
    assert {entry.path for entry in api.list_repo_tree("acme/intents", recursive=True)} == {*FILES, "1_Pooling"}
    assert api.revision_exists("acme/intents", "v1") and not api.revision_exists("acme/intents", "v9")
    api.auth_check("acme/intents")
    with pytest.raises(RepositoryNotFoundError):
        api.auth_check("acme/nobody")
    with pytest.raises(RepositoryNotFoundError):
        api.space_info("acme/intents")
    with pytest.raises(HfHubHTTPError, match="only read"):
        api.create_repo("acme/new")
    told = get_hf_file_metadata(f"{url}/acme/intents/resolve/v1/model.safetensors", token=False)
    assert (told.commit_hash, told.size) == (first, len(FILES["model.safetensors"]))


@pytest.mark.parametrize("path", ["/api/models", "/api/models/acme/intents", "/acme/intents/resolve/main/config.json"])
def test_whoever_has_an_answer_already_gets_none_again(url: str, path: str) -> None:
    got = httpx.get(url + path)
    again = httpx.get(url + path, headers={"If-None-Match": got.headers["etag"]})
    assert (got.status_code, again.status_code, again.content) == (200, 304, b"")
    assert httpx.get(url + path, headers={"If-None-Match": '"other"'}).content == got.content


def test_an_adapter_is_served_as_peft_writes_it(
    serve: Serve, registry: Registry, make_draft: Callable[..., ModelDraft]
) -> None:
    files = {"adapter/adapter_config.json": b"{}", "adapter/adapter_model.safetensors": b"weights", "README.md": b"#"}
    base = registry.models.publish(make_draft())
    registry.models.publish(replace(make_draft(name="acme/lora", files=files), lineage={"adapter_base": base.ref}))
    url = serve(RegistryModels(registry)).url
    info = httpx.get(f"{url}/api/models/acme/lora").json()
    assert sorted(file["rfilename"] for file in info["siblings"]) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert info["library_name"] == "peft"
    assert httpx.get(f"{url}/acme/lora/resolve/main/adapter_model.safetensors").content == b"weights"


def test_a_version_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(url: str, published: Registry) -> None:
    manifest = published.root / "models" / "acme" / "intents" / "2" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    damaged = httpx.get(f"{url}/api/models/acme/intents/revision/v2")
    assert damaged.status_code == 503 and "damaged" in damaged.json()["error"]
    assert httpx.get(f"{url}/api/models/acme/intents/revision/v1").status_code == 200


# --- datasets


CSV = b"text,intent\nmy card is lost,card\n"


@pytest.fixture
def both(serve: Serve, published: Registry, tmp_path: Path) -> str:
    """A Hub with a model and a dataset of one name, a dataset without an organization, and folders of images."""
    for name, filename, data in (
        ("acme/intents", "train.CSV", CSV),
        ("acme/intents", "train.csv", CSV + b"my card,card\n"),
        ("tickets", "tickets.csv", CSV),
    ):
        (tmp_path / "table").write_bytes(data)
        published.datasets.add(Name.parse(name), tmp_path / "table", filename)
    address: str = serve(RegistryModels(published), RegistryDatasets(published)).url
    return address


def test_a_dataset_is_read_by_its_versions_beside_a_model_of_the_same_name(both: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    api = HfApi(endpoint=both, token=False)
    info = api.dataset_info("acme/intents")
    assert info.author == "acme" and [file.rfilename for file in info.siblings or ()] == ["train.csv"]
    refs = {ref.name: ref.target_commit for ref in api.list_repo_refs("acme/intents", repo_type="dataset").branches}
    assert refs.keys() == {"main", "v1", "v2"} and refs["main"] == refs["v2"] == info.sha != refs["v1"]
    for revision in ("v1", refs["v1"]):
        path = hf_hub_download(
            "acme/intents", "train.csv", repo_type="dataset", revision=revision, endpoint=both, cache_dir=tmp_path / "c"
        )
        assert Path(path).read_bytes() == CSV
    assert api.repo_exists("acme/intents") and api.repo_exists("acme/intents", repo_type="dataset")
    assert not api.repo_exists("acme/nobody", repo_type="dataset")
    assert api.model_info("acme/intents").sha != info.sha


def test_datasets_are_searched(both: str) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=both, token=False)
    assert [each.id for each in api.list_datasets()] == ["acme/intents", "tickets"]
    assert [each.id for each in api.list_datasets(search="ticket")] == ["tickets"]
    assert [each.id for each in api.list_datasets(author="acme", filter="format:csv")] == ["acme/intents"]
    page = httpx.get(f"{both}/api/datasets?limit=1")
    assert [each["id"] for each in httpx.get(page.links["next"]["url"]).json()] == ["tickets"]


def test_a_dataset_without_an_organization_has_a_name_of_two_parts_for_clients_that_want_one(both: str) -> None:
    for name in ("tickets", "_/tickets"):
        assert httpx.get(f"{both}/datasets/{name}/resolve/main/tickets.csv").content == CSV


def test_images_are_served_with_what_is_said_of_them(serve: Serve, registry: Registry) -> None:
    by_folder = {"cat/1.png": image(1), "dog/1.png": image(2)}
    said = b'{"file_name": "1.png", "label": "cat"}\n{"file_name": "2.png", "label": "dog"}\n'
    by_table = {"1.png": image(1), "2.png": image(2), "metadata.jsonl": said}
    for name, files in (("acme/folders", by_folder), ("acme/table", by_table)):
        blobs = {path: registry.blobs.put_bytes(data) for path, data in files.items()}
        entries = [FileEntry(path, blob.size_bytes, blob.sha256) for path, blob in blobs.items()]
        registry.datasets.add_images(Name.parse(name), entries)
    url = serve(RegistryModels(registry), RegistryDatasets(registry)).url
    trees = {
        name: httpx.get(f"{url}/api/datasets/acme/{name}/tree/main?recursive=true").json()
        for name in ("folders", "table")
    }
    files = {name: {each["path"] for each in tree if each["type"] == "file"} for name, tree in trees.items()}
    assert files == {"folders": {*by_folder}, "table": {*by_table}}
    address = f"{url}/datasets/acme/table/resolve/main/metadata.jsonl"
    whole = httpx.get(address)
    assert [json.loads(line) for line in whole.text.splitlines()] == [json.loads(line) for line in said.splitlines()]
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    part = httpx.get(address, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, whole.content[5:10])
    assert httpx.get(address, headers={"Range": "bytes=9999-"}).status_code == 416


def image(shade: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def test_a_killed_snapshot_download_keeps_the_files_it_finished(
    serve: Serve, registry: Registry, make_draft: Callable[..., ModelDraft], tmp_path: Path
) -> None:
    files = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40_000}
    registry.models.publish(make_draft(files=files))
    loopback = serve(RegistryModels(registry))
    loopback.faults.bytes_per_second = 1 << 20
    code = "import sys; from huggingface_hub import snapshot_download as s; s('acme/intents', cache_dir=sys.argv[1])"
    environment = {**os.environ, "HF_ENDPOINT": loopback.url}
    started = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL)
    sent = loopback.faults.sent
    finished = tmp_path / "models--acme--intents" / "snapshots"
    wait_for(lambda: any(v > 1 << 19 for v in sent.values()) and [*finished.glob("*/config.json")])
    started.kill()
    started.wait()
    loopback.faults.bytes_per_second = 0
    loopback.faults.requests.clear()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True, capture_output=True)
    assert [path.rpartition("/")[2] for path, _ in loopback.faults.byte_requests] == ["model.safetensors"]
    folder = next(finished.iterdir())
    assert {path: (folder / path).read_bytes() for path in files} == files
