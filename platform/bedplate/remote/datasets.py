"""Datasets of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bedplate.caller import files_of, name_of_folder, path_of
from bedplate.records import Record, seconds_of
from bedplate.remote.seam import to_thread
from bedplate.tables import Table
from bedplate.wire import url_path
from bedplate_registry.errors import Conflict, NotFound, Refused
from bedplate_registry.image_folders import lay_out
from bedplate_registry.names import Ref

if TYPE_CHECKING:
    from bedplate.remote.jobs import Job
    from bedplate.remote.workspace import RemoteWorkspace

__all__ = ["Dataset", "Datasets"]


class Dataset(Record):
    """A version of a dataset. It never changes, but for whether it is archived."""

    SHOWN = ("ref", "state", "rows", "images", "format", "size_bytes", "created")
    _ws: RemoteWorkspace

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def ref(self) -> str:
        """Its name and version, such as `tickets:2`."""
        return str(self.data["ref"])

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.data["rows"])

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        return list(self.data["columns"])

    @property
    def schema(self) -> list[dict[str, Any]]:
        """What each column holds: its type, what its texts look like, gaps, distinct values, lengths in characters."""
        return list(self.data["schema"])

    @property
    def images(self) -> int:
        """How many images belong to it; 0 for a table."""
        return int(self.data["images"])

    @property
    def state(self) -> str:
        """`active`, or `archived`: in no list, and used by its number alone."""
        return str(self.data["state"])

    @property
    def format(self) -> str:
        """csv, tsv, json, jsonl or parquet."""
        return str(self.data["format"])

    @property
    def size_bytes(self) -> int:
        """The size of its file."""
        return int(self.data["size_bytes"])

    @property
    def created(self) -> float:
        """When it was registered, in seconds since 1970."""
        return seconds_of(self.data["created"])

    def files(self) -> Table[dict[str, Any]]:
        """Its images: path, size and SHA-256."""
        return Table(self._ws.connection.items(_path(self.ref, "files")))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Dataset) and other.ref == self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"Dataset({self.ref!r})"


# Named here because inside the class `list` is a method.
_Files: TypeAlias = list[dict[str, Any]]


class Datasets:
    """`ws.datasets`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    def add(self, name: str, path: str | Path) -> Dataset:
        """Register a file of the caller's, or a folder of images, as a new version; the same bytes again make none."""
        file = path_of(path, "path")
        if file.is_dir():
            body = {"name": name, "files": self._upload_images(file)}
        else:
            body = {"name": name, **self._ws.upload(file)}
        return Dataset(self._ws, self._ws.connection.post(url_path("datasets"), body, patient=True))

    def add_folder(self, folder: str | Path) -> Dataset:
        """Register a folder of images under its own name, unless a version of that name has the same content."""
        path = Path(folder)
        body = {"name": name_of_folder(path), "files": self._upload_images(path), "reuse": True}
        return Dataset(self._ws, self._ws.connection.post(url_path("datasets"), body, patient=True))

    def _upload_images(self, folder: Path) -> _Files:
        """Each file once, unless the server has it. Hidden files stay, and a folder in no known layout is not sent."""
        files = []
        found = to_thread(files_of, folder)
        lay_out(path for path, _ in found)
        for path, file in found:
            digest = self._ws.connection.upload(file)
            files.append({"path": path, "sha256": digest, "size_bytes": file.stat().st_size})
        return files

    def list(self, *, all: bool = False, archived: bool = False) -> Table[Dataset]:
        """The newest version of each dataset; `all` versions, or those that are `archived`."""
        found = self._ws.connection.items(url_path("datasets"), all=all or None, archived=archived or None)
        return Table(Dataset(self._ws, item) for item in found)

    def get(self, name: str) -> Dataset:
        """A dataset by `name` or `name:2`. Raises NotFound."""
        return Dataset(self._ws, self._ws.connection.get(_path(name)))

    def has(self, ref: str) -> bool:
        """Whether `name` or `name:2` is a dataset, archived or not."""
        try:
            self.get(str(Ref.parse(ref)))
        except Conflict:  # all its versions are archived
            return True
        except (NotFound, Refused):
            return False
        return True

    def versions(self, name: str) -> Table[Dataset]:
        """All versions of a name, archived ones too, ascending."""
        found = self._ws.connection.items(_path(name, "versions"))
        return Table(Dataset(self._ws, item) for item in found)

    def preview(self, name: str, limit: int = 10) -> Table[dict[str, Any]]:
        """Its first rows."""
        return Table(self._ws.connection.items(_path(name, "preview"), limit=limit))

    def archive(self, ref: str, *, why: str = "") -> Dataset:
        """Leave the version `name:2` out of lists, and out of what its name alone means."""
        return Dataset(self._ws, self._ws.connection.post(_path(ref, "archive"), {"why": why}))

    def restore(self, ref: str, *, why: str = "") -> Dataset:
        """Take an archived version up again."""
        return Dataset(self._ws, self._ws.connection.post(_path(ref, "restore"), {"why": why}))

    def delete(self, ref: str, *, why: str = "") -> None:
        """Delete the version `name:2` for good, even where its manifest cannot be read.

        Raises Conflict while a job that has not ended or a gate names it; its number is never given again.
        """
        self._ws.connection.request("DELETE", _path(ref), params={"why": why})

    def verify(self, name: str | None = None) -> Table[dict[str, Any]]:
        """What is wrong with a version, or with all, archived ones too: `dataset` and its `problems`, perhaps none.

        Every byte is read again.
        """
        if name is not None:
            return Table([self._ws.connection.get(_path(name, "verify"), patient=True)])
        return Table(self._ws.connection.items(url_path("registry", "verify", "datasets"), patient=True))

    def check(self, data: str | Path | None = None, *, task: str, **options: Any) -> Job:
        """Submit a check of data for a task; `wait().result["report"]` has its findings, with row numbers.

        `data` is a file or dataset; in its place train, validation and test may be given. Options: columns,
        class_names, model (counts the rows that it would cut), max_seq_length, priority, needs; fix=True writes
        repaired copies (`result["fixed"]`): a new version of a dataset, a new dataset `name` of a file.
        """
        request: dict[str, Any] = {"task": task, **options}
        for part in ("data", "train", "validation", "test"):
            value = data if part == "data" else options.get(part)
            if value is not None:
                request[part] = self._ws.data(value)
        return self._ws.submit("data-check", request)


def _path(name: str, *rest: str) -> str:
    return url_path("datasets", *name.split("/"), *rest)
