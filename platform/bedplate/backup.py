"""A backup of a home, made while its server works: one folder.

    backup.json     what it is; written last, so that without it the folder is no backup
    SHA256SUMS      a line for each other file, as `sha256sum -c` reads it
    bedplate.db     the metadata database of one moment, as SQLite whichever database the server uses
    id              which home it is of
    registry/       manifests, aliases, evaluations, and all files of models and data, each once
    jobs/           spec, events, metrics, log, result and outputs of each job

The database is copied first. What it speaks of was durable before, and the rest of a home only grows: so whatever the
database names is in the backup, and some things that came later are too. Left out: checkpoints, so that a job that runs
begins anew; logs of the server; the loopback token; settings, which are the environment's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import bedplate
from bedplate.database_copy import dump
from bedplate.database_engine import make_engine
from bedplate.home import Home
from bedplate.settings import Settings
from bedplate_registry.durable import write_bytes, write_json
from bedplate_registry.errors import Conflict, NotFound, Refused, Unavailable
from bedplate_registry.gc import paused

__all__ = ["BLOBS", "DATABASE", "ID", "SUMS", "Backup", "copy_file", "make_backup", "read_backup"]

FORMAT = 1
SUMS, ABOUT, DATABASE, ID = "SHA256SUMS", "backup.json", "bedplate.db", "id"
BLOBS = Path("registry/blobs/sha256")
CHUNK_BYTES = 1 << 20
# Of a job's folder: what its supervisors wrote is about processes that are gone by the time of a restore.
OF_PROCESSES = ("supervisor-", "started-", "exit-", "heartbeat-")
Progress = Callable[[int, int], None]  # bytes that are done, bytes in all


@dataclass(frozen=True)
class Backup:
    """What backup.json says. `damaged` are files of the registry whose bytes were wrong, and which are left out."""

    format: int
    release: str
    home: str
    created: float
    files: int
    size_bytes: int
    sums: str  # SHA-256 of SHA256SUMS, and with it of everything
    damaged: tuple[str, ...] = ()


def make_backup(
    settings: Settings, home: Home, target: Path, *, base: Path | None = None, progress: Progress = lambda *_: None
) -> Backup:
    """Make a backup in `target`, a folder that is new or empty. A server may be at work, or none.

    Files of models and data that an earlier backup `base` holds are linked from there rather than copied: the two share
    them on the disk. Raises NotFound for a home that is none, Conflict for a folder that is not empty, Unavailable
    where there is no room.
    """
    engine = make_engine(home.database, settings.database_url)
    if not home.registry.is_dir() or (settings.database_url is None and not home.database.exists()):
        raise NotFound(f"There is nothing to back up at {str(home.path)!r}.", hint="Name the folder with --home.")
    _check_target(target, home)
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o700)
    try:
        dump(engine, target / DATABASE)
    finally:
        engine.dispose()
    write_bytes(target / ID, home.id.encode(), mode=0o600)
    writer = _Writer(home.path, target, base, progress)
    with paused(home.registry):
        writer.write(_entries(home))
    os.sync()  # all of it at once, rather than file by file
    sums = b"".join(os.fsencode(f"{digest}  {path}\n") for path, digest in sorted(writer.sums.items()))
    (target / SUMS).write_bytes(sums)
    about = Backup(
        format=FORMAT,
        release=bedplate.__version__,
        home=home.id,
        created=time.time(),
        files=len(writer.sums),
        size_bytes=writer.done,
        sums=hashlib.sha256(sums).hexdigest(),
        damaged=tuple(sorted(writer.damaged)),
    )
    write_json(target / ABOUT, asdict(about))
    return about


def read_backup(folder: Path) -> tuple[Backup, dict[str, str]]:
    """What a backup is, and its files with their digests. Raises Refused for anything but a whole one."""
    try:
        raw = json.loads((folder / ABOUT).read_bytes())
        about = Backup(**{**raw, "damaged": tuple(raw["damaged"])})
        sums = (folder / SUMS).read_bytes()
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise Refused(
            f"{str(folder)!r} is not a whole backup: {ABOUT} or {SUMS} is missing or cannot be read.",
            hint="Name the folder that `bedplate backup` made, to its end.",
            code="no-backup",
        ) from exc
    if about.format != FORMAT:
        raise Refused(
            f"This backup has the format {about.format}; this release reads {FORMAT}.",
            hint=f"Restore it with the release that made it: {about.release}.",
            code="no-backup",
        )
    if hashlib.sha256(sums).hexdigest() != about.sums:
        raise Refused(f"{SUMS} of this backup was changed.", hint="Take another backup.", code="damaged-backup")
    lines = (line.partition("  ") for line in os.fsdecode(sums).split("\n") if line)
    return about, {path: digest for digest, _, path in lines}


def copy_file(source: Path, target: Path) -> str:
    """Copy a plain file; the SHA-256 of what was copied. Raises OSError for anything but a plain file, a link too."""
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    digest = hashlib.sha256()
    with os.fdopen(handle, "rb") as reader:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(None, "not a plain file", str(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                writer.write(chunk)
                digest.update(chunk)
            os.fchmod(writer.fileno(), os.fstat(handle).st_mode & 0o777)
    return digest.hexdigest()


class _Writer:
    """Copies files of a home into a backup, and keeps their digests."""

    def __init__(self, home: Path, target: Path, base: Path | None, progress: Progress) -> None:
        self._home, self._target, self._base, self._progress = home, target, base, progress
        self.sums: dict[str, str] = {}
        self.damaged: list[str] = []
        self.done = 0

    def write(self, entries: Iterator[Path]) -> None:
        paths = list(entries)
        total = sum(self._size(path) for path in paths)
        _check_room(self._target, total)
        for name in (DATABASE, ID):
            self.sums[name] = hashlib.sha256((self._target / name).read_bytes()).hexdigest()
        for path in paths:
            with suppress(FileNotFoundError):  # of a job that was started over meanwhile
                self._write(path)
            self.done += self._size(path)
            self._progress(self.done, total)

    def _write(self, path: Path) -> None:
        is_blob = path.is_relative_to(BLOBS)
        if is_blob and self._base is not None and self._link(path, self._base):
            return
        digest = copy_file(self._home / path, self._target / path)
        if is_blob and digest != path.name:
            (self._target / path).unlink()
            self.damaged.append(path.name)
            return
        self.sums[path.as_posix()] = digest

    def _link(self, path: Path, base: Path) -> bool:
        """Whether the earlier backup has it and can share it. Its bytes were checked then, and are at a restore."""
        with suppress(OSError):
            if (base / path).stat().st_size == self._size(path):
                (self._target / path).parent.mkdir(parents=True, exist_ok=True)
                (self._target / path).hardlink_to(base / path)
                self.sums[path.as_posix()] = path.name
                return True
        return False

    def _size(self, path: Path) -> int:
        try:
            return (self._home / path).lstat().st_size
        except FileNotFoundError:
            return 0


def _entries(home: Home) -> Iterator[Path]:
    """The files of a home, by their paths in it: manifests before the blobs that they name."""
    for store in ("models", "datasets", "evaluations"):
        yield from _plain_files(home.registry / store, home.path)
    yield from _plain_files(home.path / BLOBS, home.path)
    for job in sorted(home.jobs.iterdir()) if home.jobs.is_dir() else ():
        if job.is_dir() and not job.is_symlink():
            here = (path for path in sorted(job.iterdir()) if not path.name.startswith(OF_PROCESSES))
            yield from (path.relative_to(home.path) for path in here if _is_wanted(path))
            yield from _plain_files(job / "outputs", home.path)


def _plain_files(folder: Path, root: Path) -> Iterator[Path]:
    """Plain files below a folder. What begins with a dot is a lock, or not finished; links are views of blobs."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(files)):
            if _is_wanted(path):
                yield path.relative_to(root)


def _is_wanted(path: Path) -> bool:
    """A worker may give a file any name; one of two lines has no line in SHA256SUMS."""
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".") and "\n" not in path.name


def _check_target(target: Path, home: Home) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        hint = "Name a new folder for each backup; --base shares what is in an earlier one."
        raise Conflict(f"{str(target)!r} is there already and not empty.", hint=hint, code="not-empty")
    if target.resolve().is_relative_to(home.path.resolve()):
        hint = "Name a folder on another disk, or a share."
        raise Refused("A backup inside the home would be lost with it.", hint=hint, code="backup-in-home")


def _check_room(target: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(target).free
    if free < size_bytes:
        raise Unavailable(
            f"The backup needs {size_bytes / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free at {str(target)!r}.",
            hint="Make room there, or name another folder; --base shares what is in an earlier backup.",
            code="no-room",
        )
