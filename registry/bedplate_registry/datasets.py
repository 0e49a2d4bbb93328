"""Datasets: tables of the five formats, kept as numbered versions of one file each.

datasets/<org>/<name>/<version>/manifest.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from .blobs import Blob, Blobs, check_digest, lease
from .errors import NotFound, Refused
from .model_versions import FileEntry
from .names import Name, Ref, check_file_path
from .store import ACTIVE, Record, VersionStore
from .tables import columns_of, format_of, read_rows

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
    state: str = ACTIVE

    @property
    def ref(self) -> str:
        return f"{self.name}:{self.version}"

    def to_json(self) -> dict[str, Any]:
        own = {name: value for name, value in vars(self).items() if name != "files"}
        return {**own, "name": str(self.name), "ref": self.ref, "columns": list(self.columns)}


# Named here because inside the class `list` is a method.
_Versions: TypeAlias = list[DatasetVersion]
_Rows: TypeAlias = list[dict[str, Any]]


class Datasets:
    """The datasets of a registry."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.blobs = blobs
        self._store = VersionStore(root, "dataset", "Add it: bedplate datasets add {name} FILE")

    def add(self, name: Name, path: Path, filename: str) -> DatasetVersion:
        """Keep a copy of a table under a name. Every row is read once; the bytes of the newest version are a no-op."""
        format, filename = format_of(filename), check_file_path(PurePath(filename).name)
        with lease(self.blobs):
            blob = self.blobs.put_file(path)
            measured = _measured(self.blobs.path(blob.sha256), format)
            return self._publish(name, blob, {"filename": filename, "format": format, **measured})

    def _publish(self, name: Name, blob: Blob, found: Mapping[str, Any]) -> DatasetVersion:
        def find() -> Record | None:
            numbers = self._store.numbers(name)
            newest = self._store.read(name, numbers[-1]) if numbers else None
            same = newest and (newest.value["sha256"], newest.value["format"]) == (blob.sha256, found["format"])
            return newest if same else None

        def make(version: int, folder: Path) -> Mapping[str, Any]:
            if not self.blobs.keep(blob.sha256, blob.size_bytes):
                raise NotFound(
                    f"The file of {found['filename']} went while it was read (SHA-256 {blob.sha256}).",
                    hint="Add it again.",
                    code="missing-blob",
                )
            return {**found, **asdict(blob), "created": datetime.now(UTC).isoformat(timespec="seconds")}

        return self._store.parsed(self._store.publish(name, find, make), _parse)

    def get(self, ref: str | Ref) -> DatasetVersion:
        """The version a reference means: the newest where it names none."""
        name, version = self._store.resolve(Ref.parse(ref) if isinstance(ref, str) else ref)
        return self._store.parsed(self._store.read(name, version), _parse)

    def list(self) -> _Versions:
        """The newest version of each name, by name. A damaged one is logged and left out: `get` says what is wrong."""
        return [*self._store.newest(_parse)]

    def path(self, version: DatasetVersion) -> Path:
        """Where its bytes lie. The path has no suffix: go by `version.format`."""
        return self.blobs.path(version.sha256)

    def preview(self, version: DatasetVersion, limit: int = 10) -> _Rows:
        return [*islice(read_rows(self.path(version), version.format), limit)]


def _measured(path: Path, format: str) -> dict[str, Any]:
    rows = sum(1 for _ in read_rows(path, format))
    if not rows:
        raise Refused("The file has no rows.", hint="Add a file with at least one row of data.", code="empty-table")
    return {"rows": rows, "columns": columns_of(path, format)}


def _parse(record: Record) -> DatasetVersion:
    value = {key: item for key, item in record.value.items() if key != "schema"}
    files = tuple(_file(item) for item in value.pop("files", ()))
    return DatasetVersion(**{**value, "name": record.name, "columns": tuple(value["columns"]), "files": files})


def _file(value: Mapping[str, Any]) -> FileEntry:
    entry = FileEntry(**value)
    check_file_path(entry.path)
    check_digest(entry.sha256)
    return entry
