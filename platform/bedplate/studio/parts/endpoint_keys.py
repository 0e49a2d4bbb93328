"""An endpoint's own two keys: callers move to one while the other is made anew."""

from __future__ import annotations

from functools import partial

from nicegui import html

from bedplate.aio.endpoints import Endpoint
from bedplate.studio.parts.dialogs import confirm, show_once
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.tables import when
from bedplate.studio.visit import Visit

__all__ = ["endpoint_keys"]

SLOTS = ("primary", "secondary")


async def endpoint_keys(visit: Visit, endpoint: Endpoint) -> None:
    """Both slots, for those who may see them."""
    if not visit.may("operate"):
        hint(f"Your role, {visit.role}, does not see these. One of yours: bedplate keys create NAME --scope infer")
        return
    spot = html.div().classes("bp-cards")

    async def draw() -> None:
        made = {key.slot: key for key in await endpoint.keys() if key.revoked is None}
        spot.clear()
        with spot:
            for slot in SLOTS:
                key = made.get(slot)
                with html.article(**{"aria-label": f"Key {slot}"}).classes("bp-card"):
                    html.h3(slot.capitalize())
                    facts([("Id", key.id), ("Created", when(key.created))] if key else [("Id", "none yet")])
                    with html.div().classes("bp-actions"):
                        action("Make it anew" if key else "Make it", partial(rotate, slot, key is not None))

    async def rotate(slot: str, has_one: bool) -> None:
        question = f"Make the {slot} key anew? The one before it is refused at once: move callers to the other first."
        if has_one and not await confirm(question, button="Make it anew"):
            return
        key = await endpoint.rotate_key(slot)
        await show_once(f"The new {slot} key of {endpoint.name}", str(key.text))
        await draw()

    await draw()
