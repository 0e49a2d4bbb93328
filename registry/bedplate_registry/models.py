"""Models: immutable, numbered versions of files with what they are, where they came from and who means which of them.

models/<org>/<name>/<version>/manifest.json   the version; written last, committed by the rename of its folder
models/<org>/<name>/<version>/files/…         relative links into blobs/: a view, rebuilt from the manifest
models/<org>/<name>/aliases.jsonl             production -> 3, by whom, why, when
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from . import durable
from .blobs import Blobs, check_digest
from .errors import NotFound, Refused
from .names import Name, Ref, check_alias, check_file_path
from .store import Record, VersionStore

__all__ = ["FileEntry", "ModelDraft", "ModelFacts", "ModelVersion", "Models", "Source"]

# A model card larger than this is not one.
MAX_CARD_BYTES = 4 << 20


@dataclass(frozen=True)
class FileEntry:
    """One file of a model."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, read from its files by `inspection`, never typed by hand."""

    task: str | None  # one of the nine, or None: a base
    architecture: str | None
    model_type: str | None
    parameters: int
    dtype: str
    size_bytes: int
    license: str | None = None  # as the Hub spells it, lower case; None where unknown
    labels: tuple[str, ...] = ()
    context_length: int | None = None
    languages: tuple[str, ...] = ()
    finetunable_tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a model came from."""

    kind: str  # hub | folder | job
    id: str  # the MODEL_ID, the digest of the folder, or the job
    commit: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class ModelDraft:
    """A model whose files are in the store, ready to be published."""

    name: Name
    files: tuple[FileEntry, ...]
    facts: ModelFacts
    source: Source
    lineage: dict[str, Any] = field(default_factory=dict)
    sample: dict[str, Any] | None = None  # request and answer of the check that loaded it

    def to_json(self) -> dict[str, Any]:
        """The draft as JSON: what a worker hands to the owner of the registry."""
        return {
            "name": str(self.name),
            "files": [asdict(entry) for entry in self.files],
            "facts": _plain(asdict(self.facts)),
            "source": asdict(self.source),
            "lineage": self.lineage,
            "sample": self.sample,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelDraft:
        """The draft that `to_json` gave; every name, path and digest in it is checked again."""
        return cls(
            name=Name.parse(value["name"]),
            files=tuple(_entry(item) for item in value["files"]),
            facts=_facts(value["facts"]),
            source=Source(**value["source"]),
            lineage=dict(value["lineage"]),
            sample=value["sample"],
        )


@dataclass(frozen=True)
class ModelVersion(ModelDraft):
    """A published model. It never changes."""

    version: int = 0
    created: str = ""
    digest: str = ""  # SHA-256 of the manifest, and with it of everything above
    aliases: tuple[str, ...] = ()  # those that mean this version now

    @property
    def ref(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def task(self) -> str | None:
        return self.facts.task

    def to_json(self) -> dict[str, Any]:
        """The version as one flat object, for REST."""
        draft = super().to_json()
        facts = draft.pop("facts")
        own = {key: getattr(self, key) for key in ("version", "ref", "created", "digest")}
        return {**draft, **facts, **own, "aliases": list(self.aliases)}


# Named here because inside the class `list` is a method.
_Versions: TypeAlias = list[ModelVersion]
_Problems: TypeAlias = list[str]


class Models:
    """The models of a registry."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.blobs = blobs
        self._store = VersionStore(root, "model", "Import it: bedplate import {name}")

    def check_name(self, name: Name) -> None:
        """Raise the Conflict that `publish` would: the name differs only in case from one that is taken."""
        self._store.check_name(name)

    def publish(self, draft: ModelDraft) -> ModelVersion:
        """Make a draft the next version of its name. The same source published before gives that version again."""
        for entry in draft.files:
            self._check_there(entry)

        def find() -> Record | None:
            found = self.find_source(draft.name, draft.source, task=draft.facts.task)
            return self._store.read(found.name, found.version) if found else None

        def make(version: int, folder: Path) -> Mapping[str, Any]:
            self._link(draft.files, folder / "files", self._files_path(draft.name, version))
            return {**draft.to_json(), "created": datetime.now(UTC).isoformat(timespec="seconds")}

        return self._version(self._store.publish(draft.name, find, make))

    def get(self, ref: str | Ref) -> ModelVersion:
        """The version a reference means: the newest where it names none."""
        name, version = self._store.resolve(Ref.parse(ref) if isinstance(ref, str) else ref)
        return self._version(self._store.read(name, version))

    def find_source(self, name: Name, source: Source, *, task: str | None = None) -> ModelVersion | None:
        """The version of `name` that was made from `source` for that task (None: a base), if there is one."""
        for version in reversed(self.versions(name, missing_ok=True)):
            same = (version.source.kind, version.source.id, version.source.commit)
            if same == (source.kind, source.id, source.commit) and version.task == task:
                return version
        return None

    def list(self) -> _Versions:
        """The newest version of each name, by name. A damaged one is logged and left out: `get` says what is wrong."""
        return [*self._store.newest(self._parse)]

    def versions(self, name: Name, *, missing_ok: bool = False) -> _Versions:
        """All versions of a name, ascending."""
        numbers = self._store.numbers(name)
        if not numbers and not missing_ok:
            self._store.resolve(Ref(name))
        return [self._version(self._store.read(name, number)) for number in numbers]

    def files_dir(self, version: ModelVersion) -> Path:
        """The folder that `from_pretrained` reads. Rebuilt where a link is missing or wrong."""
        folder = self._files_path(version.name, version.version)
        if not self._is_linked(version.files, folder):
            temp = durable.temp_beside(folder)
            self._link(version.files, temp, folder)
            durable.replace_folder(temp, folder)
        return folder

    def stage(self, files: Iterable[FileEntry], folder: Path) -> Path:
        """The same view at any place: for checks before publication. The caller removes it."""
        self._link(files, folder, folder)
        return folder

    def card(self, version: ModelVersion) -> str:
        """The model card as it was written (not cleaned); empty where there is none."""
        for entry in version.files:
            if entry.path == "README.md" and entry.size_bytes <= MAX_CARD_BYTES:
                with self.blobs.open(entry.sha256) as file:
                    return file.read().decode("utf-8", "replace")
        return ""

    def set_alias(self, ref: str | Ref, alias: str, *, by: str, why: str = "") -> None:
        """Let `alias` mean this version from now on; what it meant before stays on record."""
        check_alias(alias)
        version = self.get(ref)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self._store.set_alias(version.name, alias, version.version, by=by, why=why, when=when)

    def aliases(self, name: Name) -> dict[str, int]:
        return self._store.aliases(name)

    def verify(self, ref: str | Ref) -> _Problems:
        """What is wrong with a version's files, one sentence for each; every byte is read."""
        problems = []
        for entry in self.get(ref).files:
            if not self.blobs.has(entry.sha256):
                problems.append(f"{entry.path} is missing (SHA-256 {entry.sha256}).")
            elif not self.blobs.verify(entry.sha256):
                problems.append(f"{entry.path} is damaged: its bytes no longer have the SHA-256 {entry.sha256}.")
        return problems

    def _version(self, record: Record) -> ModelVersion:
        return self._store.parsed(record, self._parse)

    def _parse(self, record: Record) -> ModelVersion:
        draft = ModelDraft.from_json(record.value)
        aliases = self.aliases(record.name)
        return ModelVersion(
            **{each.name: getattr(draft, each.name) for each in fields(draft)},
            version=record.version,
            created=record.value["created"],
            digest=record.digest,
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == record.version)),
        )

    def _check_there(self, entry: FileEntry) -> None:
        check_file_path(entry.path)
        if not self.blobs.has(entry.sha256, entry.size_bytes):
            raise NotFound(
                f"{entry.path} with the SHA-256 {entry.sha256} and {entry.size_bytes} bytes is not in the registry.",
                hint="Put every file of a model into the store before publishing it.",
                code="missing-blob",
            )

    def _files_path(self, name: Name, version: int) -> Path:
        return self._store.folder(name) / str(version) / "files"

    def _link(self, files: Iterable[FileEntry], folder: Path, seen_from: Path) -> None:
        """Make the view at `folder`, with links that are right once it lies at `seen_from`."""
        folder.mkdir(parents=True, exist_ok=True)
        for entry in files:
            link = folder / check_file_path(entry.path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._target(entry, seen_from))

    def _target(self, entry: FileEntry, folder: Path) -> str:
        return os.path.relpath(self.blobs.path(entry.sha256), (folder / entry.path).parent)

    def _is_linked(self, files: Iterable[FileEntry], folder: Path) -> bool:
        links = ((folder / entry.path, self._target(entry, folder)) for entry in files)
        return folder.is_dir() and all(link.is_symlink() and str(link.readlink()) == target for link, target in links)


def _entry(value: Mapping[str, Any]) -> FileEntry:
    entry = FileEntry(**value)
    check_file_path(entry.path)
    check_digest(entry.sha256)
    if not isinstance(entry.size_bytes, int) or entry.size_bytes < 0:
        raise Refused(f"{entry.path} has the size {entry.size_bytes!r}.", code="bad-manifest")
    return entry


def _facts(value: Mapping[str, Any]) -> ModelFacts:
    given: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return ModelFacts(**given)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
