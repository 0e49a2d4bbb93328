"""Keys: shown once, stored as a digest, scoped, revocable. 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database
from bedplate.database import keys as table
from bedplate_registry.errors import NotFound, Refused

__all__ = ["SCOPES", "Key", "KeyStore", "digest"]

SCOPES = ("infer", "batch", "train", "import", "admin")


@dataclass(frozen=True)
class Key:
    """One key, without the key itself."""

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    endpoint: str | None
    created: float
    expires: float | None
    revoked: float | None

    @property
    def is_valid(self) -> bool:
        return self.revoked is None and (self.expires is None or self.expires > time.time())

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "endpoint": self.endpoint,
            "created": self.created,
            "expires": self.expires,
            "revoked": self.revoked,
        }


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class KeyStore:
    """All reading and writing of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, scopes: list[str], *, endpoint: str | None = None, days: float | None = None
    ) -> tuple[Key, str]:
        """A new key and its text, which is shown this once. Raises Refused for an unknown scope."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise Refused(f"Scopes {scopes!r} are not accepted.", hint=f"Choose from: {', '.join(SCOPES)}.")
        text = f"bp_{secrets.token_urlsafe(32)}"
        now, key_id = time.time(), f"key-{secrets.token_hex(4)}"
        values = {
            "id": key_id,
            "name": name,
            "sha256": digest(text),
            "scopes": scopes,
            "endpoint": endpoint,
            "created": now,
            "expires": None if days is None else now + days * 86400,
        }
        with self._database.begin() as connection:
            connection.execute(table.insert().values(**values))
        return self.get(key_id), text

    def get(self, key_id: str) -> Key:
        row = self._database.row(sa.select(table).where(table.c.id == key_id))
        if row is None:
            raise NotFound(f"There is no key {key_id!r}.", hint="List them with: bedplate keys list")
        return _key(row)

    def find(self, text: str) -> Key | None:
        """The valid key that has this text."""
        row = self._database.row(sa.select(table).where(table.c.sha256 == digest(text)))
        return _key(row) if row is not None and _key(row).is_valid else None

    def all(self) -> list[Key]:
        return [_key(row) for row in self._database.rows(sa.select(table).order_by(table.c.created))]

    def revoke(self, key_id: str) -> Key:
        self.get(key_id)
        with self._database.begin() as connection:
            connection.execute(table.update().where(table.c.id == key_id).values(revoked=time.time()))
        return self.get(key_id)

    def drop_endpoint(self, endpoint: str) -> None:
        with self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.endpoint == endpoint))


def _key(row: dict[str, Any]) -> Key:
    return Key(**{**row, "scopes": tuple(row["scopes"])})
