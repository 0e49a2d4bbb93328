"""Audit: who changed what, a page at a time, and whether that record is whole."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.headings import action, title
from bedplate.studio.parts.notices import empty
from bedplate.studio.parts.settings_tabs import settings_tabs
from bedplate.studio.parts.tables import Column, table
from bedplate.studio.parts.turner import Page, PageTurner
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

PAGE_ENTRIES = 50
COLUMNS = (
    Column("id", "Number", sortable=False),
    Column("when", "When", sortable=False),
    Column("who", "Who", sortable=False),
    Column("action", "Action", sortable=False),
    Column("ended", "Result", sortable=False),
    Column("about", "About", sortable=False),
)
OF_THE_CALL = ("status", "via", "key", "from")


@page("/settings/audit", "Audit", section="Settings")
async def audit(visit: Visit, who: str = "", what: str = "") -> None:
    """Filters stand in the address, so that a reload and a bookmark show the same."""

    async def fetch(after: str | None) -> Page:
        who, action = user.value or None, words.value or None
        return await visit.ws.connection.get(url_path("audit"), limit=PAGE_ENTRIES, after=after, who=who, action=action)

    def show(items: list[dict[str, Any]]) -> None:
        if items:
            table(COLUMNS, [_row(entry) for entry in items], name="Audit log", page_rows=0)
        elif user.value or words.value:
            empty("None match.", action="Show all", href=place("settings", "audit"))
        else:
            empty("None yet.")

    async def choose() -> None:
        ui.navigate.history.replace(place("settings", "audit", who=user.value or None, what=words.value or None))
        await entries.begin()

    async def verify() -> None:
        verdict = await visit.ws.audit.verify()
        told.clear()
        with told:
            _tell(verdict.data)

    with title("Settings"):
        action("Verify the chain", verify)
    settings_tabs(visit, "Audit")
    told = html.div(role="status")
    with html.div().classes("bp-filters"):
        user = ui.input("Who", value=who).props("dense outlined debounce=400").on_value_change(choose)
        words = ui.input("Action (part of it)", value=what).props("dense outlined debounce=400").on_value_change(choose)
    entries = PageTurner(fetch, show, back="Newer", on="Older")
    await entries.begin()


def _tell(verdict: dict[str, Any]) -> None:
    if verdict["intact"]:
        with html.div().classes("bp-calmbox"):
            ui.label(f"The chain is whole: {verdict['entries']:,} entries, each bound to the one before.")
            ui.label(f"The last hash is {verdict['hash']}. Noted elsewhere, it shows later that nothing changed.")
        return
    with html.div().classes("bp-problem"):
        ui.label(str(verdict["problem"])).classes("bp-strong")
        ui.label("Compare with a backup, and ask who could write to the database.")


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    detail = entry["detail"]
    return {
        "id": entry["seq"],
        "when": datetime.fromtimestamp(entry["time"]).strftime("%Y-%m-%d %H:%M:%S"),
        "who": entry["who"],
        "action": entry["action"],
        "ended": [detail[name] for name in OF_THE_CALL if detail.get(name) is not None],
        "about": _about(detail),
    }


def _about(detail: dict[str, Any]) -> str:
    """What it was about; the number of the request comes last."""
    named = sorted((name for name in detail if name not in OF_THE_CALL), key=lambda name: name == "request_id")
    return ", ".join(f"{name} {_text(detail[name])}" for name in named)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
