"""What a Hub server serves: snapshots of repositories, models or datasets, from a source; here, from folders."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .blobs import digest_of
from .cards import read_card
from .errors import Refused

__all__ = ["FolderSource", "HubSource", "Page", "ServedFile", "Snapshot", "Wanted", "page_by_name"]

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
    content: bytes | None = None  # of a file that is made for the clients and lies nowhere

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
    """A repository at one commit. Its files are made when they are asked for: a list needs none of them."""

    repo_id: str
    commit: str
    make_files: Callable[[], Mapping[str, ServedFile]]  # by their paths
    info: Mapping[str, Any] = field(default_factory=dict)  # more of what the Hub says: pipeline_tag, cardData, …

    def file(self, path: str) -> ServedFile | None:
        return self.make_files().get(path)

    @property
    def files(self) -> Collection[ServedFile]:
        """In their order. Raises Unavailable where they cannot be known now."""
        return self.make_files().values()

    @property
    def author(self) -> str | None:
        return self.repo_id.partition("/")[0] if "/" in self.repo_id else None

    @property
    def tags(self) -> frozenset[str]:
        """All that a list may be filtered by."""
        more = (self.info.get("pipeline_tag"), self.info.get("library_name"))
        return frozenset((*self.info.get("tags", ()), *filter(None, more)))


@dataclass(frozen=True)
class Wanted:
    """What a list of repositories is to hold; what is None or empty says nothing."""

    words: str = ""
    author: str | None = None
    task: str | None = None
    license: str | None = None
    tags: frozenset[str] = frozenset()
    min_parameters: int | None = None
    max_parameters: int | None = None
    sort: str | None = None  # created | parameters; else by relevance or name
    descending: bool = False

    def fits(self, snapshot: Snapshot) -> bool:
        """Whether a repository is of this author and has all tags; the words are the source's business."""
        is_author = self.author in (None, snapshot.author)
        is_task = self.task in (None, snapshot.info.get("pipeline_tag"))
        return is_author and is_task and snapshot.tags >= self.tags

    def names(self, repo_id: str) -> bool:
        """Whether each of the words stands in this id."""
        return all(word in repo_id.lower() for word in self.words.lower().split())

    def order(self, snapshot: Snapshot) -> tuple[str, str]:
        """What a repository is sorted by where there is no index."""
        return snapshot.info.get("createdAt", "") if self.sort == "created" else "", snapshot.repo_id


@dataclass(frozen=True)
class Page:
    """A part of a list, and the `after` of the next one. A page may hold fewer than were asked for."""

    found: list[Snapshot]
    next: str | None = None


class HubSource(Protocol):
    """Where a Hub server finds its repositories of one kind. Called from several threads."""

    def refs(self, repo_id: str) -> dict[str, str] | None:
        """The named revisions and their commits, `main` first; None where there is no such repository."""

    def snapshot(self, repo_id: str, revision: str) -> Snapshot | None:
        """The repository at a named revision or a full commit; None where it has none of that name."""

    def commits(self, repo_id: str) -> list[Snapshot]:
        """Every commit, the newest first."""

    def find(self, wanted: Wanted, *, limit: int, after: str | None) -> Page:
        """Repositories at `main`. Raises Refused for an `after` that no page gave."""

    def is_sound(self, file: ServedFile) -> bool:
        """Whether its bytes are still what they were; else they are not served."""


class FolderSource:
    """Folders of files, each under a fixed id and commit. Files are hashed once, and must not change after that."""

    def __init__(self, folders: Mapping[str, tuple[Path, str, Mapping[str, Any]]]) -> None:
        self._folders = dict(folders)
        self._snapshots: dict[str, Snapshot] = {}

    def refs(self, repo_id: str) -> dict[str, str] | None:
        return {"main": self._folders[repo_id][1]} if repo_id in self._folders else None

    def snapshot(self, repo_id: str, revision: str) -> Snapshot | None:
        if repo_id not in self._folders or revision not in ("main", self._folders[repo_id][1]):
            return None
        if repo_id not in self._snapshots:
            self._snapshots[repo_id] = _read_folder(repo_id, *self._folders[repo_id])
        return self._snapshots[repo_id]

    def commits(self, repo_id: str) -> list[Snapshot]:
        only = self.snapshot(repo_id, "main")
        return [] if only is None else [only]

    def find(self, wanted: Wanted, *, limit: int, after: str | None) -> Page:
        mains = (self.snapshot(repo_id, "main") for repo_id in self._folders)
        return page_by_name(filter(None, mains), wanted, limit, after)

    def is_sound(self, file: ServedFile) -> bool:
        return file.local.is_file()


def page_by_name(snapshots: Iterable[Snapshot], wanted: Wanted, limit: int, after: str | None) -> Page:
    """A page of those whose names and facts fit, in their order; `after` is the place of the last of the page before.

    That one need not be there any more. Raises Refused where it is no place.
    """
    fitting = [each for each in snapshots if wanted.names(each.repo_id) and wanted.fits(each)]
    ordered = sorted(fitting, key=wanted.order, reverse=wanted.descending)
    if after is not None:
        last = _place(after)
        follows = operator.lt if wanted.descending else operator.gt
        ordered = [each for each in ordered if follows(wanted.order(each), last)]
    page = ordered[:limit]
    return Page(page, json.dumps(wanted.order(page[-1])) if len(ordered) > limit else None)


def _place(after: str) -> tuple[str, str]:
    """What `Wanted.order` said of the last one of a page."""
    try:
        key, name = json.loads(after)
    except (ValueError, TypeError, RecursionError):
        key = name = None
    if not isinstance(key, str) or not isinstance(name, str):
        raise Refused(
            f"{after[:80]!r} is no place in a list.", hint="Give `next` of the page before.", code="bad-cursor"
        )
    return key, name


def _read_folder(repo_id: str, folder: Path, commit: str, info: Mapping[str, Any]) -> Snapshot:
    card = read_card(folder / "README.md")
    said = {"license": card.license, "language": list(card.languages)}
    given: dict[str, Any] = {
        "pipeline_tag": card.pipeline_tag,
        "library_name": "transformers",
        "cardData": {key: item for key, item in said.items() if item},
        "tags": [],
    }
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    served = (_served(path, path.relative_to(folder).as_posix()) for path in paths)
    files = {file.path: file for file in served}
    return Snapshot(repo_id, commit, lambda: files, {**given, **info})


def _served(path: Path, name: str) -> ServedFile:
    blob = digest_of(path)
    is_lfs = blob.size_bytes >= LFS_BYTES or path.suffix in LFS_SUFFIXES
    return ServedFile(name, blob.size_bytes, blob.sha256, path, None if is_lfs else _git_sha1(path.read_bytes()))


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
