"""A question before something that cannot be undone, and a secret that is shown once."""

from __future__ import annotations

from nicegui import html, ui

from bedplate.studio.parts.how import code

__all__ = ["confirm", "show_once"]


async def confirm(question: str, *, button: str, type_in: str = "") -> bool:
    """Whether somebody means it. With `type_in` he types that name first."""
    with ui.dialog().props('aria-label="Are you sure?"') as dialog, ui.card().classes("bp-dialog"):
        html.h2(question)
        typed = ui.input(f"Type {type_in} to go on").props("outlined dense") if type_in else None
        with html.div().classes("bp-actions"):
            ui.button("Leave it as it is", on_click=lambda: dialog.submit(False)).props("flat no-caps")
            sure = ui.button(button, on_click=lambda: dialog.submit(True)).props('no-caps color="negative"')
        if typed is not None:
            sure.bind_enabled_from(typed, "value", lambda value: value == type_in)
    answer = bool(await dialog)
    dialog.delete()
    return answer


async def show_once(title: str, secret: str, about: str = "It is shown this once: keep it now.") -> None:
    """A key or a link, to copy. Returns when it was taken."""
    with ui.dialog().props('persistent aria-label="Shown once"') as dialog, ui.card().classes("bp-dialog"):
        html.h2(title)
        html.p(about)
        with html.div().classes("bp-how bp-once"):
            code(secret, "To copy")
        ui.button("I have kept it", on_click=lambda: dialog.submit(True)).props("no-caps unelevated")
    await dialog
    dialog.delete()
