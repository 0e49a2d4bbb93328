# Generated from bedplate/remote/models.py by platform/make_twin.py. Change that, then run: make twin
"""Models of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedplate.records import Record, seconds_of
from bedplate.tables import Table
from bedplate.wire import model_path, url_path

if TYPE_CHECKING:
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["Model", "Models"]


class Model(Record):
    """A version of a model."""

    SHOWN = ("ref", "task", "license", "parameters", "aliases", "created")
    _ws: RemoteWorkspace

    @property
    def ref(self) -> str:
        """Its name and version, such as `org/name:3`."""
        return str(self.data["ref"])

    @property
    def task(self) -> str | None:
        """What it can do as it is; None for a base, which is to be fine-tuned first."""
        task: str | None = self.data["task"]
        return task

    @property
    def license(self) -> str | None:
        license: str | None = self.data.get("license")
        return license

    @property
    def parameters(self) -> int | None:
        """How many weights it has."""
        parameters: int | None = self.data.get("parameters")
        return parameters

    @property
    def aliases(self) -> dict[str, int]:
        """The aliases of its name, and the version that each stands for."""
        return dict(self.data.get("aliases") or {})

    @property
    def created(self) -> float:
        """When it was registered, in seconds since 1970."""
        return seconds_of(self.data["created"])

    async def refresh(self) -> Model:
        """Look again."""
        self.data = await self._ws.connection.get(model_path(self.ref))
        return self

    async def card(self) -> str:
        """Its model card, in Markdown."""
        return await self._ws.connection.text(model_path(self.ref, "card"))

    async def files(self) -> Table[dict[str, Any]]:
        """Its files: path, SHA-256 and size."""
        return Table(await self._ws.connection.items(model_path(self.ref, "files")))

    async def versions(self) -> Table[Model]:
        """All versions of its name."""
        found = await self._ws.connection.items(model_path(self.ref, "versions"))
        return Table(Model(self._ws, item) for item in found)

    async def lineage(self) -> dict[str, Any]:
        """Where it came from: its source, and for a fine-tune base, data, settings and packages."""
        return await self._ws.connection.get(model_path(self.ref, "lineage"))

    async def verify(self) -> list[str]:
        """What is wrong with its files; every byte is read again."""
        found = await self._ws.connection.get(model_path(self.ref, "verify"))
        return [str(problem) for problem in found["problems"]]

    async def set_alias(self, alias: str, *, why: str = "") -> Model:
        """Point an alias, such as `production`, at this version; the reason is kept."""
        self.data = await self._ws.connection.change("PUT", model_path(self.ref, "aliases", alias), {"why": why})
        return self

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Model) and other.ref == self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"Model({self.ref!r})"


class Models:
    """`ws.models`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def list(
        self,
        *,
        task: str | None = None,
        license: str | None = None,
        finetunable_for: str | None = None,
        query: str | None = None,
    ) -> Table[Model]:
        """The newest version of each model; `query` is a part of its name."""
        filters: dict[str, Any] = {"task": task, "license": license, "finetunable_for": finetunable_for, "query": query}
        return Table(Model(self._ws, item) for item in await self._ws.connection.items(url_path("models"), **filters))

    async def get(self, ref: str) -> Model:
        """A model by `org/name`, `org/name:3` or `org/name@alias`. Raises NotFound."""
        return Model(self._ws, await self._ws.connection.get(model_path(ref)))
