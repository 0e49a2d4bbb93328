"""Asking a Hub from a process that has other things to do: bounded in time, in bytes and in how much runs at once.

Not by the released client, in a job neither: that waits without end for a Hub that stalls, sleeps for as long as one
that is busy says, and reads an answer of any size.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Semaphore
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import Unavailable
from .hubaddress import HubAddress
from .hubguard import Guard
from .safe_json import MAX_VALUES, count_values

if TYPE_CHECKING:
    import httpx

__all__ = ["IS_IT_A_HUB", "ask", "read_answer", "read_body", "taken"]

CONNECT_SECONDS = 5.0
IS_IT_A_HUB = "Check the address (BEDPLATE_HUB_URL), and that it is a Hub."
T = TypeVar("T")


def ask(
    hub: HubAddress,
    exchange: Callable[[httpx.AsyncClient], Awaitable[T]],
    *,
    turns: Semaphore | None,
    seconds: float,
    hint: str,
) -> T:
    """What `exchange` makes of its requests. Raises Unavailable where no turn is free, where the Hub does not answer
    within `seconds`, and where what it answers makes a ValueError; `hint` says what to do without it. A process
    that has nothing else to do takes no turns.

    Nothing of a request, which holds the token, is in an error.
    """
    with nullcontext() if turns is None else taken(turns), _explained(hub, seconds, hint):
        return asyncio.run(_within(hub, exchange, seconds))


@contextmanager
def taken(turns: Semaphore) -> Iterator[None]:
    """One of the turns. Raises Unavailable where none is free."""
    if not turns.acquire(blocking=False):
        raise Unavailable("Too many questions to Hubs run already.", hint="Try again in a while.", code="busy")
    try:
        yield
    finally:
        turns.release()


async def _within(hub: HubAddress, exchange: Callable[[httpx.AsyncClient], Awaitable[T]], seconds: float) -> T:
    """On an event loop, since only there one deadline holds for all of it: also for headers without end."""
    import httpx

    headers = {**hub.headers, "Accept-Encoding": "identity"}  # a packed answer would be small only until it is read
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    guard = Guard(hub)

    async def check(request: httpx.Request) -> None:
        await asyncio.to_thread(guard.check, request)

    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(timeout=timeout, headers=headers, event_hooks={"request": [check]}) as client,
    ):
        return await exchange(client)


async def read_answer(hub: HubAddress, response: httpx.Response, most: int) -> Any:
    """The JSON of an answer. Raises ValueError where it is none, or would take too much memory to read."""
    data = await read_body(hub, response, most)
    if count_values(data) > MAX_VALUES:
        raise ValueError("too many values")
    return json.loads(data)


async def read_body(hub: HubAddress, response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
    """The body, as long as it has no more bytes than `most`; with `cut` its start, and the rest is not received."""
    data = bytearray()
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > most:
            if cut:
                return bytes(data[:most])
            raise Unavailable(f"{hub.url} answered with more than {most >> 20} MiB.", hint=IS_IT_A_HUB)
    return bytes(data)


@contextmanager
def _explained(hub: HubAddress, seconds: float, hint: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except (httpx.TimeoutException, TimeoutError):
        raise Unavailable(f"{hub.url} did not answer within {seconds:.0f} s.", hint=hint) from None
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL):
        message = f"{hub.url} redirects to where nothing can be fetched from."
        raise Unavailable(message, hint=IS_IT_A_HUB, code="hub-inconsistent") from None
    except (httpx.HTTPError, OSError):
        raise Unavailable(f"No connection to {hub.url}.", hint=hint, code="no-connection") from None
    except (ValueError, RecursionError):
        raise Unavailable(
            f"{hub.url} did not answer as a Hub does.", hint=IS_IT_A_HUB, code="hub-inconsistent"
        ) from None
