"""The door of a server: scoring requests go straight to replicas, everything else to the control plane's socket.

    python -m bedplate_serving.gateway --host H --port P --routes run/routes.json --control run/control.sock

    /endpoints/{name} and what scoring_paths.py has below it           → a replica, with the caller's key checked here
    /v1/…, /v2/models/{name}/…   the same by the name of a model       → a replica, likewise
    GET  /v1/models, /v2, /v2/health/…, /gateway/livez                 → the gateway itself
    anything else                                                      → the control plane

On a Unix socket beside it, `scoring.sock`, this machine's own user scores without a key, and reads /gateway/metrics.

It reads a snapshot of routes and key hashes (routes.py), writes nothing and imports neither torch nor the control
plane: restarting that one disturbs no scoring request. How a request becomes an answer is in scoring.py and
control_proxy.py; what is refused before that, in door.py and limits.py.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import uvicorn

from bedplate_registry.errors import Refused
from bedplate_serving.asgi import CallerLeft, Receive, Scope, Send, refuse_encoded, send_answer
from bedplate_serving.control_proxy import ControlProxy
from bedplate_serving.exchange import Exchange
from bedplate_serving.gateway_metrics import CONTENT_TYPE, GatewayMetrics
from bedplate_serving.limits import KeyLimits
from bedplate_serving.listeners import NetworkProtocol, TwoDoors
from bedplate_serving.logs import configure_logs
from bedplate_serving.open_files import raise_limit
from bedplate_serving.peer import own_schemes
from bedplate_serving.problems import Problem
from bedplate_serving.routes import RouteTable
from bedplate_serving.scoring import Scorer, key_of
from bedplate_serving.scoring_paths import ScoringPath
from bedplate_serving.tls import Certificate
from bedplate_serving.unix_sockets import listen

__all__ = ["Gateway", "main"]

log = logging.getLogger("bedplate_serving.gateway")  # by this name too when it is run as the program

FORGET_SECONDS = 60.0


class Gateway:
    """The ASGI app for callers from the network; `own_user` is the one for this machine's own user."""

    def __init__(
        self,
        routes: Path,
        control: Path,
        *,
        certificate: Certificate | None = None,
        behind_proxy: bool = False,
    ) -> None:
        self._table = RouteTable(routes)
        self._control_socket, self._certificate = control, certificate
        self._behind_proxy = behind_proxy
        self._metrics = GatewayMetrics()
        self._limits = KeyLimits()
        self._scorer = Scorer(self._table, self._limits, self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._answer(Exchange(scope, receive, send), self._from_the_network)

    async def own_user(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Exchange(scope, receive, send), self._from_own_user)

    async def _answer(self, exchange: Exchange, work: Callable[[Exchange], Awaitable[None]]) -> None:
        """The outer edge of a request: whatever becomes of it, there is an answer, a count and a line in the log."""
        began = time.perf_counter()
        try:
            await work(exchange)
        except CallerLeft:
            pass
        except Problem as problem:
            if problem.status < 500:
                self._metrics.refuse(problem.code)
            await exchange.refuse(problem)
        except Exception:  # told in the log, without detail outside
            log.exception("a request failed", extra={"request_id": exchange.id})
            await exchange.refuse(Problem(500, "internal", "The gateway failed on this request."))
        finally:
            self._close(exchange, time.perf_counter() - began)

    def _close(self, exchange: Exchange, seconds: float) -> None:
        if exchange.endpoint is not None:
            self._metrics.end(exchange.endpoint, exchange.status, seconds)
        if self._table.current.access_log or (exchange.status or 0) >= 500:
            log.info("answered", extra={**exchange.facts, "ms": round(seconds * 1000, 2)})

    async def _from_the_network(self, exchange: Exchange) -> None:
        scope, routes = exchange.scope, self._table.current
        path = ScoringPath.of(scope)
        exchange.error_shape = "problem" if path is None else path.error_shape
        routes.door.check(scope, own_schemes(scope, behind_proxy=self._behind_proxy))
        refuse_encoded(scope)
        if path is not None:
            await self._scorer.answer(exchange, path)
        elif scope["path"] == "/gateway/livez":
            await self._livez(exchange)
        else:
            await self._pass_on(exchange)

    async def _pass_on(self, exchange: Exchange) -> None:
        key = key_of(self._table.current, exchange.scope)
        exchange.key_id = None if key is None else key.id
        with self._limits.hold(key):
            passing = self._control.websocket if exchange.scope["type"] == "websocket" else self._control.http
            await passing(exchange.scope, exchange.receive, exchange.send, exchange.id)

    async def _from_own_user(self, exchange: Exchange) -> None:
        path = ScoringPath.of(exchange.scope)
        exchange.error_shape = "problem" if path is None else path.error_shape
        refuse_encoded(exchange.scope)
        if path is not None:
            await self._scorer.answer_own_user(exchange, path)
        elif exchange.scope["path"] == "/gateway/livez":
            await self._livez(exchange)
        elif exchange.scope["path"] == "/gateway/metrics":
            await send_answer(exchange.send, 200, self._metrics.text(), [("content-type", CONTENT_TYPE)])
        else:
            raise Problem(404, "no-route", "Nothing but scoring is served on this socket.", "The rest is on the other.")

    async def _livez(self, exchange: Exchange) -> None:
        body = orjson.dumps({"status": "alive", "generation": self._table.current.generation})
        await send_answer(exchange.send, 200, body, [("content-type", "application/json")])

    # --- life

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._control = ControlProxy(self._control_socket, behind_proxy=self._behind_proxy)
        await self._table.refresh()
        work = [self._table.follow(), self._scorer.prune(), self._forget()]
        if self._certificate is not None:
            work.append(self._certificate.follow())
        tasks = [asyncio.create_task(one) for one in work]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await self._control.close()
        await self._scorer.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_SECONDS)
            self._limits.forget_idle(self._table.current.key_ids)


# --- the process


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    configure_logs(process="gateway")
    raise_limit()
    try:
        certificate = Certificate(options.tls_cert, options.tls_key) if options.tls_cert else None
        listener = _listen(options.host, options.port)
    except Refused as error:
        log.error("%s %s", error.message, error.hint)
        return 1
    except OSError as error:
        log.error("cannot listen on %s:%s: %s", options.host, options.port, error.strerror)
        return 1
    gateway = Gateway(options.routes, options.control, certificate=certificate, behind_proxy=options.behind_proxy)
    local = listen(options.routes.parent / "scoring.sock")
    log.info("listening on %s", _url(listener, "http" if certificate is None else "https"))
    gc.collect()
    gc.freeze()  # what the imports left stays for good: walking it anew would cost each request 30 µs
    with suppress(KeyboardInterrupt):
        TwoDoors(_network(gateway, certificate), _own_user(gateway), local).run(sockets=[listener])
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bedplate_serving.gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8686)
    parser.add_argument("--routes", type=Path, required=True, help="the snapshot; scoring.sock is made beside it")
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--behind-proxy", action="store_true", help="believe X-Forwarded-For and X-Forwarded-Proto")
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=2048)


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _network(app: Gateway, certificate: Certificate | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=NetworkProtocol,
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
        ssl_context_factory=None if certificate is None else lambda config, default: certificate.context,
    )


def _own_user(app: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        app.own_user,
        interface="asgi3",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    sys.exit(main())
