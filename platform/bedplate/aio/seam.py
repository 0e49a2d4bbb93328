"""All that the asyncio client does with the world; written by hand, beside `bedplate/remote/seam.py`.

What is `async` here is what the modules beside this one await: they are generated (platform/make_twin.py).
"""

from __future__ import annotations

from asyncio import sleep as _sleep
from asyncio import to_thread as _to_thread
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

import httpx

from bedplate_serving.unix_sockets import no_tls

__all__ = ["Client", "chunks", "client_for", "close", "leave", "read", "send", "sleep", "to_thread"]

P = ParamSpec("P")
T = TypeVar("T")
PLAIN = {"Accept-Encoding": "identity"}  # a proxy is not to pack what is read as it comes
Client = httpx.AsyncClient


def client_for(url: str, *, socket: str | None = None, token: str | None = None) -> Client:
    """An HTTP client for a server; `socket` is the Unix socket that it listens at."""
    transport = None if socket is None else httpx.AsyncHTTPTransport(uds=socket, verify=no_tls())
    headers = {**PLAIN, "Authorization": f"Bearer {token}"} if token else PLAIN
    return httpx.AsyncClient(base_url=url, headers=headers, transport=transport, timeout=60.0)


async def send(client: Client, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
    """The answer; where it is a `stream`, its body is still to come, and whoever takes it leaves it."""
    return await client.send(request, stream=stream)


async def chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes."""
    async for chunk in response.aiter_raw():
        yield chunk


async def read(response: httpx.Response) -> None:
    """Read the body to its end."""
    await response.aread()


async def leave(response: httpx.Response) -> None:
    """Be done with an answer, read or not."""
    await response.aclose()


async def close(client: Client) -> None:
    """End its connections."""
    await client.aclose()


async def sleep(seconds: float) -> None:
    """Wait."""
    await _sleep(seconds)


async def to_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something that blocks, such as work on a disk, in another thread."""
    return await _to_thread(function, *args, **kwargs)
