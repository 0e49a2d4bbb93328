"""The registry as a Hub serves it: each version a commit, named v1, v2, … and by its aliases; `main` is the newest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import orjson

from .datasets import DatasetVersion
from .errors import NotFound, Refused
from .hubsources import Page, ServedFile, Snapshot, Wanted, page_by_name
from .image_folders import DIGEST, FILE_NAME, IMAGE, LABEL
from .models import ModelVersion
from .names import Name, Ref, check_alias
from .registry import Registry
from .search import Query
from .store import ACTIVE
from .tables import read_rows

__all__ = ["RegistryDatasets", "RegistryModels"]

METADATA = "metadata.jsonl"
ADAPTER_FOLDER = "adapter/"  # where an adapter lies here; PEFT and the Hub have it at the root
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}


class RegistryModels:
    """The models. A commit is 40 digits of the digest of a version's manifest."""

    def __init__(self, registry: Registry) -> None:
        self._models, self._blobs, self._search = registry.models, registry.blobs, registry.search

    def refs(self, repo_id: str) -> dict[str, str] | None:
        versions = self._versions(repo_id)
        if not versions:
            return None
        commits = {f"v{version.version}": _commit(version.digest) for version in versions}
        aliases = self._models.aliases(versions[0].name)
        named = {alias: commits[f"v{number}"] for alias, number in aliases.items() if f"v{number}" in commits}
        newest = next((each for each in reversed(versions) if each.state == ACTIVE), versions[-1])
        return {"main": _commit(newest.digest), **named, **commits}

    def snapshot(self, repo_id: str, revision: str) -> Snapshot | None:
        if len(revision) == 40:
            versions = self._versions(repo_id)
            version = next((each for each in versions if _commit(each.digest) == revision), None)
        else:
            ref = _ref(repo_id, revision)
            version = None if ref is None else self._get(ref)
        return None if version is None else self._snapshot(version.to_json())

    def commits(self, repo_id: str) -> list[Snapshot]:
        return [self._snapshot(version.to_json()) for version in reversed(self._versions(repo_id))]

    def find(self, wanted: Wanted, *, limit: int, after: str | None) -> Page:
        """By the registry's own search. Tags that it cannot filter by are looked at afterwards, page by page."""
        query = Query(
            text=" ".join(filter(None, (wanted.author, wanted.words))),
            task=wanted.task,
            license=wanted.license,
            min_parameters=wanted.min_parameters,
            max_parameters=wanted.max_parameters,
            sort=wanted.sort or ("relevance" if wanted.words else "name"),
            descending=wanted.descending,
        )
        while True:
            page = self._search.find(query, limit=limit, after=after)
            found = [each for each in map(self._snapshot, page.items) if wanted.fits(each)]
            if found or page.next is None:
                return Page(found, page.next)
            after = page.next

    def is_sound(self, file: ServedFile) -> bool:
        return self._blobs.is_sound(file.sha256, file.size_bytes)

    def _get(self, ref: Ref) -> ModelVersion | None:
        try:
            return self._models.get(ref)
        except NotFound:
            return None

    def _versions(self, repo_id: str) -> Sequence[ModelVersion]:
        name = _name(repo_id)
        return [] if name is None else self._models.readable(name)

    def _snapshot(self, body: Mapping[str, Any]) -> Snapshot:
        """Of a version as REST shows it, which is also what search keeps."""
        prefix = ADAPTER_FOLDER if body["lineage"].get("adapter_base") else ""
        files = tuple(
            ServedFile(file["path"].removeprefix(prefix), file["size_bytes"], file["sha256"], local)
            for file in body["files"]
            if (local := self._blobs.path(file["sha256"]))
        )
        return Snapshot(body["name"], _commit(body["digest"]), files, _model_info(body))


