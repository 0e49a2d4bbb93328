# Generated from bedplate/remote/datasets.py by platform/make_twin.py. Change that, then run: make twin
"""Datasets of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedplate.records import Record, seconds_of
from bedplate.tables import Table
from bedplate.wire import url_path

if TYPE_CHECKING:
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["Dataset", "Datasets"]


class Dataset(Record):
    """A version of a dataset. It never changes."""

    SHOWN = ("ref", "rows", "format", "size_bytes", "created")

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

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Dataset) and other.ref == self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"Dataset({self.ref!r})"


class Datasets:
    """`ws.datasets`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def add(self, name: str, path: str | Path) -> Dataset:
        """Register a file of the caller's as a new version; the same bytes again make none."""
        body = {"name": name, **await self._ws.upload(path)}
        return Dataset(self._ws, await self._ws.connection.post(url_path("datasets"), body))

    async def list(self) -> Table[Dataset]:
        """The newest version of each dataset."""
        return Table(Dataset(self._ws, item) for item in await self._ws.connection.items(url_path("datasets")))

    async def get(self, name: str) -> Dataset:
        """A dataset by `name` or `name:2`. Raises NotFound."""
        return Dataset(self._ws, await self._ws.connection.get(url_path("datasets", *name.split("/"))))

    async def preview(self, name: str, limit: int = 10) -> Table[dict[str, Any]]:
        """Its first rows."""
        path = url_path("datasets", *name.split("/"), "preview")
        return Table(await self._ws.connection.items(path, limit=limit))
