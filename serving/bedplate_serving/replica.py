"""One instance of a deployment: a model, the queue in front of it, and its HTTP routes on a Unix socket.

    python -m bedplate_serving.replica SPEC.json

    GET /health   200 once the model has answered its sample: the deployment's own, or else its task's
    GET /info     what is served, that sample with its answer, and how busy it is
    else          by the table of routes in dialects

    SPEC  {"socket", "model_dir", "model_ref", "task", "deployment", "endpoint", "device": "cpu", "threads": 2,
           "max_queue": 256, "token_budget": null, "max_body_bytes": 33554432, "request_timeout_seconds": 300,
           "derived_dir": null, "sample": null | {"inputs", "parameters"}}

Every answer names the model version and the deployment (X-Bedplate-Model, X-Bedplate-Deployment). A request may take
`request_timeout_seconds`, or less where it says so in X-Bedplate-Timeout; then it is a 504 and leaves the queue.
SIGTERM drains: no new connection, the requests inside are answered, exit 0. A model that cannot be loaded, or cannot
answer its sample, ends the process with exit 1 and one line.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: beside a busy process the default is 7-35x slower
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # batches are small; its threads would take the model's cores

import asyncio
import base64
import gc
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import uvicorn

from bedplate_registry.errors import BedplateError, Refused, nearest
from bedplate_serving.asgi import (
    CallerLeft,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    refuse_encoded,
    send_answer,
    send_start,
    watch,
)
from bedplate_serving.batching import Batcher
from bedplate_serving.dialects import Call, Reply, answer, is_route
from bedplate_serving.logs import configure_logs
from bedplate_serving.predictors import Predictor, load_predictor
from bedplate_serving.problems import Problem, problem_of
from bedplate_serving.queues import Queue
from bedplate_serving.request_timeout import DEFAULT_SECONDS, timeout_seconds
from bedplate_serving.scoring_paths import error_shape, no_route
from bedplate_serving.unix_sockets import listen

__all__ = ["Replica", "ReplicaSpec", "main"]

log = logging.getLogger("bedplate_serving.replica")

SAMPLE_PATH = "/"  # a sample is a body of the Hub's dialect
SAMPLE_SECONDS = 600.0  # on a slow machine the first answer of a large model may take minutes
SHOWN_CHARACTERS = 4096  # of a text in the sample's answer: no image is passed around
SHOWN_BYTES = 64 << 10  # of that answer
SEND_SECONDS = 30.0  # for one piece of a stream: whoever takes longer to read does not read any more
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
    request_timeout_seconds: float = DEFAULT_SECONDS
    derived_dir: Path | None = None  # where what was derived of the model, such as its ONNX form, is kept
    sample: Mapping[str, Any] | None = None  # {"inputs", "parameters"}; None: the task's own

    @classmethod
    def read(cls, path: Path) -> ReplicaSpec:
        raw = json.loads(path.read_text())
        known = [field.name for field in fields(cls)]
        for key in raw:
            if key not in known:
                raise Refused(f"{path.name} has the unknown key {key!r}.", hint=nearest(key, known))
        paths = {key: Path(raw[key]) for key in ("socket", "model_dir", "derived_dir") if raw.get(key) is not None}
        return cls(**{**raw, **paths})


class Replica:
    """The ASGI app."""

    def __init__(self, spec: ReplicaSpec, on_failure: Callable[[], None]) -> None:
        self._spec = spec
        self._on_failure = on_failure
        self._names = (("x-bedplate-model", spec.model_ref), ("x-bedplate-deployment", spec.deployment))
        self._routes: dict[tuple[str, str], Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/info"): self._info,
        }
        self._predictor: Predictor | None = None
        self._queue: Queue | None = None
        self._sample: dict[str, Any] = {}  # {"request", "answer"} once it is answered
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
        method, path = scope["method"], scope["path"]
        route = self._routes.get((method, path))
        if route is not None:
            return route
        if is_route(method, path):
            return self._score
        raise no_route(method, path)

    async def _send(self, send: Send, status: int, body: bytes, headers: Headers) -> None:
        await send_answer(send, status, body, [*headers, *self._names])

    async def _refuse(self, scope: Scope, send: Send, problem: Problem) -> None:
        shape = error_shape(scope["path"])
        body = problem.body_in(shape, header(scope, b"x-request-id"))  # the gateway's
        await self._send(send, problem.status, body, problem.headers_in(shape))

    # --- life

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loading = asyncio.create_task(self._load())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._queue is not None:
            await self._queue.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self) -> None:
        """In a thread, while /health answers 503. Ready means: it has answered its sample."""
        try:
            predictor = await asyncio.to_thread(self._load_predictor)
            queue = self._queue = self._open_queue(predictor)
            queue.start()
            self._sample = await self._answered_sample(predictor, queue)
        except BedplateError as error:
            self._fail(error)
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - the load's edge: the process says why; a panic is no Exception
            self._fail(BedplateError(f"The model failed to load: {type(error).__name__}: {error}", code="load-failed"))
        else:
            gc.collect()
            gc.freeze()  # a hundred thousand objects of torch and transformers that no collection need visit again
            self._predictor = predictor
            log.info("ready: %s on %s", self._spec.model_ref, predictor.device)
            Thread(target=self._improve, args=(predictor,), name="improve", daemon=True).start()

    def _load_predictor(self) -> Predictor:
        spec = self._spec
        return load_predictor(
            spec.model_dir, spec.task, device=spec.device, threads=spec.threads, derived=spec.derived_dir
        )

    def _open_queue(self, predictor: Predictor) -> Queue:
        """The predictor's own where it has one; a model that writes text batches by the token, not by the item."""
        spec = self._spec
        open_queue: Callable[..., Queue] = getattr(predictor, "open_queue", None) or partial(Batcher, predictor)
        return open_queue(max_queue=spec.max_queue, token_budget=spec.token_budget)

    async def _answered_sample(self, predictor: Predictor, queue: Queue) -> dict[str, Any]:
        """The smoke test: the sample all the way from a caller's bytes to the answer's. Raises what that raises."""
        request = dict(self._spec.sample or _own_sample(predictor))
        call = Call(
            method="POST",
            path=SAMPLE_PATH,
            body=orjson.dumps(request),
            headers={"content-type": "application/json"},
            deadline=time.monotonic() + SAMPLE_SECONDS,
            model=self._spec.model_ref,
            endpoint=self._spec.endpoint,
            sample={},
        )
        try:
            reply = await answer(call, predictor, queue)
        except Problem as problem:
            raise BedplateError(problem.detail, hint=problem.hint, code=problem.code) from problem
        if not isinstance(reply, Reply):
            raise Refused("A sample cannot be streamed.", hint='Leave out "stream".', code="bad-sample")
        return {"request": request, "answer": _shown(reply)}

    def _improve(self, predictor: Predictor) -> None:
        """What a predictor can do to become faster while it answers already. The end of the process does not wait."""
        improve = getattr(predictor, "improve", None)
        if improve is None:
            return
        try:
            improve()
        except BaseException:  # a thread's edge, and a panic is no Exception: it goes on as it is
            log.exception("%s could not be made faster", self._spec.model_ref)

    def _fail(self, error: BedplateError) -> None:
        self.failure = error
        self._on_failure()

    # --- routes

    async def _score(self, scope: Scope, receive: Receive, send: Send) -> None:
        refuse_encoded(scope)
        call = await self._read(scope, receive)
        predictor, queue = self._ready()
        await watch(self._answer(call, predictor, queue, send), receive)

    async def _read(self, scope: Scope, receive: Receive) -> Call:
        spec = self._spec
        return Call(
            method=scope["method"],
            path=scope["path"],
            headers={key.decode("latin-1"): value.decode("latin-1") for key, value in reversed(scope["headers"])},
            deadline=time.monotonic() + timeout_seconds(scope, spec.request_timeout_seconds),
            body=await read_body(scope, receive, spec.max_body_bytes),
            model=spec.model_ref,
            endpoint=spec.endpoint,
            sample=self._sample,
        )

    async def _answer(self, call: Call, predictor: Predictor, queue: Queue, send: Send) -> None:
        reply = await answer(call, predictor, queue)
        headers = [("content-type", reply.content_type), *reply.headers]
        if isinstance(reply, Reply):
            await self._send(send, reply.status, reply.body, headers)
        else:
            await self._stream(send, reply.chunks, headers)

    async def _stream(self, send: Send, chunks: AsyncIterator[bytes], headers: Headers) -> None:
        """The status goes out with the first chunk, so that what fails before it is refused as anything else is."""
        is_started = False
        try:
            async with aclosing(chunks):  # type: ignore[type-var]  # of generators: the work behind them ends with us
                async for chunk in chunks:
                    if not is_started:
                        await send_start(send, 200, [*headers, *self._names])
                        is_started = True
                    async with asyncio.timeout(SEND_SECONDS):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Exception:
            if not is_started:
                raise
            log.exception("a streamed answer broke off")
            return  # the connection is cut, which tells the caller that there is no more of it
        if not is_started:
            await send_start(send, 200, [*headers, *self._names])
        await send({"type": "http.response.body", "body": b""})

    def _ready(self) -> tuple[Predictor, Queue]:
        if self._predictor is None or self._queue is None:
            raise Problem(503, "loading", "The model is still being loaded.", retry_after_seconds=2)
        return self._predictor, self._queue

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._ready()
        await self._send(send, 200, b'{"status":"ready"}', [("content-type", "application/json")])

    async def _info(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._send(send, 200, orjson.dumps(self._describe()), [("content-type", "application/json")])

    def _describe(self) -> dict[str, Any]:
        spec, predictor, queue = self._spec, self._predictor, self._queue
        facts: dict[str, Any] = {"model_id": spec.model_ref, "model": spec.model_ref, "task": spec.task}
        facts |= {"status": "ready" if predictor else "loading"}
        facts |= {"endpoint": spec.endpoint, "deployment": spec.deployment, "pid": os.getpid()}
        facts |= {"threads": spec.threads, "max_queue": spec.max_queue, "max_body_bytes": spec.max_body_bytes}
        facts |= {"request_timeout_seconds": spec.request_timeout_seconds}
        if predictor is not None:
            facts |= {"device": predictor.device, "labels": predictor.labels}
            facts |= {"context_length": predictor.context_length, "sample": self._sample}
            facts |= {"engine": getattr(predictor, "engine", "torch")}
        if queue is not None:
            facts |= {"waiting": queue.waiting, "items": queue.items_done, "batches": queue.batches_done}
        return facts


def _own_sample(predictor: Predictor) -> dict[str, Any]:
    """The task's, for a deployment that has none of its own."""
    parameters = predictor.sample_parameters()
    return {"inputs": predictor.sample(), **({"parameters": parameters} if parameters else {})}


def _shown(reply: Reply) -> Any:
    """An answer as it is shown and stored: an image as base64, and what is long left out."""
    is_json = reply.content_type.startswith("application/json")
    answer = _shortened(orjson.loads(reply.body) if is_json else base64.b64encode(reply.body).decode())
    size = len(orjson.dumps(answer))
    return answer if size <= SHOWN_BYTES else f"({size} bytes, left out)"


def _shortened(value: Any) -> Any:
    """The same with long texts told by their length: base64 of an image, above all."""
    if isinstance(value, dict):
        return {key: _shortened(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shortened(one) for one in value]
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"({len(value)} characters, left out)"
    return value


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
