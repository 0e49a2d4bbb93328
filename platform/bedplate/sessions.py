"""Browsers: sessions behind a cookie, and the one-time links that begin one.

A session's cookie holds 256 random bits, of which the database keeps the digest. Its CSRF token is derived from them:
another site's page can make a browser send the cookie, and can read neither. A session that a key began ends with it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database, keys
from bedplate.database import sessions as table
from bedplate.keys import Key, digest

__all__ = ["COOKIE", "CSRF_HEADER", "LINK_SECONDS", "SCHEME_HEADER", "Links", "Session", "SessionStore", "is_own_page"]

COOKIE = "bedplate_session"
CSRF_HEADER = "x-csrf-token"
SCHEME_HEADER = "x-bedplate-scheme"  # how the browser reached the gateway, which says so
LINK_SECONDS = 600.0
MOST_LINKS = 10  # of one user, that wait to be used


@dataclass(frozen=True)
class Session:
    """One browser that is signed in; `key` is the id of the key that began the session."""

    owner: str
    expires: float
    key: str | None
    csrf_token: str = field(repr=False)


class SessionStore:
    """All reading and writing of sessions."""

    def __init__(self, database: Database, *, hours: float) -> None:
        self._database = database
        self.seconds = hours * 3600

    def create(self, owner: str, *, key: Key | None = None) -> str:
        """A new session; what its cookie holds. It does not outlive the key that began it."""
        text, now = secrets.token_urlsafe(32), time.time()
        expires = now + self.seconds
        if key is not None:
            text = f"{text}.{key.id}"  # which nobody can change: the digest is of all of it
            expires = min(expires, key.expires or expires)
        with self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.expires < now))
            connection.execute(table.insert().values(sha256=digest(text), owner=owner, created=now, expires=expires))
        return text

    def find(self, text: str) -> Session | None:
        """The session that this cookie stands for, while it lasts."""
        row: dict[str, Any] | None = self._database.row(sa.select(table).where(table.c.sha256 == digest(text)))
        if row is None or row["expires"] <= time.time():
            return None
        key = text.partition(".")[2] or None
        if key is not None and self._is_revoked(key):
            return None
        return Session(row["owner"], row["expires"], key, _csrf_token(text))

    def end(self, text: str) -> None:
        with self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.sha256 == digest(text)))

    def end_all(self, owner: str) -> None:
        """Of one user, for example when he is disabled."""
        with self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.owner == owner))

    def _is_revoked(self, key: str) -> bool:
        row = self._database.row(sa.select(keys.c.revoked).where(keys.c.id == key))
        return row is None or row["revoked"] is not None


class Links:
    """Codes that begin one session each, within ten minutes. They are kept in memory: a restart ends them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[str, _Link] = {}

    def create(self, owner: str, key: str | None = None) -> str:
        """A new code for a user; `key` is the one that asks for it. Of a user's codes the newest few stay."""
        code, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._open = {place: link for place, link in self._open.items() if link.until > now}
            mine = [place for place, link in self._open.items() if link.owner == owner]
            for place in mine[: max(0, len(mine) - MOST_LINKS + 1)]:
                del self._open[place]
            self._open[digest(code)] = _Link(owner, key, now + LINK_SECONDS)
        return code

    def take(self, code: str) -> tuple[str, str | None] | None:
        """Whose link it is, and the key that it was made with; there is no second time."""
        with self._lock:
            link = self._open.pop(digest(code), None)
        return (link.owner, link.key) if link is not None and link.until > time.monotonic() else None

    def end_all(self, owner: str) -> None:
        with self._lock:
            self._open = {place: link for place, link in self._open.items() if link.owner != owner}


@dataclass(frozen=True)
class _Link:
    """`until` by the monotonic clock."""

    owner: str
    key: str | None
    until: float


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of this very server, as the browser says.

    By the Origin, which it sends with every unsafe request: `null` is not ours, nor is a page that came without TLS to
    a server that has it. Where none is sent, by Sec-Fetch-Site, which no page can set.
    """
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    scheme, _, place = origin.lower().partition("://")
    schemes = ("https",) if headers.get(SCHEME_HEADER) == "https" else ("http", "https")
    return scheme in schemes and bool(place) and place == headers.get("host", "").lower()


def _csrf_token(text: str) -> str:
    return hashlib.sha256(b"csrf:" + text.encode("utf-8", "surrogatepass")).hexdigest()
