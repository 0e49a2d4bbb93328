"""Datasets through the Hub's routes: hostile and damaged ones beside sound ones, pages, what is asked in a body."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from bedplate_registry.datasets import DatasetVersion
from bedplate_registry.hubregistry import RegistryDatasets, RegistryModels
from bedplate_registry.hubsources import Page, Snapshot, Wanted
from bedplate_registry.models import FileEntry, ModelDraft
from bedplate_registry.names import Name, Ref
from bedplate_registry.registry import Registry
from bedplate_registry.search import Found, Query

Serve = Callable[..., Any]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def add_images(registry: Registry, name: str, said: bytes) -> DatasetVersion:
    files = {"1.png": picture(1), "2.png": picture(2), "metadata.jsonl": said}
    blobs = {path: registry.blobs.put_bytes(data) for path, data in files.items()}
    entries = [FileEntry(path, blob.size_bytes, blob.sha256) for path, blob in blobs.items()]
    return registry.datasets.add_images(Name.parse(name), entries)


def said(*values: str) -> bytes:
    return b"".join(b'{"file_name": "%d.png", "x": %s}\n' % (n, value.encode()) for n, value in enumerate(values, 1))


@pytest.fixture
def url(serve: Serve, registry: Registry) -> str:
    address: str = serve(RegistryModels(registry), RegistryDatasets(registry)).url
    return address


def listed(url: str, **params: Any) -> list[str]:
    answer = httpx.get(f"{url}/api/datasets", params=params)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()]


def test_metadata_of_any_values_is_served(url: str, registry: Registry) -> None:
    add_images(registry, "x/hostile", said(str(1 << 100), r'"\ud800"'))
    add_images(registry, "x/plain", said("1", "2"))
    assert listed(url) == listed(url, full=1) == ["x/hostile", "x/plain"]
    served = httpx.get(f"{url}/datasets/x/hostile/resolve/main/metadata.jsonl")
    assert [json.loads(line)["x"] for line in served.text.splitlines()] == [1 << 100, "\ud800"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_dataset_whose_table_is_damaged_says_so_and_the_others_are_listed(
    url: str, registry: Registry, is_there: bool
) -> None:
    broken = add_images(registry, "x/broken", said("1", "2"))
    add_images(registry, "x/sound", said("3", "4"))
    table = registry.datasets.path(broken)
    table.chmod(0o644)
    table.write_bytes(b"?") if is_there else table.unlink()
    assert listed(url) == listed(url, full=1) == listed(url, expand="siblings") == ["x/broken", "x/sound"]
    for path in ("api/datasets/x/broken/tree/main", "datasets/x/broken/resolve/main/1.png"):
        answer = httpx.get(f"{url}/{path}")
        assert (answer.status_code, answer.headers["x-error-code"]) == (503, "damaged-dataset")
        assert "x/broken:1" in answer.headers["x-error-message"]
    add_images(registry, "x/broken", said("1", "2"))
    assert httpx.get(f"{url}/datasets/x/broken/resolve/main/1.png").content == picture(1)


def test_what_was_read_of_a_dataset_is_not_read_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        add_images(registry, name, said("1", "2"))
    source, read, get = RegistryDatasets(registry), list[str](), registry.datasets.get

    def noted(ref: Ref) -> DatasetVersion:
        read.append(str(ref))
        return get(ref)

    monkeypatch.setattr(registry.datasets, "get", noted)
    for _ in range(3):
        assert len(source.find(Wanted(), limit=1, after=None).found) == 1
    assert read == ["a:1", "b:1"]
    commits = {_snapshot(source, "a", "main").commit, _snapshot(source, "a", "v1").commit}
    for revision in ("main", *commits):
        file = _snapshot(source, "a", revision).file("2.png")
        assert file is not None and file.local.read_bytes() == picture(2)
    assert read == ["a:1", "b:1", "a:1"]  # its files once
    registry.datasets.delete("a:1", by="ana")
    assert (source.snapshot("a", "main"), source.snapshot("a", "v1"), source.refs("a")) == (None, None, None)


def _snapshot(source: RegistryDatasets, name: str, revision: str) -> Snapshot:
    found = source.snapshot(name, revision)
    assert found is not None
    return found


def test_a_page_goes_on_after_a_dataset_that_was_deleted(url: str, registry: Registry) -> None:
    for name in ("a", "b", "c", "d"):
        add_images(registry, name, said("1", f'"{name}"'))
    first = httpx.get(f"{url}/api/datasets?limit=2")
    assert [each["id"] for each in first.json()] == ["a", "b"]
    registry.datasets.delete("b:1", by="ana")
    assert [each["id"] for each in httpx.get(first.links["next"]["url"]).json()] == ["c", "d"]
    refused = httpx.get(f"{url}/api/datasets?cursor=zzz")
    assert (refused.status_code, refused.headers["x-error-code"]) == (400, "bad-cursor")
    found, after = list[str](), None
    while True:
        page = RegistryDatasets(registry).find(Wanted(sort="created", descending=True), limit=1, after=after)
        found, after = [*found, *(each.repo_id for each in page.found)], page.next
        if after is None:
            break
    assert sorted(found) == ["a", "c", "d"]


def test_a_dataset_whose_versions_are_all_archived_has_them_by_their_numbers(url: str, registry: Registry) -> None:
    add_images(registry, "x/old", said("1", "2"))
    registry.datasets.archive("x/old:1", by="ana")
    assert listed(url) == []
    refs = httpx.get(f"{url}/api/datasets/x/old/refs").json()
    assert [branch["name"] for branch in refs["branches"]] == ["v1"]
    missing = httpx.get(f"{url}/datasets/x/old/resolve/main/1.png")
    assert (missing.status_code, missing.headers["x-error-code"]) == (404, "RevisionNotFound")
    assert httpx.get(f"{url}/datasets/x/old/resolve/v1/1.png").content == picture(1)


def test_a_part_of_a_made_file_is_sent_only_of_the_same_bytes(url: str, registry: Registry) -> None:
    add_images(registry, "x/a", said("1", "2"))
    address = f"{url}/datasets/x/a/resolve/main/metadata.jsonl"
    whole, part = httpx.get(address), {"Range": "bytes=2-5"}
    same = httpx.get(address, headers={**part, "If-Range": whole.headers["etag"]})
    other = httpx.get(address, headers={**part, "If-Range": '"other"'})
    assert (same.status_code, same.content) == (206, whole.content[2:6])
    assert (other.status_code, other.content) == (200, whole.content)


# --- what is asked in a body


def test_paths_are_asked_for_in_a_form_or_in_json(url: str, registry: Registry) -> None:
    add_images(registry, "x/a", said("1", "2"))
    address = f"{url}/api/datasets/x/a/paths-info/main"
    for body in ({"data": {"paths": ["2.png", "nothing"]}}, {"json": {"paths": ["2.png", "nothing"], "expand": True}}):
        answer = httpx.post(address, **body)
        assert [each["path"] for each in answer.json()] == ["2.png"]
    for content in (b"{", b"[]", b'{"paths": [1]}', b"{}"):
        assert httpx.post(address, content=content, headers={"Content-Type": "application/json"}).status_code == 400
    assert httpx.post(address, content=b"2.png", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_form_of_too_many_fields_is_refused_and_the_connection_stays(url: str, registry: Registry) -> None:
    add_images(registry, "x/a", said("1", "2"))
    address = f"{url}/api/datasets/x/a/paths-info/main"
    with httpx.Client() as client:
        streams = set()
        for content, status in ((b"p=&" * 100_001, 413), (b"paths=1.png", 200)):
            answer = client.post(address, content=content, headers=FORM)
            streams.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            assert answer.status_code == status
        assert len(streams) == 1


class Failing(RegistryModels):
    def find(self, wanted: Wanted, *, limit: int, after: str | None) -> Page:
        raise ZeroDivisionError("what nobody thought of")


def test_a_failure_is_told_as_the_clients_read_it_logged_and_the_connection_stays(
    serve: Serve, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    url = serve(Failing(registry), RegistryDatasets(registry)).url
    with httpx.Client() as client, caplog.at_level(logging.ERROR):
        failed = client.get(f"{url}/api/models")
        assert failed.status_code == 500 and "log" in failed.headers["x-error-message"]
        after = client.get(f"{url}/api/datasets")
        addresses = {each.extensions["network_stream"].get_extra_info("client_addr") for each in (failed, after)}
        assert (after.status_code, len(addresses)) == (200, 1)
    assert "what nobody thought of" in caplog.text


# --- models


def test_models_without_a_tag_are_looked_through_in_few_steps_and_each_is_found_once(
    registry: Registry, make_draft: Callable[..., ModelDraft], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        draft = make_draft(name=f"acme/m{number:02}", source=f"job-{number}")
        kind = "rare" if number % 7 == 0 else "bert"
        registry.models.publish(replace(draft, facts=replace(draft.facts, model_type=kind)))
    source, asked, find = RegistryModels(registry), list[int](), registry.search.find

    def counted(query: Query, *, limit: int, after: str | None) -> Found:
        asked.append(limit)
        return find(query, limit=limit, after=after)

    monkeypatch.setattr(registry.search, "find", counted)
    assert source.find(Wanted(tags=frozenset({"nosuch"})), limit=1, after=None) == Page([])
    assert asked == [1, 2, 4, 8, 16]
    tags, found, after = frozenset({"rare"}), list[str](), None
    while True:
        page = source.find(Wanted(tags=tags), limit=1, after=after)
        assert len(page.found) <= 1
        found, after = [*found, *(each.repo_id for each in page.found)], page.next
        if after is None:
            break
    assert found == ["acme/m00", "acme/m07", "acme/m14"]


def test_an_alias_as_long_as_a_commit_is_an_alias(registry: Registry, make_draft: Callable[..., ModelDraft]) -> None:
    registry.models.publish(make_draft())
    alias = "z" * 40
    registry.models.set_alias("acme/intents:1", alias, by="ana")
    assert RegistryModels(registry).snapshot("acme/intents", alias) is not None
