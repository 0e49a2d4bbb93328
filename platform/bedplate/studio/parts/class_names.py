"""What labels that are numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from bedplate.studio.parts.notices import hint

__all__ = ["class_names"]

WHOLE = ("integer", "list<integer>")
NAME = "class_names"


def class_names(settings: dict[str, Any], column: str | None, schema: Sequence[Mapping[str, Any]]) -> None:
    """A field for the names of the labels 0, 1, 2 … in `column`; they are a setting."""

    def take(event: Any) -> None:
        names = [name.strip() for name in (event.value or "").split(",") if name.strip()]
        settings.pop(NAME, None)
        if names:
            settings[NAME] = names

    field = ui.input("Class names", value=", ".join(settings.get(NAME, ())), on_change=take)
    field.props("outlined dense debounce=250").classes("bp-field")
    about: Mapping[str, Any] = next((one for one in schema if one["name"] == column), {})
    if about.get("type") in WHOLE or about.get("looks_like") in WHOLE:
        hint(f"{column} holds numbers. Say what 0, 1, 2 … mean, with commas: no, yes")
    else:
        hint("Only where labels are the numbers 0, 1, 2 …: what they mean, with commas.")
