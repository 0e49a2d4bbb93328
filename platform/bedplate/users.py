"""Users and what their role lets them do. There are no passwords: people and programs hold keys, browsers sessions.

viewer      reads what is the team's: models, datasets, evaluations, endpoints, compute
user        also imports, trains, evaluates, scores and runs batches; sees and changes jobs of its own
operator    also deploys, sets aliases, and sees and changes everybody's jobs
admin       also manages users and keys, reads the audit log and stops the server

`local` is built in: whoever comes over the home's own Unix socket, or with the loopback token.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import sqlalchemy as sa

from bedplate.database import Database
from bedplate.database import users as table
from bedplate_registry.errors import Conflict, NotFound, Refused, nearest

__all__ = ["LOCAL", "ROLES", "SCOPES", "User", "UserStore", "permissions_of"]

SCOPES = ("infer", "batch", "train", "import", "admin")  # of keys
_VIEWER = frozenset({"read", "account"})
_USER = _VIEWER | {"infer", "batch", "train", "import"}
_OPERATOR = _USER | {"operate"}
ROLES = {"viewer": _VIEWER, "user": _USER, "operator": _OPERATOR, "admin": _OPERATOR | {"admin"}}
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
TAKEN = frozenset({"me", "server", "local"})  # /users/me is whoever asks; the other two are in the audit log


@dataclass(frozen=True)
class User:
    """One user."""

    name: str
    role: str
    disabled: bool
    created: float

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"permissions": sorted(ROLES[self.role])}


LOCAL = User("local", "admin", disabled=False, created=0.0)


def permissions_of(role: str, scopes: Iterable[str]) -> frozenset[str]:
    """What a key with these scopes may do: never more than its owner's role. The scope `admin` means all of that."""
    given = set(scopes)
    return ROLES[role] if "admin" in given else ROLES[role] & (given | {"read"})


class UserStore:
    """All reading and writing of users. One server writes them, so they are kept in memory as well."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._known: dict[str, User] | None = None

    def all(self) -> list[User]:
        """By name, the built-in one first."""
        return [LOCAL, *sorted(self._users().values(), key=lambda user: user.name)]

    def get(self, name: str) -> User:
        """Raises NotFound."""
        found = self.find(name)
        if found is None:
            raise NotFound(f"There is no user {name!r}.", hint="List them with: bedplate users list", code="no-user")
        return found

    def find(self, name: str) -> User | None:
        return LOCAL if name == LOCAL.name else self._users().get(name)

    def create(self, name: str, role: str) -> User:
        """Raises Refused for a name or role that is none, Conflict for a name that is taken."""
        if not NAME.fullmatch(name):
            hint = "Use up to 63 lower-case letters, digits and . _ @ -, beginning with a letter or digit."
            raise Refused(f"{name!r} is not a name for a user.", hint=hint, code="bad-name")
        _check_role(role)
        taken = Conflict(f"There is a user {name!r} already.", hint="Choose another name.", code="user-exists")
        if name in TAKEN or self.find(name) is not None:
            raise taken
        values = {"name": name, "role": role, "disabled": False, "created": time.time()}
        try:
            self._write(table.insert().values(**values))
        except sa.exc.IntegrityError as exc:
            raise taken from exc
        return self.get(name)

    def change(self, name: str, *, role: str | None = None, disabled: bool | None = None) -> User:
        """It acts at once, for keys and sessions too. Raises NotFound, Refused, and Conflict for the built-in user."""
        self.get(name)
        if name == LOCAL.name:
            raise Conflict("The user 'local' is built in: it is whoever owns this home.", code="built-in-user")
        if role is not None:
            _check_role(role)
        values = {key: value for key, value in (("role", role), ("disabled", disabled)) if value is not None}
        if values:
            self._write(table.update().where(table.c.name == name).values(**values))
        return self.get(name)

    def _users(self) -> dict[str, User]:
        with self._lock:
            if self._known is None:
                self._known = {row["name"]: User(**row) for row in self._database.rows(sa.select(table))}
            return self._known

    def _write(self, statement: sa.Insert | sa.Update) -> None:
        with self._database.begin() as connection:
            connection.execute(statement)
        with self._lock:
            self._known = None


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Refused(f"There is no role {role!r}.", hint=nearest(role, ROLES), code="unknown-role")
