"""What is told in words: an error with its way out, an empty place with the next step, a short message that leaves."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate_registry.errors import BedplateError

__all__ = ["empty", "hint", "problem", "toast", "toast_problem"]

# One message at a time: the next one takes the place of the last, and with it an error leaves that was mended. They are
# not counted: the library would count them together, whatever they say.
ONE_PLACE: dict[str, Any] = {"position": "top", "close_button": "Close", "group": "message", "badgeClass": "hidden"}


def problem(error: BedplateError) -> None:
    """What went wrong, and what to do next, in the place of what would have been shown."""
    with html.div(role="alert").classes("bp-problem"):
        ui.label(error.message).classes("bp-strong")
        if error.hint:
            ui.label(error.hint)


def hint(text: str) -> ui.label:
    """A sentence in small soft letters."""
    return ui.label(text).classes("bp-hint")


def empty(text: str, *, action: str = "", href: str = "") -> None:
    """That there is nothing here yet, and what to do about it."""
    with html.div().classes("bp-empty"):
        ui.label(text)
        if action:
            html.a(action, href=href).classes("bp-button")


def toast(text: str) -> None:
    """A message that leaves by itself."""
    ui.notify(text, type="positive", **ONE_PLACE)


def toast_problem(error: BedplateError) -> None:
    """An error that stays until it is closed, so that its remedy can be read, or until the next message."""
    ui.notify(f"{error.message} {error.hint}".strip(), type="negative", timeout=0, multi_line=True, **ONE_PLACE)
