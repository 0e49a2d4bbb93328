"""A list of jobs with what each is about, how far it is or why it waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html

from bedplate.studio.parts.job_words import duration_text, how_far, seconds_taken, subject_of
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.paged_table import PagedTable, search_pages
from bedplate.studio.parts.tables import Column
from bedplate.studio.parts.turner import Page
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

__all__ = ["JobList"]

# None can be sorted by: the newest come first, and to sort one page of many would mislead.
COLUMNS = (
    Column("id", "Job", link="url", sortable=False),
    Column("kind", "Kind", sortable=False),
    Column("state", "State", "state", sortable=False),
    Column("subject", "About", sortable=False),
    Column("owner", "Owner", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("took", "Took", sortable=False),
    Column("now", "Progress or reason", sortable=False),
)


NO_ARCHIVED = "false"  # what a list shows that nobody asked for anything else


class JobList:
    """The table with its pages. `choose` takes filters as REST has them, and `owner`, which it does not know."""

    def __init__(self, visit: Visit) -> None:
        self._connection, self._may_train = visit.ws.connection, visit.may("train")
        self._filters: dict[str, Any] = {}
        self._owner = ""
        self._pages = PagedTable(COLUMNS, name="Jobs", fetch=self._fetch, row=_row, nothing=self._make_nothing)

    async def choose(self, *, owner: str = "", **filters: Any) -> None:
        """Those jobs, from the newest on."""
        self._owner, self._filters = owner, filters
        is_filtered = bool(owner) or any(value not in ("", None, NO_ARCHIVED) for value in filters.values())
        self._none_yet.visible, self._none_match.visible = not is_filtered, is_filtered
        await self._pages.begin()

    async def look(self) -> None:
        """This page as it is now."""
        await self._pages.look()

    def _make_nothing(self) -> None:
        with html.div() as self._none_yet:
            empty("There is no job yet.", action="Fine-tune a model" if self._may_train else "", href=place("finetune"))
        with html.div() as self._none_match:
            empty("No job matches these filters.", action="Clear them", href=place("jobs"))

    async def _fetch(self, after: str | None) -> Page:
        owner = self._owner
        wanted = (lambda job: job["owner"] == owner) if owner else None
        return await search_pages(self._connection, url_path("jobs"), after, wanted, **self._filters)


def _row(job: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: job[name] for name in ("id", "kind", "state", "owner", "created")},
        "url": place("jobs", str(job["id"])),
        "subject": subject_of(job),
        "took": duration_text(seconds_taken(job)),
        "now": how_far(job) or str((job.get("error") or {}).get("message", "")),
    }
