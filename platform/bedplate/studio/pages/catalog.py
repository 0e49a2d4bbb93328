"""The catalog: what can be imported, from the list that comes with Bedplate or by the Hub's own search."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.filters import TASK_NAMES, Choice, Filters, bounds_of
from bedplate.studio.parts.headings import action, link, title
from bedplate.studio.parts.model_words import no_import
from bedplate.studio.parts.notices import empty, hint, problem
from bedplate.studio.parts.turner import Page, PageTurner, slices
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.catalog import shipped_catalog
from bedplate_registry.errors import BedplateError
from bedplate_registry.sizes import count_text

__all__ = ["catalog"]

PAGE_CARDS = 24
HUB = "hub"
FROM = {HUB: "The Hub"}
SORTS = {"parameters": "Smallest first", "-parameters": "Largest first", "task": "Task"}
PRESENCE = {"here": "Here already", "not": "Not here yet"}
Item = dict[str, Any]


@page("/catalog", "Catalog", section="Catalog")
async def catalog(visit: Visit) -> None:
    """Cards, each of which leads to the import, or to the model where it is here."""
    with title("Catalog", "Models that can be imported; what is here already says so. Aliases are under Models."):
        action("Import by MODEL_ID", place("import"), primary=True, why_not=no_import(visit))
        action("Models that are here", place("models"))
    await _Shelf(visit).begin()


class _Shelf:
    """The filters with the cards below them."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._problem: BedplateError | None = None
        first, more = _choices(visit)
        self._filters = Filters("catalog", "Search names and purposes", [*first, *more], self._look)
        self._filters.show(first, more)
        self._said = hint("").props('role="status"')
        self._turner = PageTurner(self._fetch, self._show)

    async def begin(self) -> None:
        await self._filters.begin()

    async def _look(self) -> None:
        of_hub = self._is_of_hub
        for key in ("sort", "presence"):
            self._filters.offer(key, is_offered=not of_hub)
        self._said.text = "From the Hub, most downloaded first." if of_hub else ""
        await self._turner.begin()

    @property
    def _is_of_hub(self) -> bool:
        return self._filters.get("source") == HUB

    async def _fetch(self, after: str | None) -> Page:
        """A page; what a Hub has against it is shown where the cards would be."""
        self._problem = None
        try:
            return await self._page(after)
        except BedplateError as exc:
            self._problem = exc
            return {"items": [], "next": None}

    async def _page(self, after: str | None) -> Page:
        values = self._filters.values
        source, sort, presence, size = (values.pop(key, "") for key in ("source", "sort", "presence", "size"))
        asked: dict[str, Any] = {**values, **bounds_of(size)}
        connection = self._visit.ws.connection
        if source == HUB:
            return await connection.get(url_path("catalog", "hub"), limit=PAGE_CARDS, after=after, **asked)
        items = [item for item in await connection.items(url_path("catalog"), **asked) if _fits(item, presence)]
        items.sort(key=lambda item: _order(item, sort.removeprefix("-")), reverse=sort.startswith("-"))
        self._said.text = f"{len(items):,} of the models that come with Bedplate's list."
        return await slices(items, PAGE_CARDS)(after)

    def _show(self, items: list[Item]) -> None:
        if self._problem is not None:
            problem(self._problem)
            action("Back to Bedplate's list", place("catalog", **{**self._filters.values, "source": None}))
            return
        if not items:
            self._show_none()
            return
        with html.div().classes("bp-cards"):
            for item in items:
                _card(self._visit, item)

    def _show_none(self) -> None:
        """Nothing: what else can be done with the words that were typed."""
        words = self._filters.get("query").strip()
        if not self._is_of_hub and self._visit.may("import"):
            there = place("catalog", **{**self._filters.values, "source": HUB})
            with html.div().classes("bp-empty"):
                ui.label("None in this list match.")
                with html.div().classes("bp-row"):
                    action("Search the Hub", there)
                    if "/" in words:
                        action(f"Import {words}", place("import", model_id=words))
            return
        empty("None match.", action="Show all", href=place("catalog"))


def _choices(visit: Visit) -> tuple[list[Choice], list[Choice]]:
    entries = shipped_catalog()
    first = [Choice.task(), Choice.finetunable_for()]
    if visit.may("import"):
        first.append(Choice("source", "Search in", FROM, none="Bedplate's list"))
    more = [
        Choice.size(),
        Choice("license", "License", ideas=sorted({entry.license for entry in entries if entry.license})),
        Choice("language", "Language", ideas=sorted({name for entry in entries for name in entry.languages})),
        Choice("presence", "Is it here?", PRESENCE),
        Choice("sort", "Sort by", SORTS, none="Name"),
    ]
    return first, more


def _fits(item: Item, presence: str) -> bool:
    return not presence or (presence == "here") == bool(item["here"])


def _order(item: Item, key: str) -> Any:
    """By the key, then by id."""
    value = item.get(key) if key else ""
    return (value is None, value or 0 if key == "parameters" else value or "", item["model_id"])


def _card(visit: Visit, item: Item) -> None:
    with html.article().classes("bp-card"):
        with html.h2().classes("bp-card-name"):
            if item["here"]:
                link(item["model_id"], place("models", item["here"]))
            else:
                html.span(item["model_id"])
        if item["about"]:
            html.p(item["about"]).classes("bp-card-about")
        with html.ul().classes("bp-chips"):
            for fact in _facts(item):
                html.li(fact)
        if item["finetunable_tasks"]:
            hint("Fine-tune for: " + ", ".join(TASK_NAMES.get(task, task) for task in item["finetunable_tasks"]))
        with html.div().classes("bp-row bp-card-foot"):
            _way_on(visit, item)


def _way_on(visit: Visit, item: Item) -> None:
    if item["here"]:
        action(f"Open {item['here']}", place("models", item["here"]))
        return
    action("Import", place("import", model_id=item["model_id"]), why_not=no_import(visit))
    if item["gated"]:
        ui.label("Its owner grants access to each reader.").classes("bp-tiny")


def _facts(item: Item) -> list[str]:
    task = TASK_NAMES.get(item["task"] or "", "") or ("base" if item["finetunable_tasks"] else item["task"] or "")
    found = [task, item["license"] or "no license named"]
    if item["parameters"]:
        found.append(f"{count_text(item['parameters'])} parameters")
    found += [", ".join(item["languages"])]
    if item["downloads"]:
        found.append(f"{item['downloads']:,} downloads a month")
    return [fact for fact in found if fact]
