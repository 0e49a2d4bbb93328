"""Keys of users; those of an endpoint are the endpoint's (endpoints.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bedplate.records import Record
from bedplate.tables import Table
from bedplate.wire import given, url_path

if TYPE_CHECKING:
    from bedplate.remote.workspace import RemoteWorkspace

__all__ = ["Key", "Keys"]


class Key(Record):
    """A key. Its text is in `text` where it was just made, and is shown by no `repr`."""

    SHOWN = ("id", "name", "owner", "scopes", "endpoints", "slot", "created", "expires", "revoked")
    _ws: RemoteWorkspace

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def name(self) -> str:
        """What it is for."""
        return str(self.data["name"])

    @property
    def owner(self) -> str:
        """The user whose it is."""
        return str(self.data["owner"])

    @property
    def scopes(self) -> list[str]:
        """infer, batch, train, import or admin."""
        return list(self.data["scopes"])

    @property
    def endpoints(self) -> list[str] | None:
        """The only endpoints that it scores at; None for all."""
        endpoints: list[str] | None = self.data["endpoints"]
        return endpoints

    @property
    def slot(self) -> str | None:
        """primary or secondary, of an endpoint's own keys."""
        slot: str | None = self.data["slot"]
        return slot

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970."""
        return float(self.data["created"])

    @property
    def expires(self) -> float | None:
        """When it ends by itself, in seconds since 1970."""
        expires: float | None = self.data["expires"]
        return expires

    @property
    def revoked(self) -> float | None:
        """When it was revoked, in seconds since 1970."""
        revoked: float | None = self.data["revoked"]
        return revoked

    @property
    def text(self) -> str | None:
        """The key itself, which a server shows once, when it is made."""
        text: str | None = self.data.get("key")
        return text

    def revoke(self) -> None:
        """End it: within a second it is refused everywhere, at the gateway too."""
        self.data |= self._ws.connection.delete(url_path("keys", self.id))

    def __repr__(self) -> str:
        return f"Key({self.id!r}, {self.name!r})"


class Keys:
    """`ws.keys`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        user: str | None = None,
        endpoints: Sequence[str] | None = None,
        days: float | None = None,
        rate: float | None = None,
        concurrency: int | None = None,
    ) -> Key:
        """A new key, whose `text` is shown this once. It never allows more than the role of its owner.

        `user`: whose it is, another one's only for admins. `endpoints`: it scores at these and does nothing else.
        `days` until it expires. `rate`: requests a second, `concurrency`: requests open at once, at most.
        """
        limits = {"days": days, "rate": rate, "concurrency": concurrency}
        places = None if endpoints is None else [*endpoints]
        body = given({"name": name, "scopes": [*scopes], "user": user, "endpoints": places, **limits})
        return Key(self._ws, self._ws.connection.post(url_path("keys"), body))

    def list(self) -> Table[Key]:
        """The caller's keys; for admins everybody's, and those of endpoints too."""
        return Table(Key(self._ws, item) for item in self._ws.connection.items(url_path("keys")))

    def revoke(self, key_id: str) -> None:
        """End a key by its id. Raises NotFound."""
        self._ws.connection.delete(url_path("keys", key_id))
