# Generated from bedplate/remote/datasets.py by platform/make_twin.py. Change that, then run: make twin
"""Datasets of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedplate.tables import Table
from bedplate.wire import url_path

if TYPE_CHECKING:
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["Dataset", "Datasets"]


class Dataset(dict[str, Any]):
    """A version of a dataset: all that REST tells of it, as a dict."""

    @property
    def ref(self) -> str:
        """Its name and version, such as `tickets:2`."""
        return str(self["ref"])

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self["rows"])

    def facts(self) -> dict[str, Any]:
        """The few facts that a table in a notebook shows."""
        return {name: self.get(name) for name in ("ref", "rows", "format", "size_bytes", "created")}


class Datasets:
    """`ws.datasets`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def add(self, name: str, path: str | Path) -> Dataset:
        """Register a file of the caller's as a new version; the same bytes again make none."""
        body = {"name": name, **await self._ws.upload(path)}
        return Dataset(await self._ws.connection.post(url_path("datasets"), body))

    async def list(self) -> Table[Dataset]:
        """The newest version of each dataset."""
        return Table(Dataset(item) for item in await self._ws.connection.items(url_path("datasets")))

    async def get(self, name: str) -> Dataset:
        """A dataset by `name` or `name:2`. Raises NotFound."""
        return Dataset(await self._ws.connection.get(url_path("datasets", *name.split("/"))))

    async def preview(self, name: str, limit: int = 10) -> Table[dict[str, Any]]:
        """Its first rows."""
        path = url_path("datasets", *name.split("/"), "preview")
        return Table(await self._ws.connection.items(path, limit=limit))
