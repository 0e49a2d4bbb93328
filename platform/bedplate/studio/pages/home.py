"""The first page: what is here, what runs, and where to begin."""

from __future__ import annotations

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, title
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit


@page("/", "Home", section="")
async def home(visit: Visit) -> None:
    """Whoever comes in."""
    with title("Bedplate", f"Signed in as {visit.user} ({visit.role})."):
        action("Import a model", place("import"), primary=True)
