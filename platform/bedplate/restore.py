"""Make a home from a backup. Every byte is checked against its digest before the home is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from bedplate.audit import AuditLog
from bedplate.backup import BLOBS, DATABASE, ID, Backup, copy_file, read_backup
from bedplate.database import Database
from bedplate.database import replicas as replicas_table
from bedplate.database_copy import check_empty, load
from bedplate.database_engine import make_engine
from bedplate.home import Home
from bedplate.settings import Settings
from bedplate_registry import durable
from bedplate_registry.blobs import seal
from bedplate_registry.errors import Conflict, Refused

__all__ = ["Restored", "restore_backup"]

STAGING = "restore.tmp"  # in the home, since that may be a disk of its own


@dataclass(frozen=True)
class Restored:
    """What was restored: the backup, and what is wrong with its audit log, if anything is."""

    backup: Backup
    audit_entries: int
    audit_problem: str | None


def restore_backup(
    settings: Settings, source: Path, home: Home, *, progress: Callable[[int, int], None] = lambda *_: None
) -> Restored:
    """Fill an empty home, and the database that `settings` names, from a backup.

    A restore that was killed can be run again. The replicas of the time are forgotten: the server starts others. Raises
    Refused for what is no whole backup or was changed, Conflict where home or database hold something already.
    """
    about, digests = read_backup(source)
    _check_empty_home(home)
    engine = make_engine(home.database, settings.database_url)
    check_empty(engine)
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.path.chmod(0o700)
    with _staged(home.path / STAGING) as staging:
        for number, (path, digest) in enumerate(sorted(digests.items()), 1):
            _restore_file(source, staging, path, digest)
            progress(number, len(digests))
        if (staging / ID).exists():
            (staging / ID).chmod(0o600)  # a backup of an earlier release kept no mode for it
        os.sync()  # all of it at once, rather than file by file
        for name in ("registry", "jobs", ID):  # nothing that a server would take for its own before all is checked
            if (staging / name).exists():
                durable.rename(staging / name, home.path / name)
        load(staging / DATABASE, engine)
        engine.dispose()
    return _opened(settings, home, about)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A new folder for files that are not checked yet; it goes in the end, also where one was refused."""
    shutil.rmtree(folder, ignore_errors=True)  # of a restore that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _restore_file(source: Path, staging: Path, path: str, digest: str) -> None:
    inner = PurePosixPath(path)
    if inner.is_absolute() or ".." in inner.parts:
        raise Refused(f"The backup names the path {path!r}.", hint="Take another backup.", code="damaged-backup")
    try:
        found = copy_file(source / inner, staging / inner)
    except FileNotFoundError:
        found = "missing"
    if found != digest:
        what = "is missing from" if found == "missing" else "has other bytes in"
        raise Refused(
            f"{path} {what} the backup. Nothing was restored.",
            hint="Take another backup; one that shares files with this one may have the same flaw.",
            code="damaged-backup",
        )
    if inner.is_relative_to(BLOBS):
        seal(staging / inner, digest)  # or it would be read once more at its first use


def _opened(settings: Settings, home: Home, about: Backup) -> Restored:
    """By opening it the database comes to the schema of this release, and shows that it is whole."""
    database = Database(home.database, settings.database_url, home_id=home.id)
    try:
        with database.begin() as connection:
            connection.execute(sa.delete(replicas_table))
        verdict = AuditLog(database).verify()
    finally:
        database.close()
    return Restored(about, verdict.entries, verdict.problem)


def _check_empty_home(home: Home) -> None:
    if home.path.exists() and (not home.path.is_dir() or {path.name for path in home.path.iterdir()} - {STAGING}):
        raise Conflict(
            f"{str(home.path)!r} is not empty.",
            hint="A backup is restored into a new or empty folder: name one with --home, or move this one away.",
            code="not-empty",
        )
