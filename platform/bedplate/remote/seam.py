"""All that the client does with the world: requests, threads, sleep. `bedplate/aio/seam.py` is the same for asyncio.

The modules beside this one do input and output by these names only. What is `async` over there is what the twin awaits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import httpx

from bedplate_serving.unix_sockets import no_tls

__all__ = ["Client", "chunks", "client_for", "close", "leave", "read", "send", "sleep", "to_thread"]

P = ParamSpec("P")
T = TypeVar("T")
PLAIN = {"Accept-Encoding": "identity"}  # a proxy is not to pack what is read as it comes
Client = httpx.Client


def client_for(url: str, *, socket: str | None = None, token: str | None = None) -> Client:
    """An HTTP client for a server; `socket` is the Unix socket that it listens at."""
    transport = None if socket is None else httpx.HTTPTransport(uds=socket, verify=no_tls())
    headers = {**PLAIN, "Authorization": f"Bearer {token}"} if token else PLAIN
    return httpx.Client(base_url=url, headers=headers, transport=transport, timeout=60.0)


def send(client: Client, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
    """The answer; where it is a `stream`, its body is still to come, and whoever takes it leaves it."""
    return client.send(request, stream=stream)


def chunks(response: httpx.Response) -> Iterator[bytes]:
    """The body as it comes."""
    yield from response.iter_raw()


def read(response: httpx.Response) -> None:
    """Read the body to its end."""
    response.read()


def leave(response: httpx.Response) -> None:
    """Be done with an answer, read or not."""
    response.close()


def close(client: Client) -> None:
    """End its connections."""
    client.close()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def to_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something that blocks, such as work on a disk. There is no other thread here; the twin uses one."""
    return function(*args, **kwargs)
