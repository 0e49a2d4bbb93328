"""Numbered, immutable versions under names: what models and datasets have in common.

    <root>/<org>/<name>/.lock                   held while a version is added
    <root>/<org>/<name>/<version>/manifest.json what the version is; its folder is renamed into place when complete

One-part names lie under `_`. A version is there when its folder is: the rename is the commit, and everything it
speaks of was durable before. Readers take no lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from . import durable
from .blobs import locked
from .errors import BedplateError, Conflict, NotFound, Refused, nearest
from .names import Name, Ref

__all__ = ["Record", "VersionStore"]

SCHEMA = 1
log = logging.getLogger(__name__)
T = TypeVar("T")


class Record:
    """A manifest as it lies on the disk, with the digest of its bytes."""

    def __init__(self, name: Name, version: int, data: bytes) -> None:
        self.name, self.version = name, version
        self.digest = hashlib.sha256(data).hexdigest()
        self.value: dict[str, Any] = json.loads(data)
        if self.value["schema"] > SCHEMA:
            raise Refused(
                f"'{name}:{version}' was written by a newer Bedplate (schema {self.value['schema']}).",
                hint="Upgrade Bedplate on this machine.",
                code="newer-schema",
            )
        if (self.value["name"], self.value["version"]) != (str(name), version):
            raise ValueError("the manifest is of another version")


class VersionStore:
    """The folder of all names of one kind (`noun`, for messages)."""

    def __init__(self, root: Path, noun: str, add_command: str) -> None:
        self.root, self.noun, self.add_command = root, noun, add_command

    def publish(
        self,
        name: Name,
        find: Callable[[], Record | None],
        make: Callable[[int, Path], Mapping[str, Any]],
    ) -> Record:
        """Add a version, unless `find`, called with the lock held, gives one that is there already.

        `make` gets the new number and the folder in progress, and gives the manifest's content.
        """
        with self._locked(name):
            if (found := find()) is not None:
                return found
            version = max(self.numbers(name), default=0) + 1
            self._sweep(name)
            temp = durable.temp_beside(self.folder(name) / "version")
            durable.make_folder(temp)
            value = {**make(version, temp), "schema": SCHEMA, "name": str(name), "version": version}
            durable.write_json(temp / "manifest.json", value, mode=0o444)
            durable.publish_folder(temp, self.folder(name) / str(version))
            return self.read(name, version)

    def read(self, name: Name, version: int) -> Record:
        """One version, or NotFound; Refused where its manifest cannot be read."""
        path = self.folder(name) / str(version) / "manifest.json"
        try:
            return Record(name, version, path.read_bytes())
        except FileNotFoundError:
            if path.parent.is_dir():
                raise self._damaged(name, version, "it is missing") from None
            raise self._no_version(name, version) from None
        except (ValueError, KeyError, TypeError) as exc:
            raise self._damaged(name, version, exc) from exc

    def parsed(self, record: Record, parse: Callable[[Record], T]) -> T:
        """What `parse` makes of a record; Refused where it lacks something or holds what it may not."""
        try:
            return parse(record)
        except (ValueError, KeyError, TypeError, AttributeError, Refused) as exc:
            raise self._damaged(record.name, record.version, exc) from exc

    def resolve(self, ref: Ref) -> tuple[Name, int]:
        """The version that a reference means now, or NotFound saying what to type."""
        numbers = self.numbers(ref.name)
        if not numbers:
            raise self._no_name(ref.name)
        if ref.alias is not None:
            aliases = self.aliases(ref.name)
            if ref.alias not in aliases:
                hint = (
                    nearest(ref.alias, aliases) if aliases else f"Set it: bedplate models alias {ref.name} {ref.alias}"
                )
                raise NotFound(f"The {self.noun} '{ref.name}' has no alias {ref.alias!r}.", hint=hint)
            return ref.name, aliases[ref.alias]
        version = ref.version or numbers[-1]
        if version not in numbers:
            raise self._no_version(ref.name, version)
        return ref.name, version

    def numbers(self, name: Name) -> list[int]:
        """The version numbers of a name, ascending."""
        folder = self.folder(name)
        if not folder.is_dir():
            return []
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())

    def names(self) -> Iterator[Name]:
        """Every name that has a version, sorted."""
        for org in _visible(self.root):
            for folder in _visible(org):
                name = Name(None if org.name == "_" else org.name, folder.name)
                if self.numbers(name):
                    yield name

    def newest(self, parse: Callable[[Record], T]) -> Iterator[T]:
        """The newest version of each name. One whose manifest is damaged is logged and left out; `read` says more."""
        for name in self.names():
            try:
                yield self.parsed(self.read(name, self.numbers(name)[-1]), parse)
            except BedplateError as exc:
                log.error("%s", exc)

    def check_name(self, name: Name) -> None:
        """The Conflict that `publish` would raise for a new name."""
        if not self.folder(name).is_dir():
            self._refuse_case_twin(name)

    def set_alias(self, name: Name, alias: str, version: int, *, by: str, why: str, when: str) -> None:
        entry = {"alias": alias, "version": version, "by": by, "why": why, "when": when}
        with self._locked(name):
            durable.append_line(self._alias_file(name), json.dumps(entry, ensure_ascii=False, sort_keys=True))

    def aliases(self, name: Name) -> dict[str, int]:
        """What each alias means now: the last line that sets it."""
        return {line["alias"]: line["version"] for line in durable.read_lines(self._alias_file(name))}

    def folder(self, name: Name) -> Path:
        return self.root / name.folder

    def _alias_file(self, name: Name) -> Path:
        return self.folder(name) / "aliases.jsonl"

    @contextmanager
    def _locked(self, name: Name) -> Iterator[None]:
        folder = self.folder(name)
        if not folder.is_dir():
            durable.make_folder(self.root)
            with locked(self.root / ".lock"):
                self._refuse_case_twin(name)
                durable.make_folder(folder)
        with locked(folder / ".lock"):
            yield

    def _refuse_case_twin(self, name: Name) -> None:
        """Two names that differ only in case would be one folder on some disks, and one word to most people."""
        org = name.org or "_"
        for folder in _visible(self.root):
            if folder.name.lower() != org.lower():
                continue
            for taken in _visible(folder):
                is_twin = taken.name != name.name and taken.name.lower() == name.name.lower()
                if is_twin or folder.name != org:
                    raise _case_twin(name, Name(name.org and folder.name, taken.name))

    def _sweep(self, name: Name) -> None:
        """Take away what an earlier, killed publication left. The lock is held: nothing of it is in use."""
        for path in self.folder(name).glob(".tmp-*"):
            if path.is_dir():
                durable.remove_folder(path)
            else:
                durable.remove_file(path)

    def _damaged(self, name: Name, version: int, why: object) -> Refused:
        reason = f"it has no {why}" if isinstance(why, KeyError) else why
        return Refused(
            f"The manifest of {self.noun} '{name}:{version}' is damaged ({reason}).",
            hint="Take this version's manifest.json from a backup, or import it again under another name.",
            code="bad-manifest",
        )

    def _no_name(self, name: Name) -> NotFound:
        close = nearest(str(name), map(str, self.names())) if any(True for _ in self.names()) else ""
        offer = f" {close}" if close.startswith("Did") else ""
        return NotFound(
            f"There is no {self.noun} '{name}' in the registry.", hint=f"{self.add_command.format(name=name)}{offer}"
        )

    def _no_version(self, name: Name, version: int) -> NotFound:
        numbers = self.numbers(name)
        if not numbers:
            return self._no_name(name)
        shown = ", ".join(map(str, numbers))
        return NotFound(f"The {self.noun} '{name}' has no version {version}.", hint=f"It has: {shown}.")


def _case_twin(name: Name, taken: Name) -> Conflict:
    return Conflict(
        f"The name '{name}' differs only in case from '{taken}', which is taken.",
        hint="Spell it the same way, or choose another name with --name.",
        code="case-twin",
    )


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
