"""Connections from the gateway to the sockets behind it, kept open and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import aiohttp

from bedplate_serving.routes import ReplicaAddress
from bedplate_serving.unix_sockets import short_path

__all__ = ["HOP_BY_HOP", "Pool", "Pools", "forwarded_headers", "open_session", "returned_headers"]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade expect".split()
)
SHUN_SECONDS = 1.0  # a replica that refused a connection is asked last for this long
UNTOUCHED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp would add its own

RawHeaders = Iterable[tuple[bytes, bytes]]


def open_session(socket: str, keep_alive_seconds: float) -> aiohttp.ClientSession:
    """A client that adds nothing, keeps nothing, follows nothing, unpacks nothing and sends everything once."""
    session = aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(path=short_path(socket), limit=0, keepalive_timeout=keep_alive_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=UNTOUCHED,
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**18,
        max_line_size=2**16,
        max_field_size=2**16,
    )
    # aiohttp sends PUT and DELETE again by itself when a kept connection dies under them: the first one may have been
    # carried out. It has no public switch for that (its own test client sets this one); a test counts what arrives.
    session._retry_connection = False
    return session


def forwarded_headers(headers: RawHeaders, drop: frozenset[bytes] = frozenset()) -> list[tuple[str, str]]:
    """A request's headers as they go on: without those of this connection, and without `drop`."""
    pairs = list(headers)
    named = {name.strip().lower() for key, value in pairs if key == b"connection" for name in value.split(b",")}
    gone = HOP_BY_HOP | named | drop
    return [(_text(key), _text(value)) for key, value in pairs if key not in gone]


def returned_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """A response's headers as they go back, in lower case as ASGI wants them."""
    pairs = [(key.lower(), value) for key, value in headers]
    named = {name.strip().lower() for key, value in pairs if key == b"connection" for name in value.split(b",")}
    return [(key, value) for key, value in pairs if key not in HOP_BY_HOP and key not in named]


def _text(value: bytes) -> str:
    try:
        return value.decode()  # the client library writes UTF-8, so the bytes come out as they went in
    except UnicodeDecodeError:
        return value.decode("latin-1")


class Pool:
    """The connections to one replica."""

    def __init__(self, socket: str) -> None:
        # Shorter than the replica keeps them (75 s): it is never the replica that hangs up on a request.
        self.session = open_session(socket, keep_alive_seconds=15)
        self.outstanding = 0
        self.refused_at = float("-inf")

    @property
    def is_shunned(self) -> bool:
        return time.monotonic() - self.refused_at < SHUN_SECONDS


class Pools:
    """One pool for each replica's socket; those that left the snapshot are closed once they are idle."""

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}
        self._turn = 0

    def by_load(self, replicas: Sequence[ReplicaAddress]) -> list[Pool]:
        """The least busy first; among equals each in its turn; those that just refused last."""
        pools = [self._pool(replica.socket) for replica in replicas]
        self._turn += 1
        shift = self._turn % max(len(pools), 1)
        return sorted(pools[shift:] + pools[:shift], key=lambda pool: (pool.is_shunned, pool.outstanding))

    def _pool(self, socket: str) -> Pool:
        pool = self._pools.get(socket)
        if pool is None:
            pool = self._pools[socket] = Pool(socket)
        return pool

    async def prune(self, in_use: set[str]) -> None:
        for socket in [name for name, pool in self._pools.items() if name not in in_use and not pool.outstanding]:
            await self._pools.pop(socket).session.close()

    async def close(self) -> None:
        await asyncio.gather(*(pool.session.close() for pool in self._pools.values()))
