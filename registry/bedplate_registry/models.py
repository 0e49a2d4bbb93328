"""Models: immutable, numbered versions of files with what they are, where they came from and who means which of them.

models/<org>/<name>/<version>/manifest.json   the version; written last, committed by the rename of its folder
models/<org>/<name>/<version>/files/…         relative links into blobs/: a view, rebuilt from the manifest

Beside the versions lie aliases.jsonl (aliases.py), states.jsonl (store.py), gates.jsonl and licenses.jsonl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from .aliases import AliasChange, Aliases, Look
from .blobs import Blobs
from .errors import BedplateError, Conflict, NotFound, Refused
from .evaluations import Evaluations
from .gates import Gate, Gates, Rule
from .licenses import Acceptances
from .model_files import ModelFiles
from .model_versions import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source
from .names import Name, Ref
from .store import ACTIVE, ARCHIVED, Record, VersionStore, now

__all__ = ["FileEntry", "ModelDraft", "ModelFacts", "ModelVersion", "Models", "Source", "in_use"]

# A model card larger than this is not one.
MAX_CARD_BYTES = 4 << 20


# Named here because inside the class `list` is a method.
_Versions: TypeAlias = list[ModelVersion]
_Problems: TypeAlias = list[str]
_History: TypeAlias = list[AliasChange]


class Models:
    """The models of a registry."""

    def __init__(self, root: Path, blobs: Blobs, evaluations: Evaluations) -> None:
        self.blobs = blobs
        self._store = VersionStore(root, "model", "Import it: bedplate import {name}")
        self._aliases = Aliases(self._store)
        self._files = ModelFiles(self._store, blobs, self.get)
        self.gates = Gates(self._store, evaluations)
        self.licenses = Acceptances(self._store)

    def check_name(self, name: Name) -> None:
        """Raise the Conflict that `publish` would: the name differs only in case from one that is taken."""
        self._store.check_name(name)

    def publish(self, draft: ModelDraft) -> ModelVersion:
        """Make a draft the next version of its name. The same source published before gives that version again.

        Of an adapter the base that came with it is published first. Raises NotFound where the base is not here.
        """
        if draft.base_draft is not None:
            base = self.publish(draft.base_draft)
            draft = replace(draft, base_draft=None, lineage={**draft.lineage, "adapter_base": base.ref})
        self._files.check_there(draft)

        def find() -> Record | None:
            found = self.find_source(draft.name, draft.source, task=draft.facts.task, adapter_base=draft.adapter_base)
            return self._store.read(found.name, found.version) if found else None

        def make(version: int, folder: Path) -> Mapping[str, Any]:
            self._files.make(draft, folder / "files", version)
            return {**draft.to_json(), "created": now()}

        with self._base_held(draft):
            return self._version(self._store.publish(draft.name, find, make))

    def get(self, ref: str | Ref) -> ModelVersion:
        """The version a reference means: the newest where it names none."""
        name, version = self._store.resolve(Ref.parse(ref) if isinstance(ref, str) else ref)
        return self._version(self._store.read(name, version))

    def locate(self, ref: str | Ref) -> Ref:
        """The name and number that a reference means, also where the manifest cannot be read. Raises NotFound."""
        return Ref(*self._store.resolve(Ref.parse(ref) if isinstance(ref, str) else ref))

    def find_source(
        self,
        name: Name,
        source: Source,
        *,
        task: str | None = None,
        any_task: bool = False,
        adapter_base: str | None = None,
    ) -> ModelVersion | None:
        """The newest version of `name` made from `source`, from whichever address, for that task (None: a base).

        With `any_task` for any; of an adapter the one on `adapter_base`, where that is given.
        """
        for version in reversed(self.versions(name, missing_ok=True)):
            same = replace(version.source, url=None) == replace(source, url=None)
            fits = (any_task or version.task == task) and adapter_base in (None, version.adapter_base)
            if same and fits:
                return version
        return None

    def of_source(self, source_id: str) -> _Versions:
        """The versions that came under this id from a Hub, the oldest first; a damaged one is logged and left out."""
        holding = self._store.holding(source_id)
        found = (each for name, number in holding for each in self._store.readable(name, [number], self._parse))
        came = (each for each in found if (each.source.kind, each.source.id) == ("hub", source_id))
        return sorted(came, key=lambda each: (each.created, each.version))

    def list(self) -> _Versions:
        """The newest version of each name that is not archived, by name.

        A damaged one is logged and left out: `get` says what is wrong.
        """
        return [*self._store.newest(self._parse)]

    def archived(self) -> _Versions:
        """Every archived version, by name and number."""
        return [version for name in self._store.names() for version in self.readable(name) if version.state == ARCHIVED]

    def listed(self, name: Name) -> int | None:
        """The version that lists show of a name, which may be a damaged one; None where all are archived."""
        return self._store.listed(name)

    def readable(self, name: Name) -> _Versions:
        """All versions of a name, ascending, without those that are damaged, which are logged."""
        return [*self._store.readable(name, self._store.numbers(name), self._parser(name))]

    def children(self, ref: str) -> _Versions:
        """The versions that were made from this one, by name and number; a damaged one is logged and left out."""
        holding = self._store.holding(ref)
        found = (child for name, number in holding for child in self._store.readable(name, [number], self._parse))
        return sorted((each for each in found if each.base == ref), key=lambda each: (str(each.name), each.version))

    def versions(self, name: Name, *, missing_ok: bool = False) -> _Versions:
        """All versions of a name, ascending."""
        numbers = self._store.numbers(name)
        if not numbers and not missing_ok:
            self._store.resolve(Ref(name))
        return [self._version(self._store.read(name, number)) for number in numbers]

    def files_dir(self, version: ModelVersion) -> Path:
        """The folder that `from_pretrained` reads: of an adapter with its base's files. Rebuilt where a link is wrong.

        Raises Unavailable where a file of it is missing or damaged: nothing is served from it.
        """
        return self._files.folder(version)

    def check_sound(self, version: ModelVersion) -> None:
        """Raises Unavailable where a file of the version, or of its base, is missing or damaged."""
        self._files.check_sound(version)

    def stage(self, files: Iterable[FileEntry], folder: Path) -> Path:
        """The same view at any place: for checks before publication. The caller removes it."""
        return self._files.stage(files, folder)

    def card(self, version: ModelVersion) -> str:
        """The model card as it was written (not cleaned); empty where there is none."""
        for entry in version.files:
            if entry.path == "README.md" and entry.size_bytes <= MAX_CARD_BYTES:
                with self.blobs.open(entry.sha256) as file:
                    return file.read().decode("utf-8", "replace")
        return ""

    def set_alias(
        self,
        ref: str | Ref,
        alias: str,
        *,
        by: str,
        why: str = "",
        override: bool = False,
        look: Look = lambda means: None,
    ) -> AliasChange:
        """Let `alias` mean this version from now on; what it meant before stays on record.

        Raises Conflict where the version is archived, or does not pass the gate of the alias; with `override` it is
        let past, and what the gate had against it is kept.
        """
        version = self.get(ref)

        def gate() -> Sequence[str]:
            unmet = self.gates.unmet(version.name, alias, version.version)
            if unmet and not override:
                raise self.gates.refusal(version.name, alias, version.version, unmet)
            return [each.why for each in unmet]

        return self._aliases.move(version.name, alias, version.version, by=by, why=why, look=look, gate=gate)

    def remove_alias(self, name: Name, alias: str, *, by: str, why: str = "", look: Look = lambda means: None) -> None:
        """Take an alias away; its history stays."""
        self._aliases.remove(name, alias, by=by, why=why, look=look)

    def roll_back(
        self, name: Name, alias: str, *, by: str, why: str = "", look: Look = lambda means: None
    ) -> AliasChange:
        """Let an alias mean again what it meant before; once more goes back further."""
        return self._aliases.roll_back(name, alias, by=by, why=why, look=look)

    def alias_history(self, name: Name, alias: str) -> _History:
        """All moves of an alias, oldest first. Raises NotFound where it was never set."""
        history = self._aliases.history(name, alias)
        if not history:
            raise self._aliases.unknown(name, alias)
        return history

    def aliases(self, name: Name) -> dict[str, int]:
        return self._store.aliases(name)

    def set_gate(
        self, name: Name, alias: str, rules: Sequence[Rule], *, by: str, why: str = "", look: Callable[[Gate], None]
    ) -> Gate:
        """From now on these are the rules of an alias; `look` sees the gate before, and raises to leave it so."""
        self._store.resolve(Ref(name))
        with self._store.locked(name):
            look(self.gates.get(name, alias))
            return self.gates.set(name, alias, rules, by=by, why=why)

    def archive(self, ref: str | Ref, *, by: str, why: str = "") -> ModelVersion:
        """Leave a version out of lists and of everything new; who names it still reads it. Raises Conflict."""
        return self._set_state(ref, ARCHIVED, by=by, why=why)

    def restore(self, ref: str | Ref, *, by: str, why: str = "") -> ModelVersion:
        """Take it up again."""
        return self._set_state(ref, ACTIVE, by=by, why=why)

    def delete(self, ref: str | Ref, *, by: str, why: str = "") -> None:
        """Remove a version for good; its number is never given again, and its files go when garbage is collected.

        Its manifest may be damaged. Raises Conflict where an alias means it or an adapter needs it. Endpoints and jobs
        are the caller's to ask.
        """
        name, number = self._store.resolve(Ref.parse(ref) if isinstance(ref, str) else ref)
        with self._store.locked(name):
            self.locate(Ref(name, number))  # it may be gone by now
            self._check_no_alias(name, number)
            self._check_no_adapter(str(Ref(name, number)))
            self._store.delete(name, number, by=by, why=why)

    def _set_state(self, ref: str | Ref, state: str, *, by: str, why: str) -> ModelVersion:
        version = self.get(ref)
        with self._store.locked(version.name):
            if state == ARCHIVED:
                self._check_no_alias(version.name, version.version)
            if self._store.state(version.name, version.version) != state:
                self._store.set_state(version.name, version.version, state, by=by, why=why)
        return self.get(Ref(version.name, version.version))

    def _check_no_alias(self, name: Name, number: int) -> None:
        held = sorted(alias for alias, means in self._store.aliases(name).items() if means == number)
        if held:
            raise in_use(f"{name}:{number}", [f"the alias {alias!r} means it" for alias in held])

    def _check_no_adapter(self, base: str) -> None:
        uses = []
        for name, number in self._store.holding(base):
            ref = Ref(name, number)
            try:
                if self.get(ref).adapter_base == base:
                    uses.append(f"the adapter {ref} needs it")
            except NotFound:
                continue  # it was deleted in this moment
            except BedplateError:
                uses.append(f"{ref}, which cannot be read, may need it")
        if uses:
            raise in_use(base, uses)

    @contextmanager
    def _base_held(self, draft: ModelDraft) -> Iterator[None]:
        """While an adapter is published nobody deletes its base."""
        if draft.adapter_base is None or (name := self._files.base_of(draft).name) == draft.name:
            yield
            return
        with self._store.locked(name):
            yield

    def refs(self) -> Iterator[Ref]:
        """Every version that is there, archived ones and those with a damaged manifest too."""
        for name in self._store.names():
            yield from (Ref(name, number) for number in self._store.numbers(name))

    def verify(self, ref: str | Ref) -> _Problems:
        """What is wrong with a version: its manifest, or its files, one sentence for each; every byte is read."""
        try:
            version = self.get(ref)
        except Refused as exc:
            return [exc.message]
        problems = []
        for entry in version.files:
            if self.blobs.is_set_aside(entry.sha256):
                problems.append(f"{entry.path} was damaged and is set aside (SHA-256 {entry.sha256}).")
            elif not self.blobs.has(entry.sha256):
                problems.append(f"{entry.path} is missing (SHA-256 {entry.sha256}).")
            elif not self.blobs.verify(entry.sha256):
                problems.append(f"{entry.path} is damaged: its bytes no longer have the SHA-256 {entry.sha256}.")
        if version.adapter_base is not None:
            problems += self._problems_of_base(version)
        return problems

    def _problems_of_base(self, version: ModelVersion) -> _Problems:
        """That an adapter's base is not whole; its bytes are read when it is verified itself."""
        try:
            self.check_sound(self._files.base_of(version))
        except BedplateError as exc:
            return [f"Its base: {exc.message}"]
        return []

    def _version(self, record: Record) -> ModelVersion:
        return self._store.parsed(record, self._parse)

    def _parse(self, record: Record) -> ModelVersion:
        return self._parser(record.name)(record)

    def _parser(self, name: Name) -> Callable[[Record], ModelVersion]:
        """What makes versions of the records of a name, with its aliases and states as they are now."""
        aliases, states = self._store.aliases(name), self._store.states(name)

        def parse(record: Record) -> ModelVersion:
            draft = ModelDraft.from_json(record.value)
            return ModelVersion(
                **{each.name: getattr(draft, each.name) for each in fields(draft)},
                version=record.version,
                created=record.value["created"],
                digest=record.digest,
                aliases=tuple(sorted(alias for alias, number in aliases.items() if number == record.version)),
                state=states.get(record.version, ACTIVE),
            )

        return parse


def in_use(ref: str, uses: Sequence[str]) -> Conflict:
    """That a version stays where it is, and for what."""
    return Conflict(
        f"{ref} is in use: {'; '.join(uses)}.", hint="End that first, or leave the version where it is.", code="in-use"
    )
