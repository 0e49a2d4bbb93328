"""Datasets: tables of the five formats and folders of images, kept as numbered versions.

datasets/<org>/<name>/<version>/manifest.json   the version; its table is one blob
datasets/<org>/<name>/<version>/files/…         of a folder of images: relative links into blobs/, as models have them

Beside the versions lies states.jsonl (store.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from .blobs import Blob, Blobs, check_digest, lease
from .errors import Conflict, NotFound, Refused, Unavailable
from .image_folders import TABLE, lay_out, table_of
from .model_versions import FileEntry
from .names import Name, Ref, check_file_path
from .schemas import ColumnFacts, check_columns, describe_rows
from .store import ACTIVE, ARCHIVED, Record, VersionStore, now
from .tables import columns_of, format_of, read_rows
from .views import link_files, relink

__all__ = ["DatasetVersion", "Datasets"]


@dataclass(frozen=True)
class DatasetVersion:
    """A table in the registry. It never changes."""

    name: Name
    version: int
    filename: str
    format: str
    sha256: str
    size_bytes: int
    rows: int
    columns: tuple[str, ...]
    created: str
    files: tuple[FileEntry, ...] = ()  # of a folder of images: those that its table names by their paths in it
    schema: tuple[ColumnFacts, ...] = ()  # empty where it was added before schemas were kept
    state: str = ACTIVE  # or ARCHIVED: there for who names it by its number

    @property
    def ref(self) -> str:
        return f"{self.name}:{self.version}"

    def to_json(self) -> dict[str, Any]:
        """The version as one object, for REST: of its files, which may be many, the number and size."""
        own = {name: value for name, value in vars(self).items() if name != "files"}
        return {
            **own,
            "name": str(self.name),
            "ref": self.ref,
            "columns": list(self.columns),
            "schema": [asdict(column) for column in self.schema],
            "images": len(self.files),
            "images_bytes": sum(file.size_bytes for file in self.files),
        }


# Named here because inside the class `list` is a method.
_Versions: TypeAlias = list[DatasetVersion]
_Rows: TypeAlias = list[dict[str, Any]]
_Problems: TypeAlias = list[str]


class Datasets:
    """The datasets of a registry."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.blobs = blobs
        self._store = VersionStore(root, "dataset", "Add it: bedplate datasets add {name} FILE")

    def add(self, name: Name, path: Path, filename: str, *, since: int | None = None) -> DatasetVersion:
        """Keep a copy of a table under a name. Every row is read once; no-ops are those of `publish`."""
        with lease(self.blobs):
            return self.publish(name, self.draft(path, filename), since=since)

    def draft(self, path: Path, filename: str) -> dict[str, Any]:
        """Store a copy of a table, and read every row: what `publish` needs, as JSON. The slow half of `add`."""
        format, filename = format_of(filename), check_file_path(PurePath(filename).name)
        blob = self.blobs.put_file(path)
        measured = _measured(self.blobs.path(blob.sha256), format)
        return {**asdict(blob), "filename": filename, "format": format, **measured}

    def publish(self, name: Name, draft: Mapping[str, Any], *, since: int | None = None) -> DatasetVersion:
        """Make a draft a version. A no-op where the newest one has its bytes; with `since`, where any after it has."""
        check_digest(draft["sha256"])
        check_file_path(draft["filename"])
        return self._publish(name, Blob(draft["sha256"], draft["size_bytes"]), draft, since=since)

    def add_images(self, name: Name, files: Sequence[FileEntry], *, since: int | None = None) -> DatasetVersion:
        """Make a dataset of a folder of images whose files are in the store already (image_folders.py has the layouts).

        The header of each image is read; no-ops are those of `publish`. Raises Refused, which names the file, and
        NotFound for one that is not here.
        """
        layout = lay_out(entry.path for entry in files)
        by_path = {entry.path: entry for entry in files}
        with lease(self.blobs):
            for entry in files:
                self._check_there(entry.path, entry.sha256, entry.size_bytes)
            blob = self.blobs.put_bytes(table_of(layout, by_path, self.blobs))
            measured = _measured(self.blobs.path(blob.sha256), "jsonl", images=True)
            images = [by_path[path] for path in layout.images]
            return self._publish(name, blob, {"filename": TABLE, "format": "jsonl", **measured}, images, since)

    def _publish(
        self,
        name: Name,
        blob: Blob,
        found: Mapping[str, Any],
        files: Sequence[FileEntry] = (),
        since: int | None = None,
    ) -> DatasetVersion:
        def find() -> Record | None:
            wanted = (blob.sha256, found["format"])
            return next((each for each in known() if (each.value["sha256"], each.value["format"]) == wanted), None)

        def known() -> Iterable[Record]:
            if since is None:
                listed = self._store.listed(name)
                return [self._store.read(name, listed)] if listed else []
            newer = [number for number in self._store.numbers(name) if number > since]
            return self._store.readable(name, newer, lambda record: record)

        def make(version: int, folder: Path) -> Mapping[str, Any]:
            self._check_there(found["filename"], blob.sha256, blob.size_bytes)
            if files:
                link_files(self.blobs, files, folder / "files", self._files_path(name, version))
            return {**found, **asdict(blob), "files": [asdict(file) for file in files], "created": now()}

        return self._version(self._store.publish(name, find, make))

    def _check_there(self, path: str, sha256: str, size_bytes: int) -> None:
        if not self.blobs.keep(sha256, size_bytes):
            raise NotFound(
                f"The file {path} is not in the registry, or went while it was read (SHA-256 {sha256}).",
                hint="Add it again.",
                code="missing-blob",
            )

    def get(self, ref: str | Ref) -> DatasetVersion:
        """The version a reference means: where it names none, the newest that is not archived.

        Raises NotFound; Conflict where all are archived.
        """
        found = self.locate(ref)
        return self._version(self._store.read(found.name, found.version or 0))

    def locate(self, ref: str | Ref) -> Ref:
        """The name and number that a reference means, also where the manifest cannot be read. Raises as `get` does."""
        asked = Ref.parse(ref) if isinstance(ref, str) else ref
        found = Ref(*self._store.resolve(asked))
        if asked == Ref(asked.name) and self._store.listed(asked.name) is None:
            raise Conflict(
                f"Every version of the dataset '{asked.name}' is archived.",
                hint=f"Name one by its number, or bring it back: bedplate datasets restore {found}",
                code="archived",
            )
        return found

    def list(self) -> _Versions:
        """The newest version of each name that is not archived, by name.

        A damaged one is logged and left out: `get` says what is wrong.
        """
        return [*self._store.newest(self._parse)]

    def versions(self, name: Name | None = None) -> _Versions:
        """All versions of a name, or of all names, archived ones too, ascending; damaged ones are logged and left out.

        Raises NotFound where the name has none.
        """
        if name is not None:
            self._store.resolve(Ref(name))
        names = self._store.names() if name is None else [name]
        return [found for each in names for found in self._readable(each)]

    def _readable(self, name: Name) -> Iterator[DatasetVersion]:
        return self._store.readable(name, self._store.numbers(name), self._parser(name))

    def refs(self, name: Name | None = None) -> Iterator[Ref]:
        """Every version that is there, of a name or of all, archived ones and those with a damaged manifest too."""
        for each in self._store.names() if name is None else [name]:
            yield from (Ref(each, number) for number in self._store.numbers(each))

    def newest(self) -> Iterator[Ref]:
        """The newest version of each name that is not archived, by name, whether it can be read or not."""
        for name in self._store.names():
            if (number := self._store.listed(name)) is not None:
                yield Ref(name, number)

    def path(self, version: DatasetVersion) -> Path:
        """Where its table lies. The path has no suffix: go by `version.format`."""
        return self.blobs.path(version.sha256)

    def rows(self, version: DatasetVersion) -> Iterator[dict[str, Any]]:
        """The rows of its table. Raises Unavailable where that is missing or damaged."""
        if not self.blobs.is_sound(version.sha256, version.size_bytes):
            raise _not_whole(version, [version.filename])
        return read_rows(self.path(version), version.format)

    def folder(self, version: DatasetVersion) -> Path:
        """The folder in which the images of a version lie under their paths. Rebuilt where a link is missing or wrong.

        Raises Unavailable where an image is missing or damaged.
        """
        bad = [file.path for file in version.files if not self.blobs.is_sound(file.sha256, file.size_bytes)]
        if bad:
            raise _not_whole(version, bad)
        return relink(self.blobs, version.files, self._files_path(version.name, version.version))

    def _files_path(self, name: Name, version: int) -> Path:
        return self._store.folder(name) / str(version) / "files"

    def preview(self, version: DatasetVersion, limit: int = 10) -> _Rows:
        """Its first rows. Raises Unavailable where its table is missing or damaged."""
        return [*islice(self.rows(version), limit)]

    def archive(self, ref: str | Ref, *, by: str, why: str = "") -> DatasetVersion:
        """Leave a version out of lists, and out of what its name alone means; by its number it is used as before."""
        return self._set_state(ref, ARCHIVED, by=by, why=why)

    def restore(self, ref: str | Ref, *, by: str, why: str = "") -> DatasetVersion:
        """Take it up again."""
        return self._set_state(ref, ACTIVE, by=by, why=why)

    def delete(self, ref: str | Ref, *, by: str, why: str = "") -> None:
        """Remove a version for good; its number is never given again, and its files go when garbage is collected.

        Its manifest may be damaged. Jobs and gates that name it are the caller's to ask.
        """
        found = self.locate(ref)
        with self._store.locked(found.name):
            self.locate(found)  # it may be gone by now
            self._store.delete(found.name, found.version or 0, by=by, why=why)

    def _set_state(self, ref: str | Ref, state: str, *, by: str, why: str) -> DatasetVersion:
        version = self.get(ref)
        with self._store.locked(version.name):
            if self._store.state(version.name, version.version) != state:
                self._store.set_state(version.name, version.version, state, by=by, why=why)
        return self.get(Ref(version.name, version.version))

    def verify(self, ref: str | Ref) -> _Problems:
        """What is wrong with a version: its manifest, or its files, one sentence for each; every byte is read."""
        try:
            version = self.get(ref)
        except Refused as exc:
            return [exc.message]
        files = [(version.filename, version.sha256), *((file.path, file.sha256) for file in version.files)]
        return [problem for path, sha256 in files if (problem := self._problem(path, sha256))]

    def _problem(self, path: str, sha256: str) -> str:
        if self.blobs.is_set_aside(sha256):
            return f"{path} was damaged and is set aside (SHA-256 {sha256})."
        if not self.blobs.has(sha256):
            return f"{path} is missing (SHA-256 {sha256})."
        if not self.blobs.verify(sha256):
            return f"{path} is damaged: its bytes no longer have the SHA-256 {sha256}."
        return ""

    def _version(self, record: Record) -> DatasetVersion:
        return self._store.parsed(record, self._parse)

    def _parse(self, record: Record) -> DatasetVersion:
        return self._parser(record.name)(record)

    def _parser(self, name: Name) -> Callable[[Record], DatasetVersion]:
        """What makes versions of the records of a name, with their states as they are now."""
        states = self._store.states(name)
        return lambda record: replace(_parse(record), state=states.get(record.version, ACTIVE))


