"""The registry as a Hub serves it: each version a commit, named v1, v2, … and by its aliases; `main` is the newest."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import PurePath
from typing import Any

from .datasets import DatasetVersion
from .errors import Conflict, NotFound, Refused
from .hubsources import Page, ServedFile, Snapshot, Wanted, page_by_name
from .image_folders import DIGEST, FILE_NAME, IMAGE, LABEL
from .models import ModelVersion
from .names import Name, Ref, check_alias
from .registry import Registry
from .search import Query
from .store import ACTIVE
from .writers import row_json

__all__ = ["RegistryDatasets", "RegistryModels"]

log = logging.getLogger(__name__)
METADATA = "metadata.jsonl"
ADAPTER_FOLDER = "adapter/"  # where an adapter lies here; PEFT and the Hub have it at the root
COMMIT = re.compile(r"[0-9a-f]{40}")
LOOKED_AT = 500  # models at a time, where tags are looked for that the search does not know
# Snapshots of datasets that are kept, without their files; and those whose files are, of which one may have 50,000.
KEPT, KEPT_WITH_FILES = 4096, 4
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
        if COMMIT.fullmatch(revision):
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
        size = limit
        while True:
            page = self._search.find(query, limit=size, after=after)
            found = [each for each in map(self._snapshot, page.items) if wanted.fits(each)]
            if len(found) > limit:  # a page ends where one of the search does: it is looked through in smaller steps
                size = max(limit, size // 2)
            elif found or page.next is None:
                return Page(found, page.next)
            else:
                after, size = page.next, max(limit, min(2 * size, LOOKED_AT))

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
        return Snapshot(body["name"], _commit(body["digest"]), partial(self._files, body), _model_info(body))

    def _files(self, body: Mapping[str, Any]) -> dict[str, ServedFile]:
        prefix = ADAPTER_FOLDER if body["lineage"].get("adapter_base") else ""
        files = {file["path"].removeprefix(prefix): file for file in body["files"]}
        return {
            path: ServedFile(path, file["size_bytes"], file["sha256"], self._blobs.path(file["sha256"]))
            for path, file in files.items()
        }


class RegistryDatasets:
    """The datasets. A commit is 40 digits of a digest of what the version holds and when it was made.

    Versions never change, so that what was read of one is kept; whether it is there is asked each time.
    """

    def __init__(self, registry: Registry) -> None:
        self._datasets, self._blobs = registry.datasets, registry.blobs
        self._kept = lru_cache(KEPT)(self._read)
        self._files = lru_cache(KEPT_WITH_FILES)(self._read_files)

    def refs(self, repo_id: str) -> dict[str, str] | None:
        """Without `main` where every version is archived."""
        versions = self._versions(repo_id)
        if not versions:
            return None
        main = self.snapshot(repo_id, "main")
        named = {} if main is None else {"main": main.commit}
        return {**named, **{f"v{number}": snapshot.commit for number, snapshot in versions.items()}}

    def snapshot(self, repo_id: str, revision: str) -> Snapshot | None:
        if COMMIT.fullmatch(revision):
            return next((each for each in self._versions(repo_id).values() if each.commit == revision), None)
        ref = _ref(repo_id, revision)
        try:
            return None if ref is None else self._kept(self._datasets.locate(ref))
        except (NotFound, Conflict):
            return None

    def commits(self, repo_id: str) -> list[Snapshot]:
        return [*reversed(self._versions(repo_id).values())]

    def find(self, wanted: Wanted, *, limit: int, after: str | None) -> Page:
        return page_by_name(self._readable(self._datasets.newest()).values(), wanted, limit, after)

    def is_sound(self, file: ServedFile) -> bool:
        return self._blobs.is_sound(file.sha256, file.size_bytes)

    def _versions(self, repo_id: str) -> dict[int, Snapshot]:
        """By their numbers, ascending."""
        name = _name(repo_id)
        found = {} if name is None else self._readable(self._datasets.refs(name))
        return {ref.version or 0: snapshot for ref, snapshot in found.items()}

    def _readable(self, refs: Iterable[Ref]) -> dict[Ref, Snapshot]:
        """One whose manifest is damaged is logged and left out."""
        found = {}
        for ref in refs:
            try:
                found[ref] = self._kept(ref)
            except NotFound:
                continue  # it was deleted in this moment
            except Refused as exc:
                log.error("%s", exc)
        return found

    def _read(self, ref: Ref) -> Snapshot:
        version = self._datasets.get(ref)
        make_files = partial(self._files, ref)
        return Snapshot(str(version.name), _dataset_commit(version), make_files, _dataset_info(version))

    def _read_files(self, ref: Ref) -> dict[str, ServedFile]:
        """The table; or the images of a folder, with what the table says of them as `imagefolder` reads it.

        Raises Unavailable where the images' table is damaged.
        """
        version = self._datasets.get(ref)
        table = self._datasets.path(version)
        if not version.files:
            name = PurePath(version.filename).with_suffix(f".{version.format}").name  # `datasets` knows no .CSV
            return {name: ServedFile(name, version.size_bytes, version.sha256, table)}
        files = {
            each.path: ServedFile(each.path, each.size_bytes, each.sha256, self._blobs.path(each.sha256))
            for each in version.files
        }
        said = _metadata(self._datasets.rows(version))
        if said is not None:
            digest = hashlib.sha256(said).hexdigest()
            files[METADATA] = ServedFile(METADATA, len(said), digest, table, content=said)
        return files


def _metadata(rows: Iterable[Mapping[str, Any]]) -> bytes | None:
    """metadata.jsonl for a folder of images; None where the folders say as much, each being named by its label."""
    said = [(row[IMAGE], {key: item for key, item in row.items() if key not in (IMAGE, DIGEST)}) for row in rows]
    if all(about in ({}, {LABEL: str(PurePath(path).parent)}) for path, about in said):
        return None
    return b"".join(row_json({FILE_NAME: path, **about}) + b"\n" for path, about in said)


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
