"""Compute: what the machine has, who holds what of it since when, and who is next in line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.gauges import Gauge
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.live import every
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.sheets import sheet
from bedplate.studio.parts.tables import when
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.sizes import size_text

LOOK_SECONDS = 2.0
HOLDERS = ("Who", "Kind", "Owner", "Cores", "Memory", "GPUs", "Since", "Gives way")
QUEUE = ("Place", "Job", "Kind", "Owner", "Priority", "Waits for")


@page("/compute", "Compute", section="Compute")
async def compute(visit: Visit) -> None:
    """The machine, looked at again every other second."""
    with title("Compute", "What this machine has, who holds it, and who is next."):
        pass
    board = _Board(visit)
    await board.look()
    every(LOOK_SECONDS, board.look)


class _Board:
    """All of the page; each part is drawn anew only where it changed."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._cards: dict[str, Gauge] = {}
        self._seen: dict[str, Any] = {}
        self._owners: dict[str, str] = {}  # of endpoints
        with html.div().classes("bp-panel"):
            self._cores, self._memory = Gauge("Cores"), Gauge("Memory")
        with section("GPUs"):
            self._gpus = html.div()
        with section("Who holds what"):
            self._holders = html.div()
        with section("The queue"):
            self._queue = html.div()

    async def look(self) -> bool:
        """Everything as it is now; it never ends."""
        found = await self._visit.ws.compute()
        await self._tell_owners([*found["holders"], *(one for card in found["gpus"] for one in card["held_by"])])
        free, cores = found["free"], found["cores"]
        self._cores.show(cores - free["cores"], cores, f"{free['cores']} of {cores} free")
        total, left = found["memory_bytes"], free["memory_bytes"]
        at_the_moment = f"{size_text(found['memory_free_bytes'])} are unused at the moment."
        self._memory.show(total - left, total, f"{size_text(left)} of {size_text(total)} free", at_the_moment)
        self._show_cards(found["gpus"])
        index_of = {card["uuid"]: str(card["index"]) for card in found["gpus"]}
        self._redraw(self._holders, [found["holders"], index_of], lambda: _holders(found["holders"], index_of))
        queue = [found["queue"], found["jobs_queued"]]
        self._redraw(self._queue, queue, lambda: _queue(found["queue"], found["jobs_queued"]))
        return False

    async def _tell_owners(self, holders: list[dict[str, Any]]) -> None:
        """A replica belongs to whom its endpoint belongs to."""
        replicas = [holder for holder in holders if not holder["owner"] and "/" in holder["id"]]
        if any(_endpoint_of(replica) not in self._owners for replica in replicas):
            self._owners = {each.name: each.data["owner"] for each in await self._visit.ws.endpoints.list()}
        for replica in replicas:
            replica["owner"] = self._owners.get(_endpoint_of(replica))

    def _show_cards(self, cards: list[dict[str, Any]]) -> None:
        named = [(card["uuid"], card["problem"]) for card in cards]
        self._redraw(self._gpus, named, lambda: self._make_cards(cards))
        for card in cards:
            if gauge := self._cards.get(card["uuid"]):
                free, total = card["free_bytes"], card["memory_bytes"]
                gauge.show(total - free, total, f"{size_text(free)} of {size_text(total)} free", _about(card))

    def _make_cards(self, cards: list[dict[str, Any]]) -> None:
        self._cards = {}
        if not cards:
            hint("None seen: models train and serve on the CPU.")
        for card in cards:
            with html.div().classes("bp-panel"):
                if card["problem"]:
                    ui.label(f"GPU {card['index']}: {card['name']}").classes("bp-strong")
                    ui.label(f"Not used: {card['problem']} {card['remedy']}")
                else:
                    self._cards[card["uuid"]] = Gauge(f"GPU {card['index']}: {card['name']}")

    def _redraw(self, where: html.div, seen: Any, draw: Any) -> None:
        if self._seen.get(str(where.id)) != seen:
            self._seen[str(where.id)] = seen
            where.clear()
            with where:
                draw()


def _endpoint_of(replica: Mapping[str, Any]) -> str:
    return str(replica["id"]).partition("/")[0]


def _about(card: Mapping[str, Any]) -> str:
    """What a card does, and for whom."""
    busy = "" if card["utilization"] is None else f"{card['utilization']} % busy"
    held = []
    for holder in card["held_by"]:
        share = "" if holder["memory_bytes"] is None else f"{size_text(holder['memory_bytes'])}, "
        since = f" since {when(holder['since'])}" if holder["since"] else ""
        held.append(f"held by {holder['id']} ({share}{holder['owner'] or 'nobody'}){since}")
    others = [f"{each['name']} (pid {each['pid']}) uses {size_text(each['memory_bytes'])}" for each in card["others"]]
    return "; ".join(filter(None, [busy, *held, *others]))


def _holders(holders: list[dict[str, Any]], index_of: Mapping[str, str]) -> None:
    if not holders:
        hint("Nobody: all of it is free.")
        return
    with sheet(HOLDERS, name="Who holds what"):
        for holder in holders:
            cards = ", ".join(index_of.get(uuid, uuid) for uuid in holder["gpus"])
            with html.tr():
                with html.td():
                    _name(holder["kind"], holder["id"])
                html.td(holder["kind"])
                html.td(holder["owner"] or "")
                html.td(str(holder["cores"]))
                html.td(size_text(holder["memory_bytes"]))
                html.td(cards or "none")
                html.td(when(holder["since"]))
                html.td("yes" if holder["preemptible"] else "no")


def _queue(queue: list[dict[str, Any]], queued: int) -> None:
    if not queue:
        hint("Nobody waits.")
        return
    with sheet(QUEUE, name="The queue"):
        for job in queue:
            with html.tr():
                html.td(str(job["position"] or ""))
                with html.td():
                    _name("job", job["id"])
                html.td(job["kind"])
                html.td(job["owner"])
                html.td(str(job["priority"]))
                html.td(str(job["waiting"] or ""))
    if queued > len(queue):
        html.a(f"and {queued - len(queue):,} more", href=place("jobs", state="queued"))


def _name(kind: str, name: str) -> None:
    """A job as a link; a replica belongs to the endpoint that it is called after."""
    if kind == "job":
        html.a(name, href=place("jobs", name))
    elif "/" in name:
        html.a(name, href=place("endpoints", name.partition("/")[0]))
    else:
        html.span(name)
