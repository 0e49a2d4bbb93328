# Generated from bedplate/remote/evaluations.py by platform/make_twin.py. Change that, then run: make twin
"""Evaluations: what was measured of a model, on which data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedplate.aio.seam import to_thread
from bedplate.caller import as_given, page_target, parquet_target, path_of, sha256_of
from bedplate.records import Record, seconds_of
from bedplate.tables import Table, facts_html
from bedplate.wire import url_path
from bedplate_registry.errors import NotFound, Refused

if TYPE_CHECKING:
    from bedplate.aio.workspace import RemoteWorkspace

__all__ = ["Evaluations", "Report"]


class Report(Record):
    """An evaluation; `data` is all of it, with confidence intervals, baselines and the data's digest.

    One of a list has the head of it: the figures of the model and of what it was held against. `refresh` gets the rest.
    """

    SHOWN = ("id", "model", "task", "created")
    _ws: RemoteWorkspace

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def model(self) -> str:
        """The version that was measured, such as `org/name:3`."""
        return str(self.data["model"])

    @property
    def task(self) -> str:
        return str(self.data["task"])

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970."""
        return seconds_of(self.data["created"])

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures, by the names of the docs."""
        metrics: dict[str, float] = self.data["metrics"]
        return metrics

    async def refresh(self) -> Report:
        """All of it."""
        self.data = await self._ws.connection.get(url_path("evaluations", self.id))
        return self

    async def predictions(self, path: str | Path) -> Path:
        """Write what the model said of each row to a Parquet file. Raises NotFound where that was not kept."""
        target = await to_thread(parquet_target, path)
        await self._ws.connection.download(url_path("evaluations", self.id, "predictions"), target)
        return target

    async def rows(
        self,
        *,
        right: bool | None = None,
        target: str | None = None,
        predicted: str | None = None,
        contains: str | None = None,
        score_below: float | None = None,
        limit: int | None = 100,
    ) -> Table[dict[str, Any]]:
        """What the model said of the first `limit` rows that are chosen, or of all; see docs/evaluation.md.

        Raises NotFound where that was not kept.
        """
        path = url_path("evaluations", self.id, "rows")
        chosen: dict[str, Any] = {"target": target, "predicted": predicted, "contains": contains}
        chosen |= {"right": None if right is None else str(right).lower(), "score_below": score_below}
        return Table(await self._ws.connection.items(path, limit=limit, **chosen))

    async def page(self, path: str | Path) -> Path:
        """Write the report as one HTML file with charts, which needs nothing else to be read.

        Raises Refused for a name of another kind of file.
        """
        target = await to_thread(page_target, path)
        await self._ws.connection.download(url_path("evaluations", self.id, "page"), target)
        return target

    def __repr__(self) -> str:
        return f"Report({self.id!r}, model={self.model!r})"

    def _repr_html_(self) -> str:
        return facts_html(repr(self), self.metrics)


class Evaluations:
    """`ws.evaluations`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    async def list(self, *, model: str | None = None, task: str | None = None) -> Table[Report]:
        """All of them, or those of a model version (`org/name:3`), of all versions of a name, or of a task.

        The newest first. Raises NotFound for a model that is not there and was never evaluated.
        """
        found = await self._ws.connection.items(url_path("evaluations"), model=model, task=task)
        return Table(Report(self._ws, item) for item in found)

    async def get(self, evaluation_id: str) -> Report:
        """One by its id. Raises NotFound."""
        found: dict[str, Any] = await self._ws.connection.get(url_path("evaluations", evaluation_id))
        return Report(self._ws, found)

    async def leaderboard(
        self, task: str | None = None, data: str | Path | None = None, *, metric: str | None = None
    ) -> Table[dict[str, Any]]:
        """The models that were measured for a task on some data, the best first by its main metric or by another one.

        `data` is a dataset, a file, the SHA-256 of one, or the `id` of a board. Without it: the boards there are, each
        with its `best`. A model that `ties_best` has an interval that overlaps the best one's. Raises
        NotFound where nothing was measured; Refused, which names their ids, where the data has several boards.
        """
        if data is None:
            return Table(await self._ws.connection.items(url_path("leaderboards"), task=task))
        if task is None:
            raise Refused(
                f"A leaderboard of {str(data)!r} is one of a task.", hint="Give the task too.", code="needs-task"
            )
        path = path_of(data, "data")
        name = await to_thread(sha256_of, path) if path.is_file() else str(data)
        try:
            return Table(await self._ws.connection.items(url_path("leaderboards", task), data=name, metric=metric))
        except (NotFound, Refused) as exc:
            raise as_given(exc, name, str(data)) from exc
