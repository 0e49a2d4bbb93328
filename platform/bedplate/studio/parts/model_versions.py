"""All versions of a name, and what its aliases mean and meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import html, ui

from bedplate.aio.models import Model
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import action, section
from bedplate.studio.parts.model_gates import gates
from bedplate.studio.parts.model_words import aliases_of, not_allowed
from bedplate.studio.parts.notices import hint, toast
from bedplate.studio.parts.paged_table import turned_table
from bedplate.studio.parts.tables import Column
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

__all__ = ["versions"]

COLUMNS = (
    Column("ref", "Version", link="url", sortable=False),
    Column("does", "Task", sortable=False),
    Column("parameters", "Parameters", "number", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("means", "Aliases", sortable=False),
    Column("state", "State", "state", sortable=False),
)
MOVES = (
    Column("when", "When", "time", sortable=False),
    Column("meant", "Meant", sortable=False),
    Column("by", "By", sortable=False),
    Column("reason", "Why", sortable=False),
)
Again = Callable[[], Awaitable[None]]


async def versions(visit: Visit, model: Model) -> None:
    """Everything of the name, and how to move an alias to this version."""
    whole = html.div()

    async def show() -> None:
        await model.refresh()
        found = sorted(await model.versions(), key=lambda one: int(one.data["version"]), reverse=True)
        moves = {alias: await visit.ws.models.alias_history(model.data["name"], alias) for alias in model.aliases}
        whole.clear()
        with whole:
            with section("Versions"):
                await turned_table(COLUMNS, [_row(one) for one in found], name="Versions")
            with section("Aliases", "A word for one version, which endpoints and people can rely on."):
                for alias in sorted(moves):
                    await _alias(visit, model, alias, moves[alias], show)
                if not moves:
                    hint("None yet.")
                _set(visit, model, show)
            await gates(visit, model, show)

    await show()


def _row(model: Model) -> dict[str, Any]:
    does = TASK_NAMES.get(model.task or "", model.task) or "Base"
    return {**model.data, "url": place("models", model.ref), "does": does, "means": aliases_of(model.data)}


async def _alias(visit: Visit, model: Model, alias: str, moves: list[dict[str, Any]], again: Again) -> None:
    """What one alias means, and every move that led there."""
    name, why_not = model.data["name"], not_allowed(visit, "operate")

    async def back() -> None:
        moved = await visit.ws.models.roll_back(name, alias, why="from Studio")
        toast(f"{alias} means {moved.ref} again.")
        await again()

    async def remove() -> None:
        if await confirm(f"Remove the alias {alias}? What it meant stays on record.", button="Remove it"):
            await visit.ws.models.remove_alias(name, alias, why="from Studio")
            await again()

    with html.div().classes("bp-panel"):
        with html.div().classes("bp-title"):
            with html.div():
                html.h3(alias)
                html.a(f"{name}:{model.aliases[alias]}", href=place("models", f"{name}:{model.aliases[alias]}"))
            with html.div().classes("bp-actions"):
                action("Roll back", back, why_not=why_not or ("" if len(moves) > 1 else "it never meant another one"))
                action("Remove", remove, why_not=why_not)
        rows = [_move(name, move) for move in reversed(moves)]
        await turned_table(MOVES, rows, name=f"What {alias} meant")


def _move(name: str, move: dict[str, Any]) -> dict[str, Any]:
    unmet = f"against its gate: {'; '.join(move['unmet'])}" if move["unmet"] else ""
    how = "rolled back" if move["rollback"] else ""
    meant = "nothing" if move["version"] is None else f"{name}:{move['version']}"
    return {**move, "meant": meant, "reason": " · ".join(part for part in (move["why"], how, unmet) if part)}


def _set(visit: Visit, model: Model, again: Again) -> None:
    """Point an alias at this version, for a reason."""
    why_not = not_allowed(visit, "operate") or ("it is archived; restore it first" if model.state == "archived" else "")
    with html.div().classes("bp-panel"):
        html.h3(f"Point an alias at {model.ref}")
        with html.div().classes("bp-row bp-alias"):
            alias = ui.input("Alias, such as production").props("outlined dense")
            why = ui.input("Why (kept on record)").props('outlined dense maxlength="2000"')
            passes_over = ui.checkbox("Whatever its gate says") if visit.may("admin") else None

            async def move() -> None:
                override = bool(passes_over and passes_over.value)
                await model.set_alias(alias.value or "", why=why.value or "", override=override)
                toast(f"{alias.value} means {model.ref} now.")
                await again()

            action("Set alias", move, why_not=why_not)
