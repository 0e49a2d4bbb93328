"""A choice of one of the models that are here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from bedplate.studio.visit import Visit

__all__ = ["model_choice"]

MOST_MODELS = 500  # in the list; the name of any other is typed


async def model_choice(
    visit: Visit,
    draft: dict[str, Any],
    key: str,
    label: str,
    *,
    only: Callable[[dict[str, Any]], bool] = lambda model: True,
    on_change: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """A field whose value is `draft[key]`, a version's reference; `only` says which are offered."""

    async def take(event: Any) -> None:
        draft[key] = event.value or None
        if on_change is not None:
            await on_change()

    found = [model.data for model in await visit.ws.models.list(limit=MOST_MODELS)]
    options = {one["ref"]: f"{one['ref']} ({one['task'] or 'base'})" for one in found if only(one)}
    if draft[key]:
        options.setdefault(draft[key], draft[key])
    field = ui.select(
        options, label=label, value=draft[key], with_input=True, clearable=True, new_value_mode="add-unique"
    )
    field.on_value_change(take).props("outlined dense").classes("bp-field")
