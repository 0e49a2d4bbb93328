# Generated from bedplate/remote/audit.py by platform/make_twin.py. Change that, then run: make twin
"""The audit log: who changed what, and whether that record is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedplate.records import Record
from bedplate.tables import Table
from bedplate.wire import url_path

if TYPE_CHECKING:
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["Audit", "AuditEntry", "Verdict"]


class AuditEntry(Record):
    """One change that was asked for, and how that ended."""

    SHOWN = ("seq", "time", "who", "action", "detail")

    @property
    def seq(self) -> int:
        """Its number, from 1 and without a gap."""
        return int(self.data["seq"])

    @property
    def time(self) -> float:
        """In seconds since 1970."""
        return float(self.data["time"])

    @property
    def who(self) -> str:
        """The user."""
        return str(self.data["who"])

    @property
    def action(self) -> str:
        """Method and route, such as `POST /api/v1/jobs`, or what the server did itself."""
        return str(self.data["action"])

    @property
    def detail(self) -> dict[str, Any]:
        """How it ended, by which key and from where, and what it was about."""
        return dict(self.data["detail"])

    def __repr__(self) -> str:
        return f"AuditEntry({self.seq}, {self.who!r}, {self.action!r})"


class Verdict(Record):
    """What a walk along the log's chain of hashes found."""

    SHOWN = ("intact", "entries", "problem")

    @property
    def intact(self) -> bool:
        """Whether no entry was changed, removed or put in."""
        return bool(self.data["intact"])

    @property
    def entries(self) -> int:
        """How many there are."""
        return int(self.data["entries"])

    @property
    def problem(self) -> str | None:
        """What is wrong, and with which entry."""
        problem: str | None = self.data["problem"]
        return problem

    def __repr__(self) -> str:
        return f"Verdict(intact={self.intact}, entries={self.entries})"


class Audit:
    """`ws.audit`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def list(self, *, who: str | None = None, action: str | None = None, limit: int = 100) -> Table[AuditEntry]:
        """The newest `limit` entries, newest first; `who`: of one user; `action`: with that in it."""
        found = await self._ws.connection.items(url_path("audit"), limit=limit, who=who, action=action)
        return Table(AuditEntry(self._ws, item) for item in found)

    async def verify(self) -> Verdict:
        """Have the server walk along the chain."""
        return Verdict(self._ws, await self._ws.connection.get(url_path("audit", "verify")))
