"""The audit log: who changed what, when, from where and how it ended. Append-only, each entry bound to the one before.

An entry's hash is the SHA-256 of the hash before it and of its own fields as canonical JSON: whoever changes, removes
or adds one in the middle breaks the chain from there on. Whoever can rewrite all of it, or cuts off its end, is found
only by a hash noted elsewhere: each entry's hash goes to the server's log too, and `audit verify --expect SEQ:HASH`
compares. It holds no request bodies and no secrets.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database
from bedplate.database import audit as table
from bedplate_registry.errors import BedplateError, Unavailable

__all__ = ["AuditLog", "Entry", "Verdict"]

log = logging.getLogger(__name__)

START = "0" * 64  # what the first entry is bound to
CHUNK = 1000


@dataclass(frozen=True)
class Entry:
    """One line. `action` is a method and a route, such as `POST /api/v1/jobs`, or what the server did itself."""

    seq: int
    time: float
    who: str
    action: str
    detail: dict[str, Any]
    previous: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What a walk along the chain found: the last entry that is right, and what is wrong behind it."""

    entries: int
    seq: int
    hash: str
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "intact": self.problem is None}


class AuditLog:
    """All reading and writing of the audit log. One server writes it, one entry at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._head: tuple[int, str] | None = None  # read at the first entry, and again after a failed one
        self._missed: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def is_broken(self) -> bool:
        """Whether there are entries that could not be kept. They are, before anything more is changed."""
        return bool(self._missed)

    def record(self, who: str, action: str, detail: dict[str, Any]) -> Entry:
        """Raises Unavailable, code `audit-unavailable`, where the entry cannot be kept now; it is kept later."""
        with self._lock:
            try:
                self._catch_up()
                return self._append(who, action, detail)
            except Unavailable:
                self._missed.append((who, action, detail))
                raise

    def check(self) -> None:
        """Before a change: what could not be kept has to be by now. Raises Unavailable."""
        with self._lock:
            self._catch_up()

    def _catch_up(self) -> None:
        while self._missed:
            who, action, detail = self._missed[0]
            self._append(who, action, {**detail, "recorded": "late"})
            del self._missed[0]

    def entries(
        self, *, limit: int, before: int | None = None, who: str | None = None, action: str | None = None
    ) -> list[Entry]:
        """The newest first; of one user, and with that in their action."""
        query = sa.select(table).order_by(table.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.seq < before)
        if who is not None:
            query = query.where(table.c.who == who)
        if action is not None:
            query = query.where(table.c.action.icontains(action, autoescape=True))
        return [Entry(**row) for row in self._database.rows(query)]

    def count(self) -> int:
        """How many there are, by the number of the last one."""
        return self._last()[0]

    def verify(self) -> Verdict:
        """Walk along the chain from its beginning."""
        seq, head = 0, START
        for entry in self._walk():
            problem = _problem(entry, seq, head)
            if problem is not None:
                return Verdict(self.count(), seq, head, problem)
            seq, head = entry.seq, entry.hash
        return Verdict(seq, seq, head, None)

    def _append(self, who: str, action: str, detail: dict[str, Any]) -> Entry:
        try:
            seq, previous = self._head or self._last()
            now = time.time()
            mark = _hash(previous, seq + 1, now, who, action, detail)
            entry = Entry(seq + 1, now, who, action, detail, previous, mark)
            with self._database.begin() as connection:
                connection.execute(table.insert().values(**asdict(entry)))
        except (BedplateError, sa.exc.SQLAlchemyError) as exc:
            self._head = None
            raise Unavailable(
                "The audit log cannot be written.",
                hint="What was asked for may have been done; nothing more is, until the log can be written again. "
                "Look at the disk or the database of the server.",
                code="audit-unavailable",
            ) from exc
        self._head = entry.seq, entry.hash
        log.info("audit %s %s %s", who, action, entry.hash, extra={"audit_seq": entry.seq})
        return entry

    def _last(self) -> tuple[int, str]:
        row = self._database.row(sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1))
        return (row["seq"], row["hash"]) if row else (0, START)

    def _walk(self) -> Iterator[Entry]:
        seq: int | None = None
        while True:
            query = sa.select(table).order_by(table.c.seq).limit(CHUNK)
            rows = self._database.rows(query if seq is None else query.where(table.c.seq > seq))
            yield from (Entry(**row) for row in rows)
            if len(rows) < CHUNK:
                return
            seq = rows[-1]["seq"]


def _problem(entry: Entry, seq: int, head: str) -> str | None:
    if entry.seq != seq + 1:
        return f"Entry {seq + 1} is missing: the next one is {entry.seq}."
    if entry.previous != head:
        return f"Entry {entry.seq} is not bound to the one before it: one of the two was put in place of another."
    if entry.hash != _hash(entry.previous, entry.seq, entry.time, entry.who, entry.action, entry.detail):
        return f"Entry {entry.seq} was changed after it was written."
    return None


def _hash(previous: str, seq: int, time: float, who: str, action: str, detail: dict[str, Any]) -> str:
    fields = json.dumps([seq, time, who, action, detail], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}{fields}".encode()).hexdigest()
