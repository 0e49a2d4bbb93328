"""Taking away what nothing in the registry needs any more: `bedplate models gc`.

    blobs               that no manifest and no job names
    incoming, staging   downloads and folders that nobody goes on with
    damaged             files that `verify` set aside
    .tmp-…              what a killed publication left

Each only when it was not stored, written to or asked for (`Blobs.keep`) for a grace period, and since before any import
that still runs. An import holds a *lease*, a locked file that says when it began and, once it has ended, when that was:

    blobs/leases/<id>   mtime: the beginning; ctime: the end

So a draft may be published for a grace period after its import has ended. Nothing is taken away while a manifest
cannot be read, since what it needs is then unknown.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import durable
from .blobs import Blobs, locked
from .datasets import DatasetVersion
from .errors import BedplateError, Conflict, NotFound, Refused
from .models import ModelVersion
from .names import Ref
from .registry import Registry
from .store import VersionStore

__all__ = ["GRACE_SECONDS", "Collection", "Garbage", "collect", "paused"]

GRACE_SECONDS = 24 * 3600.0
LOCK = ".gc"
_SHOWN = 5
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Garbage:
    """One thing that nothing needs."""

    kind: str  # blob | partial | staging | damaged | leftover
    name: str
    size_bytes: int


@dataclass(frozen=True)
class Collection:
    """What was taken away, or would be."""

    garbage: tuple[Garbage, ...]
    dry_run: bool

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.garbage)


@contextmanager
def paused(root: Path) -> Iterator[None]:
    """While this is held nothing is collected in the registry at `root`, as by a backup that copies it."""
    with locked(durable.make_folder(root / "blobs") / LOCK):
        yield


def collect(
    registry: Registry,
    *,
    needed: Callable[[], Iterable[str]] = lambda: (),
    grace_seconds: float = GRACE_SECONDS,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> Collection:
    """Take away what nothing needs. `needed` gives the digests that jobs name: their data, their drafts.

    Raises Conflict where a manifest cannot be read or another collection runs; nothing is then taken away.
    """
    try:
        with locked(durable.make_folder(registry.blobs.root) / LOCK, wait=False):
            cutoff = _cutoff(registry.blobs, clock() - grace_seconds)
            wanted = set(needed())  # before the manifests: what a job publishes meanwhile is in one or the other
            wanted |= _named_by_manifests(registry)
            return Collection(tuple(_Sweep(registry, wanted, cutoff, dry_run=dry_run)), dry_run)
    except BlockingIOError:
        raise Conflict("Another collection runs.", hint="Wait until it has ended.", code="gc-running") from None


def _cutoff(blobs: Blobs, grace_begins: float) -> float:
    """What was used since then stays: the grace period, or the beginning of the oldest living lease."""
    cutoff = grace_begins
    for path in (blobs.root / "leases").glob("*"):
        with suppress(FileNotFoundError):
            began, ended = path.stat().st_mtime, path.stat().st_ctime
            with suppress(BlockingIOError), locked(path, wait=False):  # where it is held its import runs
                if ended < grace_begins:
                    path.unlink()
                    continue
            cutoff = min(cutoff, began)
    return cutoff


def _named_by_manifests(registry: Registry) -> set[str]:
    """Every digest in every manifest. Raises Conflict where one cannot be read, or names what is not here."""
    named: set[str] = set()
    problems = []
    for read in _manifests(registry):
        try:
            named |= read()
        except NotFound:
            continue  # deleted meanwhile
        except BedplateError as exc:
            problems.append(exc.message)
    if problems:
        more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
        raise Conflict(
            f"Nothing was removed, since it is not known what is needed. {' '.join(problems[:_SHOWN])}{more}",
            hint="Import a model again to bring back its files; take a damaged manifest from a backup, or give the "
            "version up: bedplate models delete NAME:VERSION (or datasets delete)",
            code="unreadable-manifest",
        )
    return named


def _manifests(registry: Registry) -> Iterator[Callable[[], set[str]]]:
    """For each version of each model and dataset what gives the digests in its manifest."""
    for folder, get in (("models", registry.models.get), ("datasets", registry.datasets.get)):
        store = VersionStore(registry.root / folder, folder.removesuffix("s"), "")
        for name in store.names():
            for number in store.numbers(name):
                yield partial(_digests, registry.blobs, store, get, Ref(name, number))


def _digests(
    blobs: Blobs, store: VersionStore, get: Callable[[Ref], ModelVersion | DatasetVersion], ref: Ref
) -> set[str]:
    """Every digest in one manifest, in whatever field. Raises Refused where it is damaged, NotFound where it went."""
    version = get(ref)
    own = [entry.sha256 for entry in version.files]
    for sha256 in own if isinstance(version, ModelVersion) else [version.sha256, *own]:
        # A digit that the disk turned over in a manifest reads well: what it meant would be garbage.
        if not blobs.has(sha256) and not blobs.is_set_aside(sha256):
            raise Refused(f"{ref} names a file that is not here ({sha256}).", code="missing-blob")
    value = dict(store.read(ref.name, version.version).value)
    lineage = value.get("lineage") or {}
    value["lineage"] = {key: item for key, item in lineage.items() if key != "converted_from"}  # pickles, not kept
    return set(_DIGEST.findall(json.dumps(value)))


class _Sweep:
    """The garbage, one by one; each is removed when it is reached, unless `dry_run`."""

    def __init__(self, registry: Registry, wanted: Set[str], cutoff: float, *, dry_run: bool) -> None:
        self._root, self._blobs, self._wanted = registry.root, registry.blobs, wanted
        self._cutoff, self._dry_run = cutoff, dry_run

    def __iter__(self) -> Iterator[Garbage]:
        blobs = self._blobs.root
        yield from self._each("blob", blobs.glob("sha256/*/*"), self._remove_blob)
        yield from self._each("damaged", blobs.glob("damaged/*"), durable.remove_file)
        yield from self._each("partial", blobs.glob("incoming/*.part"), self._remove_partial)
        for unfinished in ("incoming/*.tmp", "incoming/.tmp-*"):
            yield from self._each("partial", blobs.glob(unfinished), durable.remove_file)
        yield from self._each("partial", blobs.glob("incoming/*.client"), _remove)
        unused = (path for path in blobs.glob("incoming/*.lock") if not path.with_suffix(".part").exists())
        yield from self._each("partial", unused, self._remove_lock)
        idle = (path for path in blobs.glob("incoming/*.known") if not self._is_note_of_a_blob(path))
        yield from self._each("partial", idle, durable.remove_file)
        yield from self._each("staging", (self._root / "staging").glob("*"), _remove)
        for store in ("models", "datasets", "evaluations"):
            yield from self._each("leftover", _leftovers(self._root / store), _remove)

    def _each(self, kind: str, paths: Iterable[Path], remove: Callable[[Path], bool | None]) -> Iterator[Garbage]:
        for path in sorted(paths):
            with suppress(FileNotFoundError):  # an import has ended, a publication has swept
                if path.name in self._wanted or path.lstat().st_ctime >= self._cutoff:
                    continue
                found = Garbage(kind, path.name, _size_bytes(path))
                if self._dry_run or remove(path) is not False:
                    yield found

    def _is_note_of_a_blob(self, path: Path) -> bool:
        sha256 = path.read_bytes().decode("ascii", "replace")
        return _DIGEST.fullmatch(sha256) is not None and self._blobs.has(sha256)

    def _remove_blob(self, path: Path) -> bool:
        return self._blobs.discard(path.name, unused_since=self._cutoff)

    def _remove_lock(self, path: Path) -> bool:
        """That of a file which came in whole. Not while somebody holds it."""
        with suppress(BlockingIOError), locked(path, wait=False):
            path.unlink()
            return True
        return False

    def _remove_partial(self, path: Path) -> bool:
        """Also what was noted beside it. Not while somebody receives it."""
        with suppress(BlockingIOError), locked(path.with_suffix(".lock"), wait=False):
            durable.remove_file(path)
            path.with_suffix(".lock").unlink()
            return True
        return False


def _leftovers(store: Path) -> Iterator[Path]:
    """What killed publications left beside the names, the versions and the views of a store."""
    for place, folders, files in os.walk(store):  # which passes over what vanishes meanwhile, as a glob does not
        here = Path(place)
        yield from (here / name for name in (*folders, *files) if name.startswith(".tmp-"))
        is_version = len(here.relative_to(store).parts) == 3
        folders[:] = [] if is_version else [name for name in folders if not name.startswith(".tmp-")]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        durable.remove_folder(path)
    else:
        durable.remove_file(path)


def _size_bytes(path: Path) -> int:
    """Of a file or a folder; links in it are not followed."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(each.lstat().st_size for each in inside if each.is_file() and not each.is_symlink())
