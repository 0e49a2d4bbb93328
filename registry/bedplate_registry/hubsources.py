"""What a Hub server serves: snapshots of models, from the registry or from folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .blobs import digest_of
from .cards import read_card
from .errors import NotFound, Refused
from .models import ModelVersion
from .names import Name, Ref, check_alias
from .registry import Registry
from .store import ACTIVE

__all__ = ["FolderSource", "HubSource", "RegistrySource", "ServedFile", "Snapshot"]

# The Hub keeps weights and anything this large in LFS, under their SHA-256; the rest under git's SHA-1.
LFS_BYTES = 10 << 20
LFS_SUFFIXES = frozenset((".safetensors", ".bin", ".pt", ".onnx", ".h5", ".model", ".parquet", ".gguf", ".msgpack"))


@dataclass(frozen=True)
class ServedFile:
    """One file as the Hub's clients see it."""

    path: str
    size_bytes: int
    sha256: str
    local: Path
    plain_sha1: str | None = None  # git's digest of the bytes, for a file that is not in LFS

    @property
    def is_lfs(self) -> bool:
        return self.plain_sha1 is None

    @property
    def etag(self) -> str:
        return self.plain_sha1 or self.sha256

    @property
    def pointer(self) -> bytes:
        """What git itself holds of an LFS file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size_bytes}\n"
        return text.encode()

    @property
    def git_sha1(self) -> str:
        return self.plain_sha1 or _git_sha1(self.pointer)


@dataclass(frozen=True)
class Snapshot:
    """A model at one commit."""

    model_id: str
    commit: str
    files: tuple[ServedFile, ...]
    info: Mapping[str, Any] = field(default_factory=dict)  # more of what the Hub says: pipeline_tag, cardData, …

    def file(self, path: str) -> ServedFile | None:
        return next((file for file in self.files if file.path == path), None)


class HubSource(Protocol):
    """Where a Hub server finds its models. Called from several threads."""

    def refs(self, model_id: str) -> dict[str, str] | None:
        """The named revisions of a model and their commits, `main` first; None where there is no such model."""

    def snapshot(self, model_id: str, revision: str) -> Snapshot | None:
        """The model at a named revision or a full commit; None where it has none of that name."""

    def is_sound(self, file: ServedFile) -> bool:
        """Whether its bytes are still what they were; else they are not served."""


class RegistrySource:
    """The registry as a Hub: v3, an alias, or `main` for the newest version; a commit is 40 digits of its digest."""

    def __init__(self, registry: Registry) -> None:
        self._models = registry.models
        self._blobs = registry.blobs

    def refs(self, model_id: str) -> dict[str, str] | None:
        versions = self._versions(model_id)
        if not versions:
            return None
        commits = {f"v{version.version}": _commit(version) for version in versions}
        aliases = self._models.aliases(versions[0].name)
        named = {alias: commits[f"v{number}"] for alias, number in aliases.items() if f"v{number}" in commits}
        newest = next((each for each in reversed(versions) if each.state == ACTIVE), versions[-1])
        return {"main": _commit(newest), **named, **commits}

    def snapshot(self, model_id: str, revision: str) -> Snapshot | None:
        version = self._find(model_id, revision)
        if version is None:
            return None
        files = tuple(
            ServedFile(entry.path, entry.size_bytes, entry.sha256, self._blobs.path(entry.sha256))
            for entry in version.files
        )
        return Snapshot(str(version.name), _commit(version), files, _info(version))

    def is_sound(self, file: ServedFile) -> bool:
        return self._blobs.is_sound(file.sha256, file.size_bytes)

    def _find(self, model_id: str, revision: str) -> ModelVersion | None:
        try:
            name = Name.parse(model_id)
            if revision == "main":
                return self._models.get(Ref(name))
            if revision.startswith("v") and revision[1:].isdecimal():
                return self._models.get(Ref(name, version=int(revision[1:])))
            if len(revision) == 40:
                return next((each for each in self._versions(model_id) if _commit(each) == revision), None)
            return self._models.get(Ref(name, alias=check_alias(revision)))
        except (NotFound, Refused):
            return None

    def _versions(self, model_id: str) -> list[ModelVersion]:
        try:
            return self._models.versions(Name.parse(model_id), missing_ok=True)
        except Refused:
            return []


class FolderSource:
    """Folders of files, each under a fixed id and commit. Files are hashed once, and must not change after that."""

    def __init__(self, models: Mapping[str, tuple[Path, str, Mapping[str, Any]]]) -> None:
        self._models = dict(models)
        self._snapshots: dict[str, Snapshot] = {}

    def refs(self, model_id: str) -> dict[str, str] | None:
        return {"main": self._models[model_id][1]} if model_id in self._models else None

    def snapshot(self, model_id: str, revision: str) -> Snapshot | None:
        if model_id not in self._models or revision not in ("main", self._models[model_id][1]):
            return None
        if model_id not in self._snapshots:
            self._snapshots[model_id] = _read_folder(model_id, *self._models[model_id])
        return self._snapshots[model_id]

    def is_sound(self, file: ServedFile) -> bool:
        return file.local.is_file()


def _read_folder(model_id: str, folder: Path, commit: str, info: Mapping[str, Any]) -> Snapshot:
    card = read_card(folder / "README.md")
    said = {"license": card.license, "language": list(card.languages)}
    given: dict[str, Any] = {
        "pipeline_tag": card.pipeline_tag,
        "cardData": {key: item for key, item in said.items() if item},
        "tags": [],
    }
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(_served(path, path.relative_to(folder).as_posix()) for path in paths)
    return Snapshot(model_id, commit, files, {**given, **info})


def _served(path: Path, name: str) -> ServedFile:
    blob = digest_of(path)
    is_lfs = blob.size_bytes >= LFS_BYTES or path.suffix in LFS_SUFFIXES
    return ServedFile(name, blob.size_bytes, blob.sha256, path, None if is_lfs else _git_sha1(path.read_bytes()))


def _info(version: ModelVersion) -> dict[str, Any]:
    facts, moment = version.facts, version.created.replace("+00:00", ".000Z")
    card = {"license": facts.license, "language": list(facts.languages), "pipeline_tag": facts.task}
    return {
        "pipeline_tag": facts.task,
        "tags": ["transformers", "safetensors", *filter(None, (facts.model_type, facts.task))],
        "cardData": {key: item for key, item in card.items() if item},
        "config": {"architectures": [facts.architecture], "model_type": facts.model_type},
        "createdAt": moment,
        "lastModified": moment,
    }


def _commit(version: ModelVersion) -> str:
    return version.digest[:40]


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
