"""Titles: of a page with what can be done there, and of its sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.notices import hint

__all__ = ["action", "link", "section", "title"]


@contextmanager
def title(text: str, about: str = "") -> Iterator[None]:
    """The page's heading; what is made inside stands at its right: its actions."""
    with html.div().classes("bp-title"):
        with html.div():
            html.h1(text)
            if about:
                hint(about)
        with html.div().classes("bp-actions"):
            yield


@contextmanager
def section(text: str, about: str = "", *, name: str = "") -> Iterator[None]:
    """A part of a page below a heading of its own; `name` is what links within the page lead to."""
    with html.section(**({"id": name} if name else {})):
        html.h2(text)
        if about:
            hint(about)
        yield


def link(text: str, href: str) -> html.a:
    """A link to another page."""
    return html.a(text, href=href)


def action(
    text: str, target: str | Callable[[], Any], *, primary: bool = False, danger: bool = False, why_not: str = ""
) -> None:
    """A button that does something, or a link that looks like one. With `why_not` it does nothing, and tells why.

    While it does something, clicks on it do nothing.
    """
    classes = f"bp-button{' bp-primary' if primary else ''}{' bp-danger' if danger else ''}"
    if why_not:
        with html.span(role="link", **{"aria-disabled": "true", "tabindex": "0"}).classes(f"{classes} bp-off"):
            ui.label(text)
            ui.label(f": {why_not}").classes("bp-unseen")
            ui.tooltip(why_not)
    elif isinstance(target, str):
        html.a(text, href=target).classes(classes)
    else:
        _button(text, target).classes(classes)


def _button(text: str, target: Callable[[], Any]) -> html.button:
    """It is told to be off while its handler runs, and not made so: that would take the focus from the keyboard."""
    is_busy = False

    async def act() -> None:
        nonlocal is_busy
        if is_busy:
            return
        is_busy = True
        button.props("aria-disabled=true")
        try:
            answer = target()
            if isawaitable(answer):
                await answer
        finally:
            is_busy = False
            if not button.is_deleted:  # what it did may have drawn its part of the page anew
                button.props(remove="aria-disabled")

    button = html.button(text, type="button").on("click", act)
    return button
