"""How to use a version: ask the endpoints that serve it, and commands and code to copy."""

from __future__ import annotations

from nicegui import html

from bedplate.aio.models import Model
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.how import code
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.try_it import try_it
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

__all__ = ["use"]


async def use(visit: Visit, model: Model) -> None:
    """Try it, and samples."""
    with section("Try it"):
        await _try(visit, model)
    with section("As commands and code"):
        await _samples(visit, model)


async def _try(visit: Visit, model: Model) -> None:
    if model.task is None:
        hint("A base has no head to answer with: fine-tune it first.")
        return
    lineage, there = await model.lineage(), await visit.ws.endpoints.list()
    serving = {row["endpoint"] for row in lineage["deployments"]}
    names = sorted(endpoint.name for endpoint in there if endpoint.name in serving)
    if names:
        await try_it(visit, model.task, names)
    elif model.state == "archived":
        empty("No endpoint serves it, and it is archived.")
    else:
        empty("No endpoint serves it yet.", action="Deploy it", href=place("deploy", model=model.ref))


async def _samples(visit: Visit, model: Model) -> None:
    samples = await model.samples()
    if not samples:
        hint("An archived version has none: nothing new is made of it.")
        return
    hint(f"On another machine first: export BEDPLATE_URL={visit.origin} BEDPLATE_TOKEN=(a key of yours)")
    for sample in samples:
        html.h3(sample["title"]).classes("bp-sample")
        if sample["about"]:
            hint(sample["about"].replace("`", ""))
        with html.div().classes("bp-how bp-once"):
            code(sample["code"], sample["title"])
