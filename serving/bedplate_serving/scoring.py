"""Scoring requests: the key checked, a deployment chosen, the bytes sent to a replica and its answer sent back.

A replica that refuses the connection is skipped; one that dies with a request inside costs that request a 503 of code
replica-died, which is safe to send again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import orjson

from bedplate_serving.asgi import Scope, Send, header, read_body, send_answer, watch
from bedplate_serving.exchange import Exchange
from bedplate_serving.gateway_metrics import GatewayMetrics
from bedplate_serving.limits import KeyLimits
from bedplate_serving.own_answers import own_answer
from bedplate_serving.problems import Problem
from bedplate_serving.request_timeout import timeout_seconds
from bedplate_serving.routes import Deployment, Endpoint, Key, Routes, RouteTable
from bedplate_serving.scoring_paths import ScoringPath
from bedplate_serving.upstream import Pool, Pools, returned_headers

__all__ = ["Scorer", "key_of"]

PASSED_ON = frozenset(  # a replica needs no key and no cookie
    {b"content-type", b"accept", b"x-bedplate-timeout", b"inference-header-content-length"}
)
GRACE_SECONDS = 5.0  # beyond the time that a request may take: what its replica says at that moment comes first
WHOLE_BYTES = 1 << 20  # answers up to this size are read before the status goes out, so that a death is still a 503
LARGE_BYTES = 64 * 1024  # a body beyond this is looked at in a thread
PRUNE_SECONDS = 5.0
T = TypeVar("T")


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
            await self._answer(exchange, path, key)

    async def answer_own_user(self, exchange: Exchange, path: ScoringPath) -> None:
        """As `answer`, for one whom the kernel knows as this machine's user."""
        self._begin(exchange, path)
        await self._answer(exchange, path, None)

    async def _answer(self, exchange: Exchange, path: ScoringPath, key: Key | None) -> None:
        if path.endpoint is not None:
            chosen = await self._look(lambda routes: _choose(routes, exchange.scope, path, path.endpoint or "", key))
            await self._call(exchange, path, *chosen, await self._read(exchange))
        elif path.is_named_by_its_body:
            body = await self._read(exchange)
            name = await _model_of(body)
            self._name(exchange, name)
            chosen = await self._look(lambda routes: _choose(routes, exchange.scope, path, name, key))
            await self._call(exchange, path, *chosen, body)
        else:
            text = await self._look(lambda routes: own_answer(routes, path, key))
            headers = [("content-type", "application/json"), ("x-request-id", exchange.id)]
            await send_answer(exchange.send, 200, text, headers)

    def _begin(self, exchange: Exchange, path: ScoringPath) -> None:
        name = path.endpoint or ""
        exchange.endpoint = name if name in self._table.current.endpoints else ""
        self._metrics.begin(exchange.endpoint)

    def _name(self, exchange: Exchange, name: str) -> None:
        if name in self._table.current.endpoints:
            self._metrics.rename(exchange.endpoint or "", name)
            exchange.endpoint = name

    async def _read(self, exchange: Exchange) -> bytes:
        return await read_body(exchange.scope, exchange.receive, self._table.current.max_body_bytes)

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

    async def _call(
        self, exchange: Exchange, path: ScoringPath, endpoint: Endpoint, deployment: Deployment, body: bytes
    ) -> None:
        patience = timeout_seconds(exchange.scope, deployment.request_timeout_seconds) + GRACE_SECONDS
        call = _Call(exchange, path, body, patience)
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

    def __init__(self, exchange: Exchange, path: ScoringPath, body: bytes, patience_seconds: float) -> None:
        passed = [
            (key.decode(), value.decode("latin-1")) for key, value in exchange.scope["headers"] if key in PASSED_ON
        ]
        self._method, self._url = path.method, f"http://replica{quote(path.target)}"
        self._headers, self._body = [*passed, ("x-request-id", exchange.id)], body
        self._echo = (b"x-request-id", exchange.id.encode("latin-1"))
        # Between two bytes, not in all: what was written until its deadline may take its reader longer.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=patience_seconds)

    async def run(self, pool: Pool, send: Send) -> None:
        """Sends and passes the answer back. A failure before the first byte of an answer is a problem document."""
        try:
            request = pool.session.request(
                self._method, self._url, headers=self._headers, data=self._body or None, timeout=self._timeout
            )
            async with request as response:
                await self._give_back(response, send)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except TimeoutError as error:
            detail = f"The replica said nothing for {self._timeout.sock_read:.0f} s."
            raise Problem(504, "replica-timeout", detail, "Its deployment's log may say why.") from error
        except aiohttp.ClientError as error:
            detail = "The replica ended while it worked on this request."
            raise Problem(503, "replica-died", detail, "Send it again.", retry_after_seconds=1) from error

    async def _give_back(self, response: aiohttp.ClientResponse, send: Send) -> None:
        whole = response.content_length is not None and response.content_length <= WHOLE_BYTES
        first = await response.read() if whole else b""
        headers = [*returned_headers(response.raw_headers), self._echo]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if not whole:  # whoever reads nothing of it is hung up on by the protocol (header_limit.py)
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": first})


async def _model_of(body: bytes) -> str:
    """The endpoint that a body of OpenAI's dialect names. Raises a Problem where it names none."""
    root = await asyncio.to_thread(_read_json, body) if len(body) > LARGE_BYTES else _read_json(body)
    name = root.get("model") if isinstance(root, dict) else None
    if not isinstance(name, str) or not name:
        hint = "GET /v1/models lists what it may be."
        raise Problem(422, "missing-field", 'The body has no "model".', hint, extra={"param": "model"})
    return name


def _read_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise Problem(400, "bad-json", f"The body is not JSON: {error}.") from error


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


def _choose(routes: Routes, scope: Scope, path: ScoringPath, name: str, key: Key | None) -> tuple[Endpoint, Deployment]:
    """What `key` may score at; None is this machine's user, who may everywhere."""
    if key is not None and not key.may_score(name):
        detail = f"The key {key.id!r} may not score at endpoint {name[:100]!r}."
        raise Problem(403, "forbidden", detail, "Use a key with the scope infer for this endpoint.")
    endpoint = routes.endpoints.get(name)
    if endpoint is None:
        detail = f"There is no endpoint {name[:100]!r}."
        raise Problem(404, "no-endpoint", detail, "bedplate endpoints list shows them.")
    if not path.is_spoken:
        raise path.no_route
    wanted = header(scope, b"x-bedplate-deployment") or header(scope, b"azureml-model-deployment")
    return endpoint, endpoint.choose(wanted)
