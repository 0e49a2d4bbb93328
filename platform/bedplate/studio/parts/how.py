"""The same as YAML, CLI, Python and curl, to copy."""

from __future__ import annotations

from collections.abc import Mapping

from nicegui import html, ui

from bedplate.studio.asked import Asked
from bedplate.studio.parts.notices import hint

__all__ = ["code", "code_tabs", "how"]


def how(asked: Asked, origin: str) -> None:
    """What a wizard is about to do, in four ways that run as written."""
    texts = {"CLI": asked.cli(), "Python": asked.python(), "YAML": asked.yaml(), "curl": asked.curl(origin)}
    code_tabs(texts)
    hint(f"On another machine first: export BEDPLATE_URL={origin} BEDPLATE_TOKEN=(a key of yours)")


def code_tabs(texts: Mapping[str, str]) -> None:
    """One tab each, with a button to copy it."""
    with html.div().classes("bp-how"):
        with ui.tabs().props('align="left" dense no-caps inline-label') as tabs:
            for name in texts:
                ui.tab(name)
        with ui.tab_panels(tabs, value=next(iter(texts)), animated=False):
            for name, text in texts.items():
                with ui.tab_panel(name):
                    code(text, name)


def code(text: str, name: str) -> None:
    """A text to copy, as it is. The keyboard scrolls it, and `name` is what a screen reader calls it."""
    html.pre(text).props(f'tabindex="0" role="region" aria-label="{name}"')
    button = ui.button(icon="content_copy").props('flat dense round size="sm" aria-label="Copy"').classes("bp-copy")
    button.on(
        "click",
        js_handler="""(event) => {
            const text = event.target.closest("button").parentElement.querySelector("pre").textContent;
            const done = () => Quasar.Notify.create({message: "Copied", position: "top", timeout: 1200});
            if (navigator.clipboard) return navigator.clipboard.writeText(text).then(done);
            const area = Object.assign(document.createElement("textarea"), {value: text});
            document.body.append(area); area.select(); document.execCommand("copy"); area.remove(); done();
        }""",
    )
