"""The door of a server: scoring requests go straight to replicas, everything else to the control plane's socket.

    python -m bedplate_serving.gateway --host H --port P --routes run/routes.json --control run/control.sock

    POST /endpoints/{name}            GET /endpoints/{name}/health
    POST /endpoints/{name}/score      GET /endpoints/{name}/info       → a replica, with the caller's key checked here
    GET  /gateway/livez                                                → the gateway itself
    anything else                                                      → the control plane

It reads a snapshot of routes and key hashes (routes.py), writes nothing and imports neither torch nor the control
plane: restarting that one disturbs no scoring request. A replica that refuses the connection is skipped; one that dies
with a request inside costs that request a 503 of code replica-died, which is safe to send again.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp
import orjson
import uvicorn

from bedplate_serving.asgi import CallerLeft, Message, Receive, Scope, Send, header, read_body, send_answer, watch
from bedplate_serving.control_proxy import ControlProxy
from bedplate_serving.header_limit import LimitedHttpProtocol
from bedplate_serving.problems import Problem
from bedplate_serving.routes import Deployment, Endpoint, Routes, RouteTable
from bedplate_serving.upstream import Pool, Pools, returned_headers

__all__ = ["Gateway", "main"]

# What is scored, by method and the path below the endpoint: the replica's own path. New dialects are added here.
SCORING: Mapping[tuple[str, str], str] = {
    ("POST", ""): "/",
    ("POST", "score"): "/score",
    ("GET", "health"): "/health",
    ("GET", "info"): "/info",
}
PASSED_ON = frozenset({b"content-type", b"content-encoding", b"accept"})  # a replica needs no key and no cookie
REPLICA_SECONDS = 300.0
WHOLE_BYTES = 1 << 20  # answers up to this size are read before the status goes out, so that a death is still a 503
PRUNE_SECONDS = 5.0


class Gateway:
    """The ASGI app."""

    def __init__(self, routes: Path, control: Path) -> None:
        self._table = RouteTable(routes)
        self._control_socket = control
        self._pools = Pools()
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        request_id = _request_id(scope)
        answer = _Answer(send)
        try:
            await self._dispatch(scope, receive, answer, request_id)
        except CallerLeft:
            pass
        except Problem as problem:
            await answer.problem(problem, request_id)
        except Exception as error:  # noqa: BLE001 - the request's outer edge: told in the log, without detail outside
            print(f"gateway: request {request_id} failed: {error!r}", file=sys.stderr, flush=True)
            await answer.problem(Problem(500, "internal", "The gateway failed on this request."), request_id)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        if scope["type"] == "websocket":
            await self._control.websocket(scope, receive, send, request_id)
            return
        name, path = _scoring_path(scope)
        if name is not None:
            await self._score(scope, receive, send, request_id, name, path)
        elif scope["path"] == "/gateway/livez":
            body = orjson.dumps({"status": "alive", "generation": self._table.current.generation})
            await send_answer(send, 200, body, [("content-type", "application/json")])
        else:
            await self._control.http(scope, receive, send, request_id)

    # --- life

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._control = ControlProxy(self._control_socket)
        await self._table.refresh()
        self._tasks = [asyncio.create_task(self._table.follow()), asyncio.create_task(self._prune())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in self._tasks:
            task.cancel()
        await self._control.close()
        await self._pools.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            await self._pools.prune(self._table.current.sockets)

    # --- scoring

    async def _score(self, scope: Scope, receive: Receive, send: Send, request_id: str, name: str, path: str) -> None:
        endpoint, deployment = await self._route(scope, name)
        body = await read_body(scope, receive, self._table.current.max_body_bytes)
        headers = [(key.decode(), value.decode("latin-1")) for key, value in scope["headers"] if key in PASSED_ON]
        call = _Call(scope["method"], path, [*headers, ("x-request-id", request_id)], body, request_id)
        await watch(self._to_a_replica(endpoint, deployment, call, send), receive)

    async def _route(self, scope: Scope, name: str) -> tuple[Endpoint, Deployment]:
        """By the snapshot in force. What it refuses is looked up in a newer one, where there is one: whoever was told
        that a key or an endpoint is ready finds it so, and need not wait for the next look at the file.
        """
        before = self._table.current
        try:
            return _choose(before, scope, name)
        except Problem:
            await self._table.refresh()
            if self._table.current is before:
                raise
        return _choose(self._table.current, scope, name)

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


class _Answer:
    """The way back to the caller, which remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def problem(self, problem: Problem, request_id: str) -> None:
        """An answer cut off in the middle has no status left to say so: the connection is closed on it instead."""
        if not self._begun:
            headers = [*problem.all_headers, ("x-request-id", request_id)]
            await send_answer(self._send, problem.status, problem.body(), headers)


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


def _request_id(scope: Scope) -> str:
    """The caller's, where it is one word of a sane length; else a new one."""
    given = header(scope, b"x-request-id") or ""
    return given if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else uuid.uuid4().hex


def _scoring_path(scope: Scope) -> tuple[str | None, str]:
    path: str = scope["path"]
    if not path.startswith("/endpoints/"):
        return None, ""
    name, _, rest = path.removeprefix("/endpoints/").partition("/")
    target = SCORING.get((scope["method"], rest))
    return (name, target) if target is not None and name else (None, "")


def _choose(routes: Routes, scope: Scope, name: str) -> tuple[Endpoint, Deployment]:
    _authorize(routes, scope, name)
    endpoint = _endpoint(routes, name)
    wanted = header(scope, b"x-bedplate-deployment") or header(scope, b"azureml-model-deployment")
    return endpoint, endpoint.choose(wanted)


def _authorize(routes: Routes, scope: Scope, endpoint: str) -> None:
    kind, _, token = (header(scope, b"authorization") or "").partition(" ")
    key = routes.find_key(token.strip()) if kind.lower() == "bearer" else None
    if key is None:
        detail = "This request has no valid key." if token else "This request has no key."
        hint = "Send the header Authorization: Bearer KEY; bedplate keys create makes one."
        raise Problem(401, "unauthorized", detail, hint, headers=(("www-authenticate", "Bearer"),))
    if not key.may_score(endpoint):
        detail = f"The key {key.id!r} may not score at endpoint {endpoint[:100]!r}."
        raise Problem(403, "forbidden", detail, "Use a key with the scope infer for this endpoint.")


def _endpoint(routes: Routes, name: str) -> Endpoint:
    endpoint = routes.endpoints.get(name)
    if endpoint is None:
        raise Problem(
            404, "no-endpoint", f"There is no endpoint {name[:100]!r}.", "bedplate endpoints list shows them."
        )
    return endpoint


# --- the process


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bedplate_serving.gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8686)
    parser.add_argument("--routes", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        print(f"gateway: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    print(f"gateway: listening on http://{f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(_server_config(Gateway(options.routes, options.control))).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=2048)


def _server_config(app: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=LimitedHttpProtocol,
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
        ws_max_size=64 * 1024 * 1024,
    )


if __name__ == "__main__":
    sys.exit(main())
