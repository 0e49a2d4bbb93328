"""Numbered, immutable versions under names: what models and datasets have in common.

    <root>/<org>/<name>/.lock                   held while a version is added
    <root>/<org>/<name>/<version>/manifest.json what the version is; its folder is renamed into place when complete
    <root>/<org>/<name>/states.jsonl            which versions were archived, restored, deleted; by whom, why, when
    <root>/.changes                             which names changed lately: a hint for search (changes.py)

One-part names lie under `_`. A version is there when its folder is: the rename is the commit, and everything it
speaks of was durable before. It is gone when a line says so, which is written before its folder is removed and stays
when nothing else does: no number is given twice. Readers take no lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from . import durable
from .blobs import locked
from .changes import note_change
from .errors import BedplateError, Conflict, NotFound, Refused, nearest
from .names import Name, Ref

__all__ = ["ACTIVE", "ARCHIVED", "Record", "VersionStore", "now"]

SCHEMA = 1
ACTIVE, ARCHIVED, DELETED = "active", "archived", "deleted"
STATES, ALIASES = "states.jsonl", "aliases.jsonl"
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
        with self.locked(name):
            if (found := find()) is not None:
                return found
            version = max([*self.numbers(name), *self.states(name)], default=0) + 1
            self._sweep(name)
            temp = durable.temp_beside(self.folder(name) / "version")
            durable.make_folder(temp)
            value = {**make(version, temp), "schema": SCHEMA, "name": str(name), "version": version}
            durable.write_json(temp / "manifest.json", value, mode=0o444)
            durable.publish_folder(temp, self.folder(name) / str(version))
            return self.read(name, version)

    def read(self, name: Name, version: int) -> Record:
        """One version, or NotFound; Refused where its manifest cannot be read."""
        if self.state(name, version) == DELETED:
            raise self._no_version(name, version)
        return self._load(name, version)

    def _load(self, name: Name, version: int) -> Record:
        """The same for a version that is known not to be deleted."""
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
            raise self._no_version(ref.name, ref.version)
        if ref.alias is not None:
            aliases = self.aliases(ref.name)
            if ref.alias not in aliases:
                hint = (
                    nearest(ref.alias, aliases) if aliases else f"Set it: bedplate models alias {ref.name} {ref.alias}"
                )
                raise NotFound(f"The {self.noun} '{ref.name}' has no alias {ref.alias!r}.", hint=hint)
            return ref.name, aliases[ref.alias]
        version = ref.version or self.listed(ref.name) or numbers[-1]
        if version not in numbers:
            raise self._no_version(ref.name, version)
        return ref.name, version

    def numbers(self, name: Name) -> list[int]:
        """The version numbers of a name, ascending."""
        folder, states = self.folder(name), self.states(name)
        if not folder.is_dir():
            return []
        found = (int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        return sorted(number for number in found if states.get(number) != DELETED)

    def names(self) -> Iterator[Name]:
        """Every name that has a version, sorted."""
        for org in _visible(self.root):
            for folder in _visible(org):
                name = Name(None if org.name == "_" else org.name, folder.name)
                if self.numbers(name):
                    yield name

    def newest(self, parse: Callable[[Record], T]) -> Iterator[T]:
        """The newest version of each name that is not archived.

        One whose manifest is damaged is logged and left out; `read` says more.
        """
        for name in self.names():
            if (number := self.listed(name)) is not None:
                yield from self.readable(name, [number], parse)

    def listed(self, name: Name) -> int | None:
        """The newest version of a name that is not archived, whether it can be read or not."""
        states = self.states(name)
        return next((number for number in reversed(self.numbers(name)) if states.get(number) != ARCHIVED), None)

    def readable(self, name: Name, numbers: Iterable[int], parse: Callable[[Record], T]) -> Iterator[T]:
        """These of the `numbers` of a name; one whose manifest is damaged is logged and left out."""
        for number in numbers:
            try:
                yield self.parsed(self._load(name, number), parse)
            except NotFound:
                continue  # it was deleted in this moment
            except BedplateError as exc:
                log.error("%s", exc)

    def holding(self, text: str) -> Iterator[tuple[Name, int]]:
        """The versions in whose manifests this text stands in quotes. They are searched as bytes, so none is parsed."""
        quoted = json.dumps(text, ensure_ascii=False).encode()
        for path in sorted(self.root.glob("*/*/*/manifest.json")):
            org, name, number = path.parts[-4:-1]
            with suppress(FileNotFoundError):  # it was deleted in this moment
                if number.isdecimal() and quoted in path.read_bytes():
                    found = Name(None if org == "_" else org, name)
                    if int(number) in self.numbers(found):
                        yield found, int(number)

    def check_name(self, name: Name) -> None:
        """The Conflict that `publish` would raise for a new name."""
        if not self.folder(name).is_dir():
            self._refuse_case_twin(name)

    def states(self, name: Name) -> dict[int, str]:
        """What was last said of each version of which something was: active, archived or deleted."""
        return {line["version"]: line["state"] for line in self.lines(name, STATES)}

    def state(self, name: Name, version: int) -> str:
        return self.states(name).get(version, ACTIVE)

    def set_state(self, name: Name, version: int, state: str, *, by: str, why: str) -> None:
        """Say what became of a version. The caller holds the lock."""
        self.append(name, STATES, {"version": version, "state": state, "by": by, "why": why, "when": now()})

    def delete(self, name: Name, version: int, *, by: str, why: str) -> None:
        """Say that a version is gone, then remove it: one whose removal was cut off is gone as well. With the lock."""
        self._sweep(name)
        self.set_state(name, version, DELETED, by=by, why=why)
        durable.remove_folder(self.folder(name) / str(version))

    def aliases(self, name: Name) -> dict[str, int]:
        """What each alias means now: the last line that speaks of it; null where it was taken away."""
        means = {line["alias"]: line["version"] for line in self.lines(name, ALIASES)}
        return {alias: version for alias, version in means.items() if version is not None}

    def lines(self, name: Name, file: str) -> list[dict[str, Any]]:
        """All lines of a log that is kept beside the versions of a name, oldest first."""
        return durable.read_lines(self.folder(name) / file)

    def append(self, name: Name, file: str, entry: Mapping[str, Any]) -> None:
        """Add a line to such a log. The caller holds the lock."""
        durable.append_line(self.folder(name) / file, json.dumps(entry, ensure_ascii=False, sort_keys=True))

    def folder(self, name: Name) -> Path:
        return self.root / name.folder

    @contextmanager
    def locked(self, name: Name) -> Iterator[None]:
        """Hold the lock of a name, for whatever changes it; a new name gets its folder. Not to be taken twice."""
        folder = self.folder(name)
        if not folder.is_dir():
            durable.make_folder(self.root)
            with locked(self.root / ".lock"):
                self._refuse_case_twin(name)
                durable.make_folder(folder)
        with locked(folder / ".lock"):
            try:
                yield
            finally:
                note_change(self.root, name)

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
        """Take away what an earlier, killed publication or deletion left. The lock is held: nothing of it is in use."""
        for number, state in self.states(name).items():
            if state == DELETED and (folder := self.folder(name) / str(number)).is_dir():
                durable.remove_folder(folder)
        for path in self.folder(name).glob(".tmp-*"):
            if path.is_dir():
                durable.remove_folder(path)
            else:
                durable.remove_file(path)

    def _damaged(self, name: Name, version: int, why: object) -> Refused:
        reason = f"it has no {why}" if isinstance(why, KeyError) else why
        return Refused(
            f"The manifest of {self.noun} '{name}:{version}' is damaged ({reason}).",
            hint="Take this version's manifest.json from a backup, or import it again under another name."
            f" Give it up: bedplate {self.noun}s delete {name}:{version}",
            code="bad-manifest",
        )

    def _no_name(self, name: Name) -> NotFound:
        close = nearest(str(name), map(str, self.names())) if any(True for _ in self.names()) else ""
        offer = f"{close} " if close.startswith("Did") else ""
        hint = f"{offer}{self.add_command.format(name=name)}"
        return NotFound(f"There is no {self.noun} '{name}' in the registry.", hint=hint)

    def _no_version(self, name: Name, version: int | None) -> NotFound:
        numbers = self.numbers(name)
        for line in reversed(self.lines(name, STATES)):
            if (line["version"], line["state"]) == (version, DELETED):
                return NotFound(
                    f"The {self.noun} '{name}:{version}' was deleted by {line['by']} on {line['when'][:10]}.",
                    hint=f"It has: {', '.join(map(str, numbers)) or 'no version any more'}.",
                )
        if not numbers:
            return self._no_name(name)
        shown = ", ".join(map(str, numbers))
        return NotFound(f"The {self.noun} '{name}' has no version {version}.", hint=f"It has: {shown}.")


def now() -> str:
    """The time as records keep it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
