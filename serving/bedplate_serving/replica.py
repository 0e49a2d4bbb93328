"""One instance of a deployment: a model, the queue in front of it, and its HTTP routes on a Unix socket.

    python -m bedplate_serving.replica SPEC.json

    POST /         the Hub's dialect          GET /health   200 once the model has answered its own sample
    POST /score    both of Azure's dialects   GET /info     what is served, and how busy it is

    SPEC  {"socket", "model_dir", "model_ref", "task", "deployment", "endpoint", "device": "cpu", "threads": 2,
           "max_queue": 256, "token_budget": null, "max_body_bytes": 33554432}

Every answer names the model version and the deployment (X-Bedplate-Model, X-Bedplate-Deployment). Items that were cut
at the model's context length are told by index in X-Bedplate-Truncated. SIGTERM drains: no new connection, the
requests inside are answered, exit 0. A model that cannot be loaded ends the process with exit 1 and one line.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: beside a busy process the default is 7-35x slower
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # batches are small; its threads would take the model's cores

import asyncio
import gc
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson
import uvicorn

from bedplate_registry.errors import BedplateError, Refused, nearest
from bedplate_serving.asgi import CallerLeft, Headers, Receive, Scope, Send, header, read_body, send_answer, watch
from bedplate_serving.batching import Batcher, Scored
from bedplate_serving.dialects import PARSERS, Dialect, ScoringRequest
from bedplate_serving.logs import configure_logs
from bedplate_serving.predictors import Predictor, load_predictor
from bedplate_serving.problems import Problem, problem_of
from bedplate_serving.unix_sockets import listen

__all__ = ["Replica", "ReplicaSpec", "main"]

log = logging.getLogger("bedplate_serving.replica")

OFF_LOOP_BYTES = 64 * 1024  # a body beyond this is parsed, and its answer written, in a thread
TRUNCATED_SHOWN = 100
DRAIN_SECONDS = 30
KEEP_ALIVE_SECONDS = 75  # longer than the gateway keeps a connection, so that it is the gateway who closes it


@dataclass(frozen=True)
class ReplicaSpec:
    """What to serve, and within which limits."""

    socket: Path
    model_dir: Path
    model_ref: str
    task: str
    deployment: str
    endpoint: str
    device: str = "cpu"
    threads: int = 1
    max_queue: int = 256
    token_budget: int | None = None
    max_body_bytes: int = 32 * 1024 * 1024

    @classmethod
    def read(cls, path: Path) -> ReplicaSpec:
        raw = json.loads(path.read_text())
        known = [field.name for field in fields(cls)]
        for key in raw:
            if key not in known:
                raise Refused(f"{path.name} has the unknown key {key!r}.", hint=nearest(key, known))
        return cls(**{**raw, "socket": Path(raw["socket"]), "model_dir": Path(raw["model_dir"])})


class Replica:
    """The ASGI app."""

    def __init__(self, spec: ReplicaSpec, on_failure: Callable[[], None]) -> None:
        self._spec = spec
        self._on_failure = on_failure
        self._names = (("x-bedplate-model", spec.model_ref), ("x-bedplate-deployment", spec.deployment))
        self._routes: dict[tuple[str, str], Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            ("POST", "/"): partial(self._score, "hub"),
            ("POST", "/score"): partial(self._score, "azure"),
            ("GET", "/health"): self._health,
            ("GET", "/info"): self._info,
        }
        self._predictor: Predictor | None = None
        self._batcher: Batcher | None = None
        self._loading: asyncio.Task[None] | None = None
        self.failure: BedplateError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        try:
            await self._route(scope)(scope, receive, send)
        except CallerLeft:
            pass
        except Problem as problem:
            await self._refuse(scope, send, problem)
        except BedplateError as error:
            await self._refuse(scope, send, problem_of(error))
        except Exception:  # the request's outer edge: told in the log, without detail outside
            log.exception("a request failed", extra={"request_id": header(scope, b"x-request-id")})
            detail = "The replica failed on this request."
            await self._refuse(scope, send, Problem(500, "internal", detail, "Its log says why."))

    def _route(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            raise Problem(404, "no-route", f"This endpoint has no {scope['method']} {scope['path'][:200]}.")
        return route

    async def _send(self, send: Send, status: int, body: bytes, headers: Headers) -> None:
        await send_answer(send, status, body, [*headers, *self._names])

    async def _refuse(self, scope: Scope, send: Send, problem: Problem) -> None:
        body = problem.scoring_body(header(scope, b"x-request-id"))  # the gateway's
        await self._send(send, problem.status, body, problem.all_headers)

    # --- life

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loading = asyncio.create_task(self._load())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._batcher is not None:
            await self._batcher.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self) -> None:
        """In a thread, while /health answers 503. Ready means: it has answered its own sample."""
        spec = self._spec
        try:
            predictor = await asyncio.to_thread(self._load_predictor)
            self._batcher = Batcher(predictor, max_queue=spec.max_queue, token_budget=spec.token_budget)
            self._batcher.start()
            parameters = predictor.parameters({})
            [scored] = await self._batcher.submit([predictor.parse(predictor.sample(), parameters)])
            predictor.answer(scored.raw, parameters)
        except BedplateError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the outer edge of the load: the process ends and says why
            self._fail(BedplateError(f"The model failed to load: {type(error).__name__}: {error}", code="load-failed"))
        else:
            gc.collect()
            gc.freeze()  # a hundred thousand objects of torch and transformers that no collection need visit again
            self._predictor = predictor
            log.info("ready: %s on %s", spec.model_ref, predictor.device)

    def _load_predictor(self) -> Predictor:
        spec = self._spec
        return load_predictor(spec.model_dir, spec.task, device=spec.device, threads=spec.threads)

    def _fail(self, error: BedplateError) -> None:
        self.failure = error
        self._on_failure()

    # --- routes

    async def _score(self, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        if (header(scope, b"content-encoding") or "identity") != "identity":
            raise Problem(415, "encoded-body", "Compressed bodies are not taken.", "Send the body as it is.")
        body = await read_body(scope, receive, self._spec.max_body_bytes)
        answer, truncated = await watch(self._answer(dialect, body), receive)
        headers = [("content-type", "application/json")]
        if truncated:
            shown = ",".join(map(str, truncated[:TRUNCATED_SHOWN]))
            more = f",+{len(truncated) - TRUNCATED_SHOWN}" if len(truncated) > TRUNCATED_SHOWN else ""
            headers.append(("x-bedplate-truncated", shown + more))
        await self._send(send, 200, answer, headers)

    async def _answer(self, dialect: Dialect, body: bytes) -> tuple[bytes, list[int]]:
        predictor, batcher = self._ready()
        call = asyncio.to_thread if len(body) > OFF_LOOP_BYTES else _at_once
        request: ScoringRequest = await call(PARSERS[dialect], body, predictor)
        scored: list[Scored] = await batcher.submit(request.items)
        answer = await call(request.body, predictor, [one.raw for one in scored])
        return answer, [index for index, one in enumerate(scored) if one.truncated]

    def _ready(self) -> tuple[Predictor, Batcher]:
        if self._predictor is None or self._batcher is None:
            raise Problem(503, "loading", "The model is still being loaded.", retry_after_seconds=2)
        return self._predictor, self._batcher

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._ready()
        await self._send(send, 200, b'{"status":"ready"}', [("content-type", "application/json")])

    async def _info(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._send(send, 200, orjson.dumps(self._describe()), [("content-type", "application/json")])

    def _describe(self) -> dict[str, Any]:
        spec, predictor, batcher = self._spec, self._predictor, self._batcher
        status: Literal["loading", "ready"] = "ready" if predictor else "loading"
        facts: dict[str, Any] = {
            "model_id": spec.model_ref,
            "model": spec.model_ref,
            "task": spec.task,
            "status": status,
        }
        facts |= {"endpoint": spec.endpoint, "deployment": spec.deployment, "pid": os.getpid()}
        facts |= {"threads": spec.threads, "max_queue": spec.max_queue, "max_body_bytes": spec.max_body_bytes}
        if predictor is not None:
            facts |= {"device": predictor.device, "labels": predictor.labels}
            facts |= {"context_length": predictor.context_length}
        if batcher is not None:
            facts |= {"waiting": batcher.waiting, "items": batcher.items_done, "batches": batcher.batches_done}
        return facts


async def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def main(arguments: list[str] | None = None) -> int:
    paths = sys.argv[1:] if arguments is None else arguments
    if len(paths) != 1:
        print("usage: python -m bedplate_serving.replica SPEC.json", file=sys.stderr)
        return 2
    spec = ReplicaSpec.read(Path(paths[0]))
    configure_logs(process="replica", endpoint=spec.endpoint, deployment=spec.deployment)
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)  # torch is not imported before the model is loaded
    replica = Replica(spec, on_failure=lambda: setattr(server, "should_exit", True))
    server = uvicorn.Server(_server_config(replica))
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn drains on them, then raises them again: end with 0
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listen(spec.socket)])
    if replica.failure is not None:
        log.error("%s", replica.failure.message, extra={"code": replica.failure.code, "hint": replica.failure.hint})
        return 1
    return 0


def _server_config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
