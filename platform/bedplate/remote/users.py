"""Users of the server and what their role lets them do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedplate.records import Record
from bedplate.tables import Table
from bedplate.wire import given, url_path

if TYPE_CHECKING:
    from bedplate.remote.workspace import RemoteWorkspace

__all__ = ["User", "Users"]


class User(Record):
    """A user. There are no passwords: people and programs hold keys."""

    SHOWN = ("name", "role", "disabled", "created")
    _ws: RemoteWorkspace

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def role(self) -> str:
        """viewer, user, operator or admin."""
        return str(self.data["role"])

    @property
    def disabled(self) -> bool:
        """Whether the user is shut out, with all keys and sessions."""
        return bool(self.data["disabled"])

    @property
    def created(self) -> float:
        """When the user was made, in seconds since 1970; 0 for the built-in one."""
        return float(self.data["created"])

    @property
    def permissions(self) -> list[str]:
        """What the role allows; of `ws.users.me()`, what the key at hand allows."""
        return list(self.data["permissions"])

    def change(self, *, role: str | None = None, disabled: bool | None = None) -> User:
        """Give another role, or shut out. It acts at once, for keys and sessions too."""
        body = given({"role": role, "disabled": disabled})
        self.data = self._ws.connection.change("PATCH", url_path("users", self.name), body)
        return self

    def __repr__(self) -> str:
        return f"User({self.name!r}, {self.role!r})"


class Users:
    """`ws.users`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    def create(self, name: str, *, role: str = "user") -> User:
        """A new user. Raises Conflict for a name that is taken."""
        return User(self._ws, self._ws.connection.post(url_path("users"), {"name": name, "role": role}))

    def list(self) -> Table[User]:
        """All users, the built-in one first."""
        return Table(User(self._ws, item) for item in self._ws.connection.items(url_path("users")))

    def get(self, name: str) -> User:
        """A user by name. Raises NotFound."""
        return User(self._ws, self._ws.connection.get(url_path("users", name)))

    def link(self, name: str | None = None) -> dict[str, Any]:
        """A link that signs one browser in, once and within ten minutes: its `url`, and when it `expires` in seconds.

        It is for the caller, or for the user `name`; another one's only for admins.
        """
        return self._ws.connection.post(url_path("session", "links"), given({"user": name}))

    def me(self) -> User:
        """Who is calling."""
        return self.get("me")
