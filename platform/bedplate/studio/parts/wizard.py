"""A wizard: steps back and forth, each checked when it is left, and a draft that a reload does not lose."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import html, ui

from bedplate.studio.drafts import Drafts
from bedplate.studio.parts import notices
from bedplate_registry.errors import BedplateError

__all__ = ["Step", "wizard"]

SAVE_SECONDS = 1.0
STEP = "step"  # where the draft keeps how far it is


@dataclass(frozen=True)
class Step:
    """One step: `build` makes its fields anew whenever it is entered, since they depend on those before; `check` raises
    an error of ours where it cannot be left.
    """

    title: str
    build: Callable[[], Awaitable[None]]
    check: Callable[[], Awaitable[None]] | None = None


async def wizard(
    steps: Sequence[Step],
    draft: dict[str, Any],
    *,
    drafts: Drafts,
    name: str,
    done: str,
    send: Callable[[], Awaitable[None]],
) -> None:
    """The steps; the last one has the button `done`, which calls `send`. Fields change `draft`, a dict of JSON values.

    `send` leads away, or raises. When it returns, the draft is dropped.
    """
    kept = [json.dumps(draft, default=str)]

    def save() -> None:
        now = json.dumps(draft, default=str)
        if now != kept[0]:
            kept[0] = now
            drafts.write(name, draft)

    async def enter(number: int, *, is_first: bool = False) -> None:
        draft[STEP] = number
        save()
        stepper.set_value(steps[number].title)
        body, refusals = bodies[number]
        refusals.clear()
        body.clear()
        with body:
            heading = html.h2(steps[number].title, tabindex="-1")
            try:
                await steps[number].build()
            except BedplateError as exc:
                notices.problem(exc)
        if not is_first:  # whoever reads by ear, or stands far below, is led to where the step begins
            ui.run_javascript(f"getHtmlElement({heading.id})?.focus()")

    async def leave(number: int) -> None:
        """Go on where this step is in order; say why where it is not."""
        _, refusals = bodies[number]
        refusals.clear()
        buttons[number].disable()
        try:
            check = steps[number].check
            if check is not None:
                await check()
            await (finish() if number == len(steps) - 1 else enter(number + 1))
        except BedplateError as exc:
            with refusals:
                notices.problem(exc)
        finally:
            buttons[number].enable()

    async def finish() -> None:
        await send()
        timer.cancel()
        drafts.drop(name)

    bodies: list[tuple[html.div, html.div]] = []
    buttons: list[ui.button] = []
    with ui.stepper().props('flat header-nav=false animated=false :contracted="Quasar.Screen.lt.sm"') as stepper:
        for number, step in enumerate(steps):
            with ui.step(step.title):
                body = html.div().classes("bp-step")
                refusals = html.div(**{"aria-live": "assertive"})
                bodies.append((body, refusals))
                with ui.stepper_navigation().classes("bp-actions"):
                    if number:
                        ui.button("Back", on_click=partial(enter, number - 1)).props("flat no-caps")
                    is_last = number == len(steps) - 1
                    go_on = ui.button(done if is_last else "Next", on_click=partial(leave, number))
                    buttons.append(go_on.props("no-caps unelevated"))
    timer = ui.timer(SAVE_SECONDS, save)
    begin = draft.get(STEP, 0)
    await enter(begin if isinstance(begin, int) and 0 <= begin < len(steps) else 0, is_first=True)
