"""Settings: the server itself, and which licenses it lets in. The other tabs are pages of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nicegui import html, ui

import bedplate
from bedplate.studio.frame import page
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.settings_tabs import settings_tabs
from bedplate.studio.visit import Visit

WORDS = {
    "allow": ("Allowed", "Where there are any, all others are denied."),
    "ask": ("Accepted by name", "Whoever imports or deploys such a model accepts its license."),
    "deny": ("Denied", "Such a model is neither imported nor deployed."),
}


@page("/settings", "Settings", section="Settings")
async def settings(visit: Visit) -> None:
    """What this server is."""
    server = await visit.ws.status()
    lists = await visit.ws.connection.get("/api/v1/server/licenses")
    with title("Settings"):
        pass
    settings_tabs(visit, "Server")
    with html.div().classes("bp-panel"):
        facts(
            (
                ("Version", bedplate.__version__),
                ("Address", server["url"]),
                ("Home", server["home"]),
                ("Process", f"pid {server['pid']}"),
                ("Jobs", f"{server['jobs_running']} running, {server['jobs_queued']} queued"),
                ("Endpoints", server["endpoints"]),
                ("Gateway", server["gateway_problem"]),
                ("Times in Studio", _zone()),
                ("You are", f"{visit.user}, {visit.role}"),
                ("You may", ", ".join(sorted(visit.permissions))),
            )
        )
    with section("License policy", "Which licenses a model that is imported or deployed may have."):
        _licenses(lists)


def _zone() -> str:
    """Times on all pages are by the clock of the server's machine."""
    now = datetime.now().astimezone()
    return f"by this server's clock: {now:%Y-%m-%d %H:%M}, {now.tzname()} (UTC{now:%z})"


def _licenses(lists: dict[str, Any]) -> None:
    names = ", ".join(lists["set_by"][word] for word in WORDS)
    hint(f"Set where the server is started, by {names}.")
    if not any(lists[word] for word in WORDS):
        ui.label("No list is set: every license is allowed.")
        return
    with html.div().classes("bp-two"):
        for word, (name, about) in WORDS.items():
            with html.div().classes("bp-panel"):
                html.h3(name)
                hint(about)
                ui.label(", ".join(lists[word]) or "none")
