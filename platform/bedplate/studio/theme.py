"""The look: one style sheet (static/studio.css), two themes, the colors that charts need in Python."""

from __future__ import annotations

from fastapi import Request
from nicegui import app, ui

__all__ = ["CHART_COLORS", "add_theme", "theme_of"]

COOKIE = "bedplate_theme"
CHART_COLORS = ("#2a7f79", "#c4682f", "#5a6fb0", "#a14a76", "#7a8b2d", "#8a6d3b")


def add_theme() -> None:
    """The same style sheet on all pages, after the library's own, which lie in layers below it."""
    ui.add_head_html('<link rel="stylesheet" href="/static/studio.css">', shared=True)
    app.colors(
        primary="#1f5f5b",
        secondary="#5d6664",
        accent="#1f5f5b",
        positive="#256b3d",
        negative="#9b2c1f",
        info="#2f5f8a",
        warning="#8a5a00",
        dark="#1d2221",
        dark_page="#151918",
    )


def theme_of(request: Request) -> bool | None:
    """Dark, light, or None for what the browser prefers."""
    return {"dark": True, "light": False}.get(request.cookies.get(COOKIE, ""))