def _not_whole(version: DatasetVersion, bad: Sequence[str]) -> Unavailable:
    return Unavailable(
        f"The dataset {version.ref} is not whole. Damaged or missing: {', '.join(bad[:3])}.",
        hint=f"Add the same {'folder' if version.files else 'file'} again: bedplate datasets add {version.name} PATH",
        code="damaged-dataset",
    )


def _measured(path: Path, format: str, *, images: bool = False) -> dict[str, Any]:
    """What the manifest says of a table. The key `schema` of a manifest is the number of its own format."""
    columns = columns_of(path, format)
    rows, schema = describe_rows(read_rows(path, format))
    check_columns([*columns, *(column.name for column in schema)])
    if not rows:
        raise Refused("The file has no rows.", hint="Add a file with at least one row of data.", code="empty-table")
    facts = [asdict(column) for column in schema]
    if images:
        facts[0] |= {"type": "image", "looks_like": None}
    return {"rows": rows, "columns": columns, "table_schema": facts}


def _parse(record: Record) -> DatasetVersion:
    value = {key: item for key, item in record.value.items() if key != "schema"}
    files = tuple(_file(item) for item in value.pop("files", ()))
    schema = tuple(ColumnFacts(**item) for item in value.pop("table_schema", ()))
    own = {"name": record.name, "columns": tuple(value["columns"]), "files": files, "schema": schema}
    return DatasetVersion(**{**value, **own})


def _file(value: Mapping[str, Any]) -> FileEntry:
    entry = FileEntry(**value)
    check_file_path(entry.path)
    check_digest(entry.sha256)
    return entry
