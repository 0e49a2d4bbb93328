"""The pages below Settings, as tabs that are links: each has an address, and is there only for roles that may."""

from __future__ import annotations

from nicegui import html

from bedplate.studio.paths import place
from bedplate.studio.visit import Visit

__all__ = ["settings_tabs"]

TABS = (
    ("Server", "", "read"),
    ("Keys", "keys", "account"),
    ("Users", "users", "admin"),
    ("Audit", "audit", "admin"),
    ("Doctor", "doctor", "operate"),
)


def settings_tabs(visit: Visit, current: str) -> None:
    """`current` is the name of the tab that is open."""
    with html.nav(**{"aria-label": "Settings"}).classes("bp-tabs"):
        for name, part, permission in TABS:
            if visit.may(permission):
                here = {"aria-current": "page"} if name == current else {}
                html.a(name, href=place("settings", part) if part else place("settings"), **here)
