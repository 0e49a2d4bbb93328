"""Names: the one check that every name passes before it reaches the disk or another machine. Reject, never clean.

Name    org/name | name
Ref     a Name, and perhaps which version of it: org/name:3 | org/name@production
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .errors import Refused

__all__ = ["Name", "Ref", "check_alias", "check_file_path", "dataset_name", "plain_name"]

# The Hub's own limit for each part of an id.
MAX_PART = 96
MAX_PATH_BYTES = 255
MAX_PLAIN = 48  # of a name that is proposed: it stands in tables
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
# Words that the registry-as-a-Hub already gives a meaning as revisions.
_RESERVED_ALIAS = re.compile(r"main|latest|head|v[0-9]+|[0-9a-f]{40}")

# What paths ask of a dataset: its name of two parts cannot end in one of them.
_DATASET_WORDS = ("preview", "files", "versions", "verify", "archive", "restore")

_HINT = "A name is 'org/name' or 'name': ASCII letters, digits, '.', '_' and '-', at most 96 characters a part."


@dataclass(frozen=True, order=True)
class Name:
    """What a model or a dataset is called, with its organization if it has one."""

    org: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """The name that `text` spells, or Refused with the reason."""
        if "://" in text or text.lower().startswith(("http:", "https:", "file:", "hf:")):
            raise _bad(text, "is a URL", "Give the name alone, as in sentence-transformers/all-MiniLM-L6-v2.")
        if text.startswith(("/", "./", "../", "~", ".\\", "..\\")):
            raise _bad(text, "is a path", "To import a folder from the disk use --from DIR with --name NAME.")
        parts = text.split("/")
        if len(parts) > 2:
            raise _bad(text, "has more than one '/'")
        for part in parts:
            _check_part(text, part)
        return cls(parts[0] if len(parts) == 2 else None, parts[-1])

    @property
    def folder(self) -> str:
        """Where it is kept, relative to the store: one-part names lie under `_`."""
        return f"{self.org or '_'}/{self.name}"

    def __str__(self) -> str:
        return f"{self.org}/{self.name}" if self.org else self.name


@dataclass(frozen=True)
class Ref:
    """A name, and which version of it is meant: a number, an alias, or the newest when neither is given."""

    name: Name
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """The reference that `text` spells, or Refused with the reason."""
        if "@" in text:
            name, _, alias = text.partition("@")
            return cls(Name.parse(name), alias=check_alias(alias))
        name, colon, version = text.rpartition(":")
        if not colon or "/" in version:
            return cls(Name.parse(text))
        if not _VERSION.fullmatch(version):
            raise _bad(text, f"has the version {version!r}", "A version is a number, as in org/name:3.")
        return cls(Name.parse(name), version=int(version))

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}:{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else str(self.name)


def dataset_name(text: str) -> Name:
    """The name of a new dataset that `text` spells, or Refused with the reason."""
    name = Name.parse(text)
    if name.org and name.name in _DATASET_WORDS:
        hint = "Choose another name."
        raise _bad(text, f"ends in {name.name!r}, which in a path asks something of a dataset", hint)
    return name


def plain_name(text: str) -> str:
    """A name made of any text: lower-case letters without their accents, digits and dashes; "" where it has none."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_PLAIN].rstrip("-")


def check_alias(alias: str) -> str:
    """`alias` itself, or Refused: lower case, and none of the words that already mean a revision."""
    if _RESERVED_ALIAS.fullmatch(alias):
        raise Refused(
            f"The alias {_shown(alias)} already means a revision.",
            hint="Choose another word, for example 'production'.",
            code="bad-alias",
        )
    if not _ALIAS.fullmatch(alias):
        raise Refused(
            f"{_shown(alias)} is not an alias.",
            hint="An alias is lower-case letters, digits, '-' and '_', starting with a letter.",
            code="bad-alias",
        )
    return alias


def check_file_path(path: str) -> str:
    """A file's path inside a model, unchanged, or Refused: relative, of plain parts, safe on POSIX and Windows."""
    parts = path.split("/")
    too_long = any(len(part.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES for part in parts) or len(parts) > 16
    if too_long or not path.isprintable() or any(c in path for c in '\\:*?"<>|'):
        raise _bad_path(path)
    if any(part in ("", ".", "..") or part != part.strip() or part.endswith(".") for part in parts):
        raise _bad_path(path)
    return path


def _check_part(text: str, part: str) -> None:
    if not part:
        raise _bad(text, "has an empty part")
    if len(part) > MAX_PART:
        raise _bad(text, f"has a part of {len(part)} characters")
    if ".." in part or "--" in part or part == "_":
        raise _bad(text, "holds '..', '--' or a lone '_'")
    if part.endswith((".git", ".ipynb", ".lock")):
        raise _bad(text, "ends in .git, .ipynb or .lock")
    if not _PART.fullmatch(part):
        raise _bad(text, "holds a character that names may not have, or starts or ends with '.' or '-'")


def _bad(text: str, why: str, hint: str = _HINT) -> Refused:
    return Refused(f"{_shown(text)} is not a name: it {why}.", hint=hint, code="bad-name")


def _bad_path(path: str) -> Refused:
    return Refused(
        f"The file name {_shown(path)} is not safe to keep.",
        hint="File names in a model are relative, without '..', backslashes or control characters.",
        code="bad-path",
    )


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 120 else shown[:100] + "…'"
