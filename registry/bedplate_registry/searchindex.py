"""The index that search reads: one SQLite file with a full-text table, made from the registry's files.

It holds nothing of its own. It is made anew where it is missing, damaged or of another Bedplate, and before each use it
takes in what changed (changes.py). Any number of processes may use it at once; those that write hold search.lock.

    names    one row a name:    what its folder looked like when it was read
    models   one row a version: what can be filtered and sorted by
    bodies   of a version, how REST shows it; apart, since it is read for a page only
    facets   of a version, what it may have several of: alias, language, finetunable (task), author, dataset
    words    of a version, full text: name, the ends of its words (so that `bert` finds distilbert), facts, card
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from . import durable
from .blobs import locked
from .changes import changed_since
from .errors import BedplateError, Refused, Unavailable
from .licenses import license_id
from .models import Models, ModelVersion
from .names import Name

__all__ = ["SearchIndex", "words_of"]

SCHEMA = 3  # of the index, with what its facets mean: another one is made anew
RESCAN_SECONDS = 600.0  # until all folders are looked at again, for what came past us, such as a restored copy
RACY_NS = 2 * 10**9  # a folder that changed so short ago may change again without a new time
RACY = ""  # how such a folder looks: it is read again at the next look
WAIT_SECONDS = 30.0  # for another process that writes
COMMIT_NAMES = 500
CARD_CHARACTERS = 1 << 16
MOST_LABELS = 1000
# Codes of SQLite after which the file is made anew: damaged, without a table, or taken away while it was open.
DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}
TABLES = """
CREATE TABLE mark (value TEXT NOT NULL);
INSERT INTO mark VALUES ('');
CREATE TABLE names (name TEXT PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE models (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, listed INTEGER NOT NULL, state TEXT NOT NULL,
    task TEXT, license TEXT NOT NULL, created TEXT NOT NULL, size INTEGER NOT NULL, parameters INTEGER NOT NULL,
    source TEXT NOT NULL, source_id TEXT NOT NULL, UNIQUE (name, version)
);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE INDEX by_name ON models (name, version) WHERE listed = 1;
CREATE INDEX by_created ON models (created, name, version) WHERE listed = 1;
CREATE INDEX by_size ON models (size, name, version) WHERE listed = 1;
CREATE INDEX by_parameters ON models (parameters, name, version) WHERE listed = 1;
CREATE INDEX by_source ON models (source, source_id);
CREATE TABLE facets (
    kind TEXT NOT NULL, value TEXT NOT NULL, model INTEGER NOT NULL, PRIMARY KEY (kind, value, model)
) WITHOUT ROWID;
CREATE INDEX facets_of ON facets (model);
CREATE VIRTUAL TABLE words USING fts5 (name, ends, facts, card, tokenize = 'unicode61 remove_diacritics 2');
"""
ADD = "INSERT INTO models VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
log = logging.getLogger(__name__)
T = TypeVar("T")


class SearchIndex:
    """The index of one registry's models. Threads may share it."""

    def __init__(self, models: Models, folder: Path, path: Path) -> None:
        """`folder` is where the models lie, `path` where the index is to."""
        self._models, self._folder, self._path = models, folder, path
        self._looked: float | None = None  # when this process last looked at every folder

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives on an index that is up to date.

        Where none can be kept, as on a full disk, one is made in memory for this once: slower, and as right.
        """
        try:
            return self._read_file(work)
        except (sqlite3.Error, OSError, Unavailable) as exc:
            log.warning("%s cannot be used, so the registry is read anew: %s", self._path.name, exc)
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(TABLES)
            self._take_in(db, None, "")
            return work(db)

    def rebuild(self) -> None:
        """Make it anew."""
        self._make(self._inode())

    # --- the file ---

    def _read_file(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same with the file, which is made anew where it is missing, damaged or of another schema."""
        seen = self._inode()
        try:
            if seen is not None:
                return self._try(work)
        except sqlite3.Error as exc:
            if exc.sqlite_errorcode & 0xFF not in DAMAGED:
                raise
            log.warning("%s is damaged (%s): it is made anew", self._path.name, exc)
        except _OtherSchemaError:
            log.info("%s is of another Bedplate: it is made anew", self._path.name)
        self._make(seen)
        return self._try(work)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(_open(self._path)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                raise _OtherSchemaError
            self._refresh(db)
            return work(db)

    def _inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return None

    def _make(self, seen: int | None) -> None:
        """Make the index anew beside the one that was seen, and put it in its place; unless somebody just did."""
        new = self._path.with_name(f"{self._path.name}.new")
        durable.make_folder(self._path.parent)
        with self._locked():
            if self._inode() != seen:
                return
            for file in (new, _journal(new)):
                file.unlink(missing_ok=True)
            new.touch()
            with closing(_open(new)) as db:
                db.execute("PRAGMA synchronous = OFF")
                db.executescript(TABLES)
                self._take_in(db, None, "")
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            durable.flush(new)
            _journal(self._path).unlink(missing_ok=True)  # of the old file: SQLite would apply it to the new one
            durable.rename(new, self._path)
            self._looked = time.monotonic()

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._path.with_suffix(".lock"))

    # --- what it holds ---

    def _refresh(self, db: sqlite3.Connection) -> None:
        """Take in what changed since it was last up to date."""
        if self._changed(db)[0] == set():
            return
        with self._locked():
            names, mark = self._changed(db)
            if names == set():  # whoever held the lock took it in
                return
            self._take_in(db, names, mark)
            if names is None:
                self._looked = time.monotonic()

    def _changed(self, db: sqlite3.Connection) -> tuple[set[Name] | None, str]:
        names, mark = changed_since(self._folder, db.execute("SELECT value FROM mark").fetchone()[0])
        is_due = self._looked is None or time.monotonic() - self._looked > RESCAN_SECONDS
        return None if is_due else names, mark

    def _take_in(self, db: sqlite3.Connection, names: set[Name] | None, mark: str) -> None:
        """Read these names again, or all whose folders look different. The lock is held."""
        if names is None:
            _, mark = changed_since(self._folder, "")
        looked_at = _all_names(self._folder) if names is None else names
        looks = {str(name): _stamp(self._folder / name.folder) for name in looked_at}
        if names is None:
            known = dict(db.execute("SELECT name, stamp FROM names"))
            looks |= dict.fromkeys(known.keys() - looks.keys())
            looks = {name: look for name, look in looks.items() if look == RACY or look != known.get(name)}
        for count, (name, look) in enumerate(looks.items(), 1):
            self._read_again(db, Name.parse(name), look)
            if count % COMMIT_NAMES == 0:
                db.commit()
        db.execute("UPDATE mark SET value = ?", [mark])
        db.commit()

    def _read_again(self, db: sqlite3.Connection, name: Name, look: str | None) -> None:
        """Put all versions of a name in the place of what was known of it."""
        old = db.execute("SELECT id FROM models WHERE name = ?", [str(name)]).fetchall()
        db.executemany("DELETE FROM words WHERE rowid = ?", old)
        db.executemany("DELETE FROM facets WHERE model = ?", old)
        db.executemany("DELETE FROM bodies WHERE id = ?", old)
        db.executemany("DELETE FROM models WHERE id = ?", old)
        db.execute("DELETE FROM names WHERE name = ?", [str(name)])
        if look is None:
            return
        db.execute("INSERT INTO names VALUES (?, ?)", [str(name), look])
        aliases, listed = self._models.aliases(name), self._models.listed(name)
        for version in self._models.readable(name):
            self._add(db, version, aliases, version.version == listed)

    def _add(self, db: sqlite3.Connection, version: ModelVersion, aliases: Mapping[str, int], is_listed: bool) -> None:
        facts, name = version.facts, str(version.name)
        body = json.dumps({**version.to_json(), "aliases": aliases})
        row = [name, version.version, int(is_listed), version.state, facts.task, license_id(facts.license)]
        row += [version.created, facts.size_bytes, facts.parameters, version.source.kind, version.source.id]
        id = db.execute(ADD, row).lastrowid
        db.execute("INSERT INTO bodies VALUES (?, ?)", [id, body])
        facets = {
            *(("alias", alias) for alias in version.aliases),
            *(("language", language.lower()) for language in facts.languages),
            *(("finetunable", task) for task in facts.finetunable_tasks),
            *(("author", author.lower()) for author in (facts.author,) if author),
            *(("dataset", dataset.lower()) for dataset in facts.datasets),
        }
        db.executemany("INSERT INTO facets VALUES (?, ?, ?)", [(kind, value, id) for kind, value in facets])
        texts = (name, _ends(name), _facts_text(version), self._card(version))
        db.execute("INSERT INTO words (rowid, name, ends, facts, card) VALUES (?, ?, ?, ?, ?)", [id, *texts])

    def _card(self, version: ModelVersion) -> str:
        """As far as it is searched; of a damaged one nothing is."""
        try:
            return self._models.card(version)[:CARD_CHARACTERS]
        except BedplateError as exc:
            log.warning("%s: its card cannot be read: %s", version.ref, exc)
            return ""


class _OtherSchemaError(Exception):
    """Its tables are those of another version of this module."""


def _open(path: Path) -> sqlite3.Connection:
    """A file that is there; `connect` by itself would make an empty one."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=WAIT_SECONDS)


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _all_names(folder: Path) -> Iterator[Name]:
    """Whatever has a folder, with versions or not."""
    for org in _folders(folder):
        for entry in _folders(Path(org.path)):
            with suppress(Refused):  # a folder that somebody else put there
                yield Name.parse(entry.name if org.name == "_" else f"{org.name}/{entry.name}")


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except FileNotFoundError:
        return []


def _stamp(folder: Path) -> str | None:
    """What tells one state of a name's folder from another, without reading files; None where there is no folder.

    Whatever is in it counts: a version adds a folder, an alias or a state a line to a file.
    """
    try:
        with os.scandir(folder) as entries:
            parts = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries if entry.name[0] != ".")
    except FileNotFoundError:
        return RACY if folder.is_dir() else None
    newest = max((stat.st_mtime_ns for _, stat in parts), default=0)
    if newest > time.time_ns() - RACY_NS:
        return RACY
    return " ".join(f"{name}:{stat.st_mtime_ns}:{stat.st_size}" for name, stat in parts) or "empty"


def words_of(text: str) -> list[str]:
    """The words of a text, as the index tells them apart."""
    return re.findall(r"[^\W_]+", text)


def _ends(name: str) -> str:
    """Every end of every word, since the index finds words by how they begin."""
    return " ".join(word[at:] for word in words_of(name) for at in range(1, len(word) - 1))


def _facts_text(version: ModelVersion) -> str:
    facts = version.facts
    known = (facts.task, facts.architecture, facts.model_type, facts.license, facts.author, facts.library)
    several = (*facts.finetunable_tasks, *facts.languages, *facts.labels[:MOST_LABELS])
    several += (*facts.datasets, *facts.base_model)
    return "\n".join(text for text in (*known, version.source.id, *several) if text)
