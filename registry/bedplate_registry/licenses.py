"""Licenses: what the policy says of one, and who accepted which, when.

models/<org>/<name>/licenses.jsonl    one line an acceptance: license, by, when, and for which import or endpoint

A license is named by its SPDX id, in any case; a model that names none has the license `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Literal

from .errors import Conflict
from .names import Name
from .store import VersionStore, now

__all__ = ["UNKNOWN", "Acceptance", "Acceptances", "LicensePolicy", "license_id"]

UNKNOWN = "unknown"
LICENSES = "licenses.jsonl"
Word = Literal["allow", "ask", "deny"]


@dataclass(frozen=True)
class LicensePolicy:
    """Lists of SPDX ids in lower case; `*` at the end of one stands for any rest.

    The longest entry that fits decides (`cc-by-nc-4.0` before `cc-by-*` before `*`), and of two that are the same the
    stricter one. What no entry fits is allowed, unless there is a list of what is allowed.
    """

    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def says(self, license: str | None) -> Word:
        name = license_id(license)
        stricter: tuple[Word, ...] = ("allow", "ask", "deny")
        fitting = [
            (len(entry), strictness, word)
            for strictness, word in enumerate(stricter)
            for entry in getattr(self, word)
            if fnmatchcase(name, entry)
        ]
        return max(fitting)[2] if fitting else ("deny" if self.allow else "allow")

    def check(self, what: str, license: str | None, *, accepted: bool) -> None:
        """Raises Conflict where the policy keeps `what` out, or asks for an acceptance that is not there."""
        word, name = self.says(license), license_id(license)
        if word == "deny":
            raise Conflict(
                f"The license of {what} is {name!r}, which the license policy of this server denies.",
                hint="Choose another model, or have BEDPLATE_LICENSE_ALLOW and BEDPLATE_LICENSE_DENY changed.",
                code="license-denied",
            )
        if word == "ask" and not accepted:
            raise Conflict(
                f"The license of {what} is {name!r}, which somebody has to accept by name.",
                hint='Read it, then give the same command with --accept-license (REST: "accept_license": true).',
                code="license-not-accepted",
            )


@dataclass(frozen=True)
class Acceptance:
    """That somebody accepted the license of a model."""

    license: str
    by: str
    when: str
    where: str  # what it was accepted for: the id of an import, or an endpoint


class Acceptances:
    """Who accepted the licenses of the names in a store."""

    def __init__(self, store: VersionStore) -> None:
        self._store = store

    def all(self, name: Name) -> list[Acceptance]:
        return [Acceptance(**line) for line in self._store.lines(name, LICENSES)]

    def find(self, names: Iterable[Name], license: str | None) -> Acceptance | None:
        """The first acceptance of that license under one of these names: a model's, its base's, and so on."""
        wanted = license_id(license)
        return next((each for name in names for each in self.all(name) if each.license == wanted), None)

    def accept(self, name: Name, license: str | None, *, by: str, where: str) -> None:
        """Keep that somebody accepted it; the same once more changes nothing."""
        wanted = license_id(license)
        with self._store.locked(name):
            if not any((each.license, each.by, each.where) == (wanted, by, where) for each in self.all(name)):
                self._store.append(name, LICENSES, asdict(Acceptance(wanted, by, now(), where)))


def license_id(license: str | None) -> str:
    """As the lists name it."""
    return (license or UNKNOWN).lower()
