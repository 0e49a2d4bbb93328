"""Aliases: which version of a model a word means, and all that it meant before.

models/<org>/<name>/aliases.jsonl    one line a change: alias, version (null: taken away), by, why, when

A line with "rollback" goes back to what the alias meant before the last move that still counts; one with "unmet" was
made by an admin although the gate said so. The file only grows: what was production when can always be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from .errors import Conflict, NotFound, nearest
from .names import Name, check_alias
from .store import ALIASES, ARCHIVED, VersionStore, now

__all__ = ["AliasChange", "Aliases", "Look"]

# Sees what an alias means, with the lock held, before it is changed; raises to leave it so.
Look = Callable[[int | None], None]


@dataclass(frozen=True)
class AliasChange:
    """One move of an alias."""

    alias: str
    version: int | None  # None: it was taken away
    by: str
    why: str
    when: str
    rollback: bool = False
    unmet: tuple[str, ...] = ()  # what its gate had against it, where an admin moved it all the same


class Aliases:
    """The aliases of the names in a store."""

    def __init__(self, store: VersionStore) -> None:
        self._store = store

    def history(self, name: Name, alias: str) -> list[AliasChange]:
        """All moves of an alias, oldest first; none where it was never set."""
        lines = self._store.lines(name, ALIASES)
        return [
            AliasChange(**{**line, "unmet": tuple(line.get("unmet", ()))}) for line in lines if line["alias"] == alias
        ]

    def move(
        self,
        name: Name,
        alias: str,
        version: int,
        *,
        by: str,
        why: str = "",
        look: Look = lambda means: None,
        gate: Callable[[], Sequence[str]] = tuple,
    ) -> AliasChange:
        """Let an alias mean a version. `gate` gives what is to be kept on record against that, or raises."""
        check_alias(alias)
        with self._store.locked(name):
            look(self._store.aliases(name).get(alias))
            self._check_takes_aliases(name, version)
            return self._append(name, AliasChange(alias, version, by, why, now(), unmet=tuple(gate())))

    def remove(self, name: Name, alias: str, *, by: str, why: str = "", look: Look = lambda means: None) -> AliasChange:
        """Take an alias away; its history stays. Raises NotFound."""
        with self._store.locked(name):
            means = self._store.aliases(name)
            look(means.get(alias))
            if alias not in means:
                raise self.unknown(name, alias)
            return self._append(name, AliasChange(alias, None, by, why, now()))

    def roll_back(
        self, name: Name, alias: str, *, by: str, why: str = "", look: Look = lambda means: None
    ) -> AliasChange:
        """Let an alias mean again what it meant before. A second rollback goes back one further.

        What is gone or archived is passed over. No gate is asked: that version was let through when it got the alias.
        Raises NotFound, Conflict.
        """
        with self._store.locked(name):
            means = self._store.aliases(name).get(alias)
            look(means)
            history = self.history(name, alias)
            if not history:
                raise self.unknown(name, alias)
            version = self._before(name, history, means)
            if version is None:
                raise Conflict(
                    f"'{name}@{alias}' meant nothing before that it could mean again.",
                    hint=f"Say what it is to mean: bedplate models alias {name}:VERSION {alias}",
                    code="no-history",
                )
            self._store.read(name, version)  # it may be damaged
            return self._append(name, AliasChange(alias, version, by, why, now(), rollback=True))

    def unknown(self, name: Name, alias: str) -> NotFound:
        means = self._store.aliases(name)
        hint = nearest(alias[:80], means) if means else "It has none yet."
        return NotFound(f"The model '{name}' has no alias {alias[:80]!r}.", hint=hint)

    def _before(self, name: Name, history: Sequence[AliasChange], means: int | None) -> int | None:
        """The last that an alias meant before, other than now, and may mean again; None where there is no such one."""
        states = self._store.states(name)
        fit = {number for number in self._store.numbers(name) if states.get(number) != ARCHIVED} - {means}
        return next((version for version in reversed(_counting(history)) if version in fit), None)

    def _check_takes_aliases(self, name: Name, version: int) -> None:
        self._store.read(name, version)  # it may be gone by now
        if self._store.state(name, version) == ARCHIVED:
            raise Conflict(
                f"'{name}:{version}' is archived: no alias may mean it.",
                hint=f"Bring it back first: bedplate models restore {name}:{version}",
                code="archived",
            )

    def _append(self, name: Name, change: AliasChange) -> AliasChange:
        line = {key: item for key, item in asdict(change).items() if item not in (False, ())}
        self._store.append(name, ALIASES, line)
        return change


def _counting(history: Sequence[AliasChange]) -> list[int | None]:
    """What an alias meant, oldest first, without the moves that a rollback took back; the last is what it means now."""
    held: list[int | None] = []
    for change in history:
        if change.rollback:
            while held and held[-1] != change.version:
                held.pop()
        elif not held or held[-1] != change.version:
            held.append(change.version)
    return held