class RegistryDatasets:
    """The datasets. A commit is 40 digits of a digest of what the version holds and when it was made."""

    def __init__(self, registry: Registry) -> None:
        self._datasets, self._blobs = registry.datasets, registry.blobs

    def refs(self, repo_id: str) -> dict[str, str] | None:
        versions = self._versions(repo_id)
        if not versions:
            return None
        commits = {f"v{version.version}": _dataset_commit(version) for version in versions}
        newest = next((each for each in reversed(versions) if each.state == ACTIVE), versions[-1])
        return {"main": _dataset_commit(newest), **commits}

    def snapshot(self, repo_id: str, revision: str) -> Snapshot | None:
        version: DatasetVersion | None
        if len(revision) == 40:
            versions = self._versions(repo_id)
            version = next((each for each in versions if _dataset_commit(each) == revision), None)
        else:
            ref = _ref(repo_id, revision)
            version = None if ref is None else self._get(ref)
        return None if version is None else self._snapshot(version)

    def commits(self, repo_id: str) -> list[Snapshot]:
        return [self._snapshot(version) for version in reversed(self._versions(repo_id))]

    def find(self, wanted: Wanted, *, limit: int, after: str | None) -> Page:
        return page_by_name(map(self._snapshot, self._datasets.list()), wanted, limit, after)

    def is_sound(self, file: ServedFile) -> bool:
        return self._blobs.is_sound(file.sha256, file.size_bytes)

    def _get(self, ref: Ref) -> DatasetVersion | None:
        try:
            return self._datasets.get(ref)
        except NotFound:
            return None

    def _versions(self, repo_id: str) -> Sequence[DatasetVersion]:
        name = _name(repo_id)
        try:
            return [] if name is None else self._datasets.versions(name)
        except NotFound:
            return []

    def _snapshot(self, version: DatasetVersion) -> Snapshot:
        return Snapshot(str(version.name), _dataset_commit(version), self._files(version), _dataset_info(version))

    def _files(self, version: DatasetVersion) -> tuple[ServedFile, ...]:
        """The table; or the images of a folder, with what the table says of them as `imagefolder` reads it."""
        table = self._datasets.path(version)
        if not version.files:
            name = PurePath(version.filename).with_suffix(f".{version.format}").name  # `datasets` knows no .CSV
            return (ServedFile(name, version.size_bytes, version.sha256, table),)
        images = [
            ServedFile(each.path, each.size_bytes, each.sha256, self._blobs.path(each.sha256)) for each in version.files
        ]
        said = _metadata(table, version.format)
        if said is None:
            return tuple(images)
        digest = hashlib.sha256(said).hexdigest()
        return (*images, ServedFile(METADATA, len(said), digest, table, content=said))


@lru_cache(maxsize=8)
def _metadata(table: Path, format: str) -> bytes | None:
    """metadata.jsonl for a folder of images; None where the folders say as much, each being named by its label."""
    said = [
        (row[IMAGE], {key: item for key, item in row.items() if key not in (IMAGE, DIGEST)})
        for row in read_rows(table, format)
    ]
    if all(about in ({}, {LABEL: str(PurePath(path).parent)}) for path, about in said):
        return None
    return b"".join(orjson.dumps({FILE_NAME: path, **about}) + b"\n" for path, about in said)


def _name(repo_id: str) -> Name | None:
    """`_/tickets` is `tickets`: some clients take no name without an organization."""
    try:
        return Name.parse(repo_id.removeprefix("_/"))
    except Refused:
        return None


def _ref(repo_id: str, revision: str) -> Ref | None:
    """What `main`, `v3` or an alias means; None for what can mean nothing."""
    name = _name(repo_id)
    if name is None or revision == "main":
        return None if name is None else Ref(name)
    if revision.startswith("v") and revision[1:].isdecimal():
        number = int(revision[1:10])
        return Ref(name, version=number) if f"v{number}" == revision and number else None
    try:
        return Ref(name, alias=check_alias(revision))
    except Refused:
        return None


def _model_info(body: Mapping[str, Any]) -> dict[str, Any]:
    library = _library(body)
    card = {"license": body["license"], "language": [*body["languages"]], "pipeline_tag": body["task"]}
    license = [f"license:{name}" for name in (body["license"] or "").split(", ") if name]
    about = filter(None, (library, body["model_type"], body["task"]))
    dtype = DTYPES.get(body["dtype"], body["dtype"].upper())
    return {
        "pipeline_tag": body["task"],
        "library_name": library,
        "tags": [*dict.fromkeys((*about, "safetensors", *body["languages"], *license))],
        "cardData": {key: item for key, item in card.items() if item},
        "config": {"architectures": [*filter(None, [body["architecture"]])], "model_type": body["model_type"]},
        "safetensors": {"parameters": {dtype: body["parameters"]}, "total": body["parameters"]},
        "usedStorage": body["size_bytes"],
        **_times(body["created"]),
        "title": f"v{body['version']}",
    }


def _library(body: Mapping[str, Any]) -> str:
    """Which library loads it, by the file that is this one's own."""
    paths = {file["path"] for file in body["files"]}
    if body["lineage"].get("adapter_base"):
        return "peft"
    marks = {"model_index.json": "diffusers", "modules.json": "sentence-transformers"}
    return next((library for mark, library in marks.items() if mark in paths), "transformers")


def _dataset_info(version: DatasetVersion) -> dict[str, Any]:
    return {
        "tags": [f"format:{version.format}"],
        "cardData": {},
        "usedStorage": version.size_bytes,
        **_times(version.created),
        "title": f"v{version.version}",
    }


def _times(created: str) -> dict[str, str]:
    moment = created.replace("+00:00", ".000Z")
    return {"createdAt": moment, "lastModified": moment}


def _commit(digest: str) -> str:
    return digest[:40]


def _dataset_commit(version: DatasetVersion) -> str:
    facts = [version.ref, version.filename, version.sha256, version.created]
    return _commit(hashlib.sha256(json.dumps(facts).encode()).hexdigest())
