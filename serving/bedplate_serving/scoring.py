"""Scoring requests: the key checked, a deployment chosen, the bytes sent to a replica and its answer sent back.

A replica that refuses the connection is skipped; one that dies with a request inside costs that request a 503 of code
replica-died, which is safe to send again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from bedplate_serving.asgi import Scope, Send, header, read_body, watch
from bedplate_serving.exchange import Exchange
from bedplate_serving.gateway_metrics import GatewayMetrics
from bedplate_serving.limits import KeyLimits
from bedplate_serving.problems import Problem
from bedplate_serving.routes import Deployment, Endpoint, Key, Routes, RouteTable
from bedplate_serving.upstream import Pool, Pools, returned_headers

__all__ = ["Scorer", "ScoringPath", "key_of"]

# What is scored, by method and the path below the endpoint: the replica's own path. New dialects are added here.
SCORING: Mapping[tuple[str, str], str] = {
    ("POST", ""): "/",
    ("POST", "score"): "/score",
    ("GET", "health"): "/health",
    ("GET", "info"): "/info",
}
PASSED_ON = frozenset({b"content-type", b"accept"})  # a replica needs no key and no cookie
REPLICA_SECONDS = 300.0
WHOLE_BYTES = 1 << 20  # answers up to this size are read before the status goes out, so that a death is still a 503
PRUNE_SECONDS = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScoringPath:
    """Which endpoint is asked, and the path that its replica knows."""

    endpoint: str
    target: str

    @classmethod
    def of(cls, scope: Scope) -> ScoringPath | None:
        """None for what is no scoring request."""
        path: str = scope["path"]
        if scope["type"] != "http" or not path.startswith("/endpoints/"):
            return None
        name, _, rest = path.removeprefix("/endpoints/").partition("/")
        target = SCORING.get((scope["method"], rest))
        return cls(name, target) if target is not None and name else None


class Scorer:
    """Answers scoring requests by the snapshot in force."""

    def __init__(self, table: RouteTable, limits: KeyLimits, metrics: GatewayMetrics) -> None:
        self._table, self._limits, self._metrics = table, limits, metrics
        self._pools = Pools()

    async def answer(self, exchange: Exchange, path: ScoringPath) -> None:
        """For a caller who must show a key. Raises a Problem where it is refused, or no replica answers."""
        self._begin(exchange, path)
        key = await self._look(lambda routes: _key(routes, exchange.scope))
        exchange.key_id = key.id
        with self._limits.hold(key):
            endpoint, deployment = await self._look(lambda routes: _choose(routes, exchange.scope, path.endpoint, key))
            await self._call(exchange, path, endpoint, deployment)

    async def answer_own_user(self, exchange: Exchange, path: ScoringPath) -> None:
        """As `answer`, for one whom the kernel knows as this machine's user."""
        self._begin(exchange, path)
        endpoint, deployment = await self._look(lambda routes: _choose(routes, exchange.scope, path.endpoint, None))
        await self._call(exchange, path, endpoint, deployment)

    def _begin(self, exchange: Exchange, path: ScoringPath) -> None:
        exchange.endpoint = path.endpoint if path.endpoint in self._table.current.endpoints else ""
        self._metrics.begin(exchange.endpoint)

    async def _look(self, question: Callable[[Routes], T]) -> T:
        """By the snapshot in force. What it refuses is looked up in a newer one, where there is one: whoever was told
        that a key or an endpoint is ready finds it so, and need not wait for the next look at the file.
        """
        before = self._table.current
        try:
            return question(before)
        except Problem:
            await self._table.refresh()
            if self._table.current is before:
                raise
        return question(self._table.current)

    async def _call(self, exchange: Exchange, path: ScoringPath, endpoint: Endpoint, deployment: Deployment) -> None:
        scope = exchange.scope
        body = await read_body(scope, exchange.receive, self._table.current.max_body_bytes)
        headers = [(key.decode(), value.decode("latin-1")) for key, value in scope["headers"] if key in PASSED_ON]
        call = _Call(scope["method"], path.target, [*headers, ("x-request-id", exchange.id)], body, exchange.id)
        await watch(self._to_a_replica(endpoint, deployment, call, exchange.send), exchange.receive)

    async def _to_a_replica(self, endpoint: Endpoint, deployment: Deployment, call: _Call, send: Send) -> None:
        for pool in self._pools.by_load(deployment.replicas):
            pool.outstanding += 1
            try:
                await call.run(pool, send)
                return
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                pool.refused_at = time.monotonic()  # nothing was sent: the next one may have it
            finally:
                pool.outstanding -= 1
        raise endpoint.not_ready()

    async def prune(self) -> None:
        """Closes what the snapshot no longer names, over and over; until cancelled."""
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            await self._pools.prune(self._table.current.sockets)

    async def close(self) -> None:
        await self._pools.close()


class _Call:
    """One scoring request, ready to be sent to any replica."""

    TIMEOUT = aiohttp.ClientTimeout(total=REPLICA_SECONDS, sock_connect=2)

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes, request_id: str) -> None:
        self._method, self._url = method, f"http://replica{path}"
        self._headers, self._body = headers, body
        self._echo = (b"x-request-id", request_id.encode("latin-1"))

    async def run(self, pool: Pool, send: Send) -> None:
        """Sends and passes the answer back. A failure before the first byte of an answer is a problem document."""
        try:
            request = pool.session.request(
                self._method, self._url, headers=self._headers, data=self._body or None, timeout=self.TIMEOUT
            )
            async with request as response:
                await self._give_back(response, send)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except TimeoutError as error:
            raise Problem(504, "replica-timeout", f"No answer within {REPLICA_SECONDS:.0f} s.") from error
        except aiohttp.ClientError as error:
            detail = "The replica ended while it worked on this request."
            raise Problem(503, "replica-died", detail, "Send it again.", retry_after_seconds=1) from error

    async def _give_back(self, response: aiohttp.ClientResponse, send: Send) -> None:
        whole = response.content_length is not None and response.content_length <= WHOLE_BYTES
        first = await response.read() if whole else b""
        headers = [*returned_headers(response.raw_headers), self._echo]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if not whole:
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": first})


def key_of(routes: Routes, scope: Scope) -> Key | None:
    """The valid key that a request shows, where it shows one."""
    kind, _, token = (header(scope, b"authorization") or "").partition(" ")
    return routes.find_key(token.strip()) if kind.lower() == "bearer" else None


def _key(routes: Routes, scope: Scope) -> Key:
    key = key_of(routes, scope)
    if key is None:
        detail = f"This request has no {'key' if header(scope, b'authorization') is None else 'valid key'}."
        hint = "Send the header Authorization: Bearer KEY; bedplate keys create makes one."
        raise Problem(401, "unauthorized", detail, hint, headers=(("www-authenticate", "Bearer"),))
    return key


def _choose(routes: Routes, scope: Scope, name: str, key: Key | None) -> tuple[Endpoint, Deployment]:
    """What `key` may score at; None is this machine's user, who may everywhere."""
    if key is not None and not key.may_score(name):
        detail = f"The key {key.id!r} may not score at endpoint {name[:100]!r}."
        raise Problem(403, "forbidden", detail, "Use a key with the scope infer for this endpoint.")
    endpoint = routes.endpoints.get(name)
    if endpoint is None:
        detail = f"There is no endpoint {name[:100]!r}."
        raise Problem(404, "no-endpoint", detail, "bedplate endpoints list shows them.")
    wanted = header(scope, b"x-bedplate-deployment") or header(scope, b"azureml-model-deployment")
    return endpoint, endpoint.choose(wanted)
