"""Doctor: what works on the server's machine, and what to do about what does not."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.settings_tabs import settings_tabs
from bedplate.studio.visit import Visit

TONES = {"ok": "good", "warn": "busy", "fail": "bad"}
ORDER = ("fail", "warn", "ok")


@page("/settings/doctor", "Doctor", section="Settings")
async def doctor(visit: Visit) -> None:
    """The page comes at once; the checks take some seconds and follow."""

    async def examine() -> None:
        found.clear()
        with found, html.div(role="status").classes("bp-row"):
            ui.spinner()
            ui.label("Looking at cards, torch, database, cage, disk and Hub. This takes some seconds.")
        checks = (await visit.ws.connection.get("/api/v1/server/doctor", patient=True))["items"]
        found.clear()
        with found:
            _show(checks)

    with title("Settings"):
        action("Look again", examine)
    settings_tabs(visit, "Doctor")
    found = html.div()
    ui.timer(0.05, examine, once=True)


def _show(checks: list[dict[str, Any]]) -> None:
    bad = sum(check["status"] != "ok" for check in checks)
    with html.div(role="status"):
        ui.label(f"{len(checks)} checks, {bad} of them with something to do." if bad else "All is well.")
    for check in sorted(checks, key=lambda check: ORDER.index(check["status"])):
        with html.div().classes("bp-panel"):
            with html.div().classes("bp-row"):
                html.span(check["status"]).classes(f"bp-state bp-{TONES[check['status']]}")
                html.h2(check["check"])
            ui.label(check["detail"])
            if check["remedy"]:
                hint(f"What to do: {check['remedy']}")
