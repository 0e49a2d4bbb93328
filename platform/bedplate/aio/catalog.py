# Generated from bedplate/remote/catalog.py by platform/make_twin.py. Change that, then run: make twin
"""The catalog: models that can be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedplate.records import Record
from bedplate.tables import Table
from bedplate.wire import items_of, url_path

if TYPE_CHECKING:
    from bedplate.aio.models import Model
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["Catalog", "CatalogModel"]

HUB_PAGE = 100  # models that one search of the Hub gives


class CatalogModel(Record):
    """A model that can be imported by its id."""

    SHOWN = ("model_id", "task", "license", "parameters", "here", "about")
    _ws: RemoteWorkspace

    @property
    def model_id(self) -> str:
        """Its id at the Hub."""
        return str(self.data["model_id"])

    @property
    def task(self) -> str | None:
        task: str | None = self.data["task"]
        return task

    @property
    def license(self) -> str | None:
        license: str | None = self.data["license"]
        return license

    @property
    def parameters(self) -> int | None:
        """How many weights it has, approximately; None where the Hub does not say."""
        parameters: int | None = self.data["parameters"]
        return parameters

    @property
    def about(self) -> str:
        """What it is for; empty where only the Hub knows it."""
        return str(self.data["about"])

    @property
    def here(self) -> str | None:
        """The version that was imported from it, as `org/name:1`; None where none was."""
        here: str | None = self.data["here"]
        return here

    async def import_model(self, **options: Any) -> Model:
        """Import it and wait for it, as `ws.import_model` does."""
        return await self._ws.import_model(self.model_id, **options)

    def __repr__(self) -> str:
        return f"CatalogModel({self.model_id!r})"


class Catalog:
    """`ws.catalog`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def search(
        self,
        query: str = "",
        *,
        task: str | None = None,
        finetunable_for: str | None = None,
        license: str | None = None,
        language: str | None = None,
        min_parameters: int | None = None,
        max_parameters: int | None = None,
        hub: bool = False,
        limit: int = 100,
    ) -> Table[CatalogModel]:
        """Models that can be imported, from the list that comes with Bedplate, or with `hub` from the Hub's own search.

        `query` is words of the id or the purpose. The Hub gives at most 100. Raises Unavailable where it does not
        answer.
        """
        filters: dict[str, Any] = {"query": query or None, "task": task, "finetunable_for": finetunable_for}
        filters |= {"license": license, "language": language}
        filters |= {"min_parameters": min_parameters, "max_parameters": max_parameters}
        if hub:  # one page, since the pages of a Hub have no end
            page = await self._ws.connection.get(url_path("catalog", "hub"), limit=min(limit, HUB_PAGE), **filters)
            found = items_of(page, self._ws.connection.url)
        else:
            found = await self._ws.connection.items(url_path("catalog"), limit=limit, **filters)
        return Table(CatalogModel(self._ws, item) for item in found)
