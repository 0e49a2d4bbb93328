"""Licenses: what the policy says of one, and who accepted which, when.

models/<org>/<name>/licenses.jsonl    one line an acceptance: license, source of the model, by, when, and for what

A license is named by its SPDX id, in any case; a model that names none has the license `unknown`. One that names
several, as its card may or its Hub and its card together, has them all, with commas between: "other, llama-nc".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from .errors import Conflict
from .names import Name
from .store import VersionStore, now

__all__ = ["UNKNOWN", "Acceptance", "Acceptances", "LicensePolicy", "license_id", "license_of"]

UNKNOWN = "unknown"
LICENSES = "licenses.jsonl"
Word = Literal["allow", "ask", "deny"]
STRICTER: tuple[Word, ...] = ("allow", "ask", "deny")


@dataclass(frozen=True)
class LicensePolicy:
    """Lists of SPDX ids in lower case; `*` at the end of one stands for any rest.

    The longest entry that fits decides (`cc-by-nc-4.0` before `cc-by-*` before `*`), and of two that are the same the
    stricter one. What no entry fits is allowed, unless there is a list of what is allowed. Of several licenses the
    strictest decides: nobody here can tell whether a model's user may choose among them.
    """

    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def says(self, license: str | None) -> Word:
        return max((self._says_of(name) for name in _ids(license)), key=STRICTER.index)

    def _says_of(self, name: str) -> Word:
        fitting = [
            (len(entry), strictness, word)
            for strictness, word in enumerate(STRICTER)
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
    source: str  # the id of the model's source: another one may come to have its name
    by: str
    when: str
    where: str  # what it was accepted for: the id of an import, or an endpoint


class Acceptances:
    """Who accepted the licenses of the names in a store."""

    def __init__(self, store: VersionStore) -> None:
        self._store = store

    def all(self, name: Name) -> list[Acceptance]:
        return [Acceptance(**line) for line in self._store.lines(name, LICENSES)]

    def find(self, models: Iterable[tuple[Name, str]], license: str | None) -> Acceptance | None:
        """The first acceptance of that license for one of these, by name and source: a model, its base, and so on."""
        wanted = set(_ids(license))
        for name, source in models:
            for each in self.all(name):
                if each.source == source and wanted <= set(_ids(each.license)):
                    return each
        return None

    def accept(self, name: Name, source: str, license: str | None, *, by: str, where: str) -> None:
        """Keep that somebody accepted it; the same once more changes nothing."""
        new = Acceptance(license_id(license), source, by, now(), where)
        with self._store.locked(name):
            if not any(replace(each, when=new.when) == new for each in self.all(name)):
                self._store.append(name, LICENSES, asdict(new))


def license_id(license: str | None) -> str:
    """As the lists name it; several with commas between."""
    return ", ".join(_ids(license))


def license_of(*said: str | None) -> str | None:
    """All that is said of a model's license together, each once; None where nothing is."""
    found = ", ".join(text for text in said if text)
    return license_id(found) if found else None


def _ids(license: str | None) -> tuple[str, ...]:
    ids = (part.strip().lower() for part in (license or "").split(","))
    return tuple(dict.fromkeys(filter(None, ids))) or (UNKNOWN,)
