"""Keys: shown once, stored as a digest, scoped, owned by a user, revocable. 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database
from bedplate.database import keys as table
from bedplate.users import LOCAL, SCOPES, User, permissions_of
from bedplate_registry.errors import NotFound, Refused, nearest

__all__ = ["SLOTS", "Key", "KeyStore", "digest"]

SLOTS = ("primary", "secondary")  # of an endpoint: one is in use while the other is changed
MAX_DAYS = 36_500
MAX_LIMIT = 1_000_000  # requests in a second, or open at once
MIN_RATE = 1 / 3600
MAX_NAME = 200


@dataclass(frozen=True)
class Key:
    """One key, without the key itself. `rate` is in requests a second, `concurrency` in open requests."""

    id: str
    name: str
    owner: str
    sha256: str
    scopes: tuple[str, ...]
    endpoints: tuple[str, ...] | None
    slot: str | None
    rate: float | None
    concurrency: int | None
    created: float
    expires: float | None
    revoked: float | None

    @property
    def is_valid(self) -> bool:
        return self.revoked is None and (self.expires is None or self.expires > time.time())

    def to_json(self) -> dict[str, Any]:
        shown = {name: value for name, value in vars(self).items() if name != "sha256"}
        return shown | {"scopes": list(self.scopes), "endpoints": list(self.endpoints) if self.endpoints else None}


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class KeyStore:
    """All reading and writing of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        owner: str = LOCAL.name,
        endpoints: Sequence[str] | None = None,
        slot: str | None = None,
        days: float | None = None,
        rate: float | None = None,
        concurrency: int | None = None,
    ) -> tuple[Key, str]:
        """A new key and its text, which is shown this once. Raises Refused for a value that is not accepted."""
        _check(name, scopes, endpoints)
        _check_limit("days", days, MAX_DAYS)
        _check_limit("rate", rate, MAX_LIMIT, MIN_RATE)
        _check_limit("concurrency", concurrency, MAX_LIMIT)
        text = f"bp_{secrets.token_urlsafe(32)}"
        now, key_id = time.time(), f"key-{secrets.token_hex(4)}"
        values = {
            "id": key_id,
            "name": name,
            "owner": owner,
            "sha256": digest(text),
            "scopes": list(scopes),
            "endpoints": list(endpoints) if endpoints else None,
            "slot": slot,
            "rate": rate,
            "concurrency": concurrency,
            "created": now,
            "expires": None if days is None else now + days * 86400,
        }
        with self._lock:  # of two that fill a slot at once the later one stays
            ends = [old.id for old in self.of_endpoint(endpoints[0]) if old.slot == slot] if slot and endpoints else []
            with self._database.begin() as connection:
                connection.execute(table.delete().where(table.c.id.in_(ends)))
                connection.execute(table.insert().values(**values))
        return self.get(key_id), text

    def rotate(self, endpoint: str, slot: str) -> tuple[Key, str]:
        """A new key in a slot of an endpoint; the one that was there ends at once. Raises Refused for another slot."""
        if slot not in SLOTS:
            raise Refused(f"An endpoint has no key {slot!r}.", hint=nearest(slot, SLOTS), code="unknown-slot")
        return self.create(f"endpoint {endpoint} {slot}", ["infer"], endpoints=[endpoint], slot=slot)

    def get(self, key_id: str) -> Key:
        row = self._database.row(sa.select(table).where(table.c.id == key_id))
        if row is None:
            raise _unknown(key_id)
        return _key(row)

    def find(self, text: str) -> Key | None:
        """The valid key that has this text."""
        row = self._database.row(sa.select(table).where(table.c.sha256 == digest(text)))
        return _key(row) if row is not None and _key(row).is_valid else None

    def all(self, owner: str | None = None) -> list[Key]:
        """The keys of one user, or of all and of endpoints too, oldest first."""
        query = sa.select(table).order_by(table.c.created, table.c.id)
        if owner is not None:
            query = query.where(table.c.owner == owner, table.c.slot.is_(None))
        return [_key(row) for row in self._database.rows(query)]

    def of_endpoint(self, endpoint: str) -> list[Key]:
        """The endpoint's own keys, primary first."""
        found = [key for key in self.all() if key.slot and key.endpoints == (endpoint,)]
        return sorted(found, key=lambda key: str(key.slot))

    def for_gateway(self, find_user: Callable[[str], User | None]) -> dict[str, dict[str, Any]]:
        """Every valid key by its digest, as the routing snapshot holds it. `infer` is among the scopes of those that
        may score: what the role of their owner allows today counts."""
        found = {}
        for key in self.all():
            user = find_user(key.owner)
            if not key.is_valid or (key.slot is None and (user is None or user.disabled)):
                continue
            may_score = key.slot is not None or (user is not None and "infer" in permissions_of(user.role, key.scopes))
            found[key.sha256] = {
                "id": key.id,
                "scopes": ["infer"] if may_score else [],
                "endpoints": list(key.endpoints) if key.endpoints else None,
                "expires": key.expires,
                "rate": key.rate,
                "concurrency": key.concurrency,
            }
        return found

    def revoke(self, key_id: str, *, owner: str | None = None) -> Key:
        """End a key; of one user's keys only where `owner` is given. Raises NotFound."""
        key = self.get(key_id)
        if owner is not None and (key.owner != owner or key.slot):
            raise _unknown(key_id)
        if key.revoked is None:
            with self._database.begin() as connection:
                connection.execute(table.update().where(table.c.id == key_id).values(revoked=time.time()))
        return self.get(key_id)

    def drop_endpoint(self, endpoint: str) -> None:
        """Its own keys end with it; those of users that were limited to it, and to others, stay."""
        ids = [key.id for key in self.of_endpoint(endpoint)]
        with self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.id.in_(ids)))


def _key(row: dict[str, Any]) -> Key:
    endpoints = row["endpoints"]
    return Key(**{**row, "scopes": tuple(row["scopes"]), "endpoints": tuple(endpoints) if endpoints else None})


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"There is no key {key_id!r}.", hint="List them with: bedplate keys list", code="no-key")


def _check(name: str, scopes: Sequence[str], endpoints: Sequence[str] | None) -> None:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise Refused(f"{name[:MAX_NAME]!r} is not a name.", hint=f"Say in 1 to {MAX_NAME} characters what it is for.")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise Refused(
            f"Scopes {list(scopes)!r} are not accepted.",
            hint=f"Choose from: {', '.join(SCOPES)}.",
            code="unknown-scope",
        )
    if endpoints is not None and (not endpoints or set(scopes) != {"infer"}):
        raise Refused(
            "A key that is limited to endpoints scores there and does nothing else.",
            hint="Name one endpoint or more, and give it the one scope infer.",
            code="endpoint-key-scopes",
        )


def _check_limit(name: str, value: float | None, most: int, least: float = 0) -> None:
    if value is not None and not (math.isfinite(value) and 0 < value <= most and value >= least):
        floor = f"at least {least:.2g}" if least else "more than 0"
        raise Refused(f"{name}={value!r} is not accepted.", hint=f"Give {floor} and at most {most}.")
