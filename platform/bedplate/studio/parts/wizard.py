"""A wizard: steps back and forth, each checked when it is left, and a draft that a reload does not lose."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import html, ui

from bedplate.studio.drafts import REVISION, STEP, Drafts, stamp
from bedplate.studio.parts import notices
from bedplate_registry.errors import BedplateError, Conflict

__all__ = ["Step", "wizard"]

SAVE_SECONDS = 1.0
CHANGED_ELSEWHERE = Conflict(
    "This form was changed or sent in another window.",
    hint="Reload to go on with what is there. What stands here can still be sent, and is kept no more.",
)


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

    `draft["key"]` is there when `send` is called: a job that is submitted with it as its `client_key` is made once.
    `send` leads away, or raises. When it returns, the draft is dropped.
    """
    made = _Wizard(steps, draft, drafts, name, send)
    made.show(done)
    await made.begin()


class _Wizard:
    """One thing at a time: what is clicked while a step is checked, entered or sent does nothing."""

    def __init__(
        self,
        steps: Sequence[Step],
        draft: dict[str, Any],
        drafts: Drafts,
        name: str,
        send: Callable[[], Awaitable[None]],
    ) -> None:
        self._steps, self._draft, self._drafts, self._name, self._send = steps, draft, drafts, name, send
        self._bodies: list[tuple[html.div, html.div]] = []
        self._buttons: list[list[ui.button]] = []
        self._is_busy, self._is_sent = True, False  # until the first step is there
        self._is_kept = True  # until another window changes what this one shows

    def show(self, done: str) -> None:
        """All steps, which are empty yet."""
        self._elsewhere = html.div()
        props = 'flat header-nav=false animated=false :contracted="Quasar.Screen.lt.sm"'
        with ui.stepper().props(props) as self._stepper:
            for number, step in enumerate(self._steps):
                with ui.step(step.title):
                    body = html.div().classes("bp-step")
                    self._bodies.append((body, html.div(**{"aria-live": "assertive"})))
                    with ui.stepper_navigation().classes("bp-actions"):
                        self._buttons.append(list(self._make_buttons(number, done)))

    def _make_buttons(self, number: int, done: str) -> Sequence[ui.button]:
        back, on = partial(self._enter, number - 1), partial(self._go_on, number)
        made = [ui.button("Back", on_click=partial(self._alone, number, back)).props("flat no-caps")] if number else []
        text = done if number == len(self._steps) - 1 else "Next"
        return [*made, ui.button(text, on_click=partial(self._alone, number, on)).props("no-caps unelevated")]

    async def begin(self) -> None:
        """Where the draft left off. What is kept is what somebody changes from here on: to look writes nothing."""
        begin = self._draft.get(STEP, 0)
        is_there = isinstance(begin, int) and 0 <= begin < len(self._steps)
        await self._enter(begin if is_there else 0, is_first=True)
        self._kept = self._text()
        self._timer = ui.timer(SAVE_SECONDS, self._save)
        ui.context.client.on_delete(self._drafts.save_first(self._name, self._save))
        self._is_busy = False

    async def _alone(self, number: int, act: Callable[[], Awaitable[None]]) -> None:
        """Say why where the step refuses. What was sent cannot be sent again: its buttons stay off."""
        if self._is_busy:
            return
        self._is_busy = True
        _, refusals = self._bodies[number]
        refusals.clear()
        self._show_buttons(on=False)
        try:
            await act()
        except BedplateError as exc:
            with refusals:
                notices.problem(exc)
        finally:
            if not self._is_sent:
                self._is_busy = False
                self._show_buttons(on=True)

    def _show_buttons(self, *, on: bool) -> None:
        """Of all steps: the next one is seen before its fields are all there."""
        for button in (button for row in self._buttons for button in row):
            button.set_enabled(on)

    async def _enter(self, number: int, *, is_first: bool = False) -> None:
        self._draft[STEP] = number
        if number == len(self._steps) - 1:
            stamp(self._draft)
        if not is_first:
            self._save()
        self._stepper.set_value(self._steps[number].title)
        body, refusals = self._bodies[number]
        refusals.clear()
        body.clear()
        with body:
            heading = html.h2(self._steps[number].title, tabindex="-1")
            if not is_first:  # whoever reads by ear, or stands far below, is led to where the step begins; before its
                # fields are there, so that nobody is led away from one
                ui.run_javascript(f"getHtmlElement({heading.id})?.focus()")
            try:
                await self._steps[number].build()
            except BedplateError as exc:
                notices.problem(exc)

    async def _go_on(self, number: int) -> None:
        check = self._steps[number].check
        if check is not None:
            await check()
        await (self._finish() if number == len(self._steps) - 1 else self._enter(number + 1))

    async def _finish(self) -> None:
        stamp(self._draft)
        self._save()
        await self._send()
        self._is_sent = True
        self._timer.cancel()
        if self._is_kept:
            self._drafts.drop(self._name)

    def _text(self) -> str:
        return json.dumps({name: value for name, value in self._draft.items() if name != REVISION}, default=str)

    def _save(self) -> None:
        """Keep what changed here; once another window did so, say it, and leave that alone."""
        now = self._text()
        if self._is_sent or not self._is_kept or now == self._kept:
            return
        self._kept = now
        self._is_kept = self._drafts.update(self._name, self._draft)
        if not self._is_kept:
            with self._elsewhere:
                notices.problem(CHANGED_ELSEWHERE)
