# Generated from bedplate/remote/batch_endpoints.py by platform/make_twin.py. Change that, then run: make twin
"""Batch endpoints: a name for the model that scores files, each in a job of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedplate.aio.jobs import Job, new_key
from bedplate.aio.seam import to_thread
from bedplate.caller import writable
from bedplate.records import Record
from bedplate.tables import Table
from bedplate.wire import given, url_path

if TYPE_CHECKING:
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["BatchEndpoint", "BatchEndpoints"]


class BatchEndpoint(Record):
    """A batch endpoint. Its jobs score with the version that holds most traffic when they are submitted."""

    SHOWN = ("name", "task", "traffic")
    _ws: RemoteWorkspace

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def task(self) -> str:
        return str(self.data["task"])

    @property
    def deployments(self) -> list[dict[str, Any]]:
        """The versions behind it: name, model and traffic."""
        return list(self.data["deployments"])

    @property
    def traffic(self) -> dict[str, int]:
        """The share of each deployment, in percent."""
        return {row["name"]: row["traffic"] for row in self.deployments}

    async def refresh(self) -> BatchEndpoint:
        """Look again."""
        self.data = await self._ws.connection.get(url_path("batch-endpoints", self.name))
        return self

    async def submit(self, *, input: str | Path, output: str | Path, **options: Any) -> Job:
        """Score a file, a folder of images or a dataset in a job; `wait()` leaves its rows at `output`.

        Options: columns, parameters, error_threshold, device, priority, needs.
        """
        target = await to_thread(writable, output)
        body = given({"input": await self._ws.data(input, images=True), "output": target.name, **options})
        made = await self._ws.connection.post(url_path("batch-endpoints", self.name, "jobs"), body, key=new_key())
        job = Job(self._ws, made)
        job.output = target
        return job

    async def update(self, *, traffic: Mapping[str, int], unless_changed: bool = False) -> BatchEndpoint:
        """Share the traffic anew, {deployment: percent} adding up to 100.

        `unless_changed` raises Changed where somebody else changed the endpoint since this object looked.
        """
        tag = f'"{self.data["revision"]}"' if unless_changed else None
        path = url_path("batch-endpoints", self.name)
        self.data = await self._ws.connection.change("PATCH", path, {"traffic": dict(traffic)}, tag=tag)
        return self

    async def delete(self) -> None:
        """Delete it with its deployments. The models stay."""
        await self._ws.connection.delete(url_path("batch-endpoints", self.name))

    def __repr__(self) -> str:
        return f"BatchEndpoint({self.name!r})"


class BatchEndpoints:
    """`ws.batch_endpoints`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def list(self) -> Table[BatchEndpoint]:
        """All batch endpoints."""
        found = await self._ws.connection.items(url_path("batch-endpoints"))
        return Table(BatchEndpoint(self._ws, item) for item in found)

    async def get(self, name: str) -> BatchEndpoint:
        """A batch endpoint by name. Raises NotFound."""
        return BatchEndpoint(self._ws, await self._ws.connection.get(url_path("batch-endpoints", name)))
