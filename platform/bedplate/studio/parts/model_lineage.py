"""Where a version comes from, and what was made of it."""

from __future__ import annotations

from typing import Any

from nicegui import html

from bedplate.aio.models import Model
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.paged_table import turned_table
from bedplate.studio.parts.tables import Column, when
from bedplate.studio.paths import place

__all__ = ["lineage"]

FAMILY = (
    Column("ref", "Model", link="url", sortable=False),
    Column("relation", "How", sortable=False),
    Column("does", "Task", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("state", "State", "state", sortable=False),
)


async def lineage(model: Model) -> None:
    """Parents, derived models, and who accepted its license."""
    found = await model.lineage()
    with section("Parents"):
        await _family(found["parents"], "None here: it was imported, or its parent is gone.")
        source = found["source"]
        if source["kind"] == "job":
            with html.p():
                html.span("By the job ")
                html.a(source["id"], href=place("jobs", source["id"]))
    with section("Derived models"):
        await _family(found["children"], "None yet.", place("finetune", model=model.ref), "Fine-tune it")
    if found["license_acceptances"]:
        with section("License accepted"), html.ul():
            for each in found["license_acceptances"]:
                html.li(f"{each['license']} by {each['by']} on {when(each['when'])}, for {each['where']}")


async def _family(relatives: list[dict[str, Any]], none: str, href: str = "", step: str = "") -> None:
    if not relatives:
        empty(none, action=step, href=href) if step else hint(none)
        return
    rows = [
        {
            **each,
            "url": None if each["state"] == "missing" else place("models", each["ref"]),
            "does": TASK_NAMES.get(each["task"] or "", each["task"]),
        }
        for each in relatives
    ]
    await turned_table(FAMILY, rows, name="Models")
