"""What changes while it is looked at: asked for again and again, for as long as it may change and somebody looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import context, ui

from bedplate.studio.parts import notices
from bedplate_registry.errors import BedplateError, Unavailable

__all__ = ["every"]


def every(seconds: float, look: Callable[[], Awaitable[bool]]) -> ui.timer:
    """Call `look` now and then every so many seconds, until it says that nothing will change any more (True).

    While the server restarts it is tried again; any other error of ours ends it, and is told.
    """
    client = context.client

    async def once() -> None:
        if not client.has_socket_connection:
            return
        try:
            if await look():
                timer.cancel()
        except Unavailable:
            return
        except BedplateError as exc:
            timer.cancel()
            notices.toast_problem(exc)

    timer = ui.timer(seconds, once)
    return timer
