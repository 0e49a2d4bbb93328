"""What all objects that a workspace hands out have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from bedplate.tables import facts_html

__all__ = ["Record", "seconds_of"]


class Record:
    """Something of the server's. `data` is all that REST told of it at the last look."""

    SHOWN: ClassVar[tuple[str, ...]] = ()
    """The properties that a table in a notebook shows."""

    def __init__(self, workspace: Any, data: Mapping[str, Any]) -> None:
        self._ws: Any = workspace
        self.data: dict[str, Any] = dict(data)

    def facts(self) -> dict[str, Any]:
        """The few facts that a table shows."""
        return {name: getattr(self, name) for name in self.SHOWN}

    def _repr_html_(self) -> str:
        return facts_html(repr(self), self.facts())


def seconds_of(time: float | str) -> float:
    """A time as REST tells it, in seconds since 1970: as such, or as ISO text, which the registry writes."""
    return datetime.fromisoformat(time).timestamp() if isinstance(time, str) else float(time)
