"""What changes while it is looked at: asked for again and again, for as long as it may change and somebody looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import context, html, ui

from bedplate.studio.parts import notices
from bedplate_registry.errors import BedplateError, Unavailable

__all__ = ["every", "later"]


def every(seconds: float, look: Callable[[], Awaitable[bool]]) -> ui.timer:
    """Call `look` now and then every so many seconds, until it says that nothing will change any more (True).

    While the server restarts it is tried again; any other error ends it, and is told once.
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
        except Exception:
            timer.cancel()
            raise

    timer = ui.timer(seconds, once)
    return timer


def later(build: Callable[[], Awaitable[None]]) -> None:
    """Make in this place what `build` makes, once the page was sent: what takes long keeps no page from being seen.

    An error of ours is shown there.
    """
    with html.div() as place:

        async def fill() -> None:
            with place:
                try:
                    await build()
                except BedplateError as exc:
                    notices.problem(exc)

        ui.timer(0, fill, once=True)
