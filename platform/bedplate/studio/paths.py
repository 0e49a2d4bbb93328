"""Where pages are: their addresses, made in one place, so that no name of a stranger's gets into one unquoted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

__all__ = ["go", "place"]

ROOT = "/studio"


def place(*parts: str, **query: Any) -> str:
    """The address of a page: place("models", "org/name:3"); `query` is what is given after the ?, None left out."""
    path = "/".join([ROOT, *(quote(part, safe="/:@") for part in parts)]) if parts else f"{ROOT}/"
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def go(*parts: str, **query: Any) -> None:
    """Lead the browser to a page."""
    ui.navigate.to(place(*parts, **query).removeprefix(ROOT))  # NiceGUI puts our prefix before it
