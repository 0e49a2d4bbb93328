"""Tabs that are filled when they are opened; which one that is stands in the page's address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from nicegui import context, html, ui

from bedplate.studio.parts import notices
from bedplate.studio.paths import place
from bedplate_registry.errors import BedplateError

__all__ = ["tabs"]

Fill = Callable[[], Awaitable[None]]
TAB = "tab"


async def tabs(where: tuple[str, ...], fills: Mapping[str, tuple[str, Fill]]) -> None:
    """A tab for each name: its title, and what fills it. `where` is the page's own place."""
    first = next(iter(fills))
    asked = context.client.request.query_params.get(TAB, "")
    chosen = asked if asked in fills else first
    with ui.tabs().props('align="left" no-caps dense outside-arrows mobile-arrows') as bar:
        for name, (shown, _) in fills.items():
            ui.tab(name, label=shown)
    bar.classes("bp-tabbar")
    filled: set[str] = set()
    places: dict[str, html.div] = {}
    with ui.tab_panels(bar, value=chosen, animated=False).classes("bp-tabpanels"):
        for name in fills:
            with ui.tab_panel(name):
                places[name] = html.div()

    async def fill(name: str) -> None:
        if name in filled:
            return
        filled.add(name)
        with places[name]:
            try:
                await fills[name][1]()
            except BedplateError as exc:
                filled.discard(name)  # it is tried again when the tab is opened the next time
                places[name].clear()
                notices.problem(exc)

    async def opened() -> None:
        name = str(bar.value)
        ui.navigate.history.replace(place(*where, **({} if name == first else {TAB: name})))
        await fill(name)

    bar.on_value_change(opened)
    await fill(chosen)
