"""Models: what is in the registry."""

from __future__ import annotations

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.tables import Column, table
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

COLUMNS = (
    Column("ref", "Model", link="url"),
    Column("task", "Task"),
    Column("license", "License"),
    Column("parameters", "Parameters", "number"),
    Column("created", "Created", "time"),
    Column("state", "State", "state"),
)


@page("/models", "Models", section="Models")
async def models(visit: Visit) -> None:
    """All models, the newest version of each."""
    found = await visit.ws.models.list()
    with title("Models", "What is here, with the newest version of each."):
        action("Import a model", place("import"), primary=True)
    if not found:
        empty("No model is here yet.", action="Import one", href=place("import"))
        return
    rows = [{**model.data, "url": place("models", model.ref)} for model in found]
    table(COLUMNS, rows, name="Models")
