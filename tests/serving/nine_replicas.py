"""Replicas of all nine tasks, each on a socket of its own, in one process: torch is imported once for all of them.

python nine_replicas.py FOLDER TASK …

FOLDER/TASK.sock     the replica of that task, on a tiny model that is made here
FOLDER/truth.sock    {"task", "inputs", "parameters"} → what the predictor says to that, without queue and dialect
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn

from bedplate_serving.predictors import load_predictor
from bedplate_serving.replica import Replica, ReplicaSpec
from bedplate_serving.unix_sockets import listen

BUILDERS = {
    "token-classification": "encoders.tiny_token_classifier",
    "question-answering": "encoders.tiny_question_answerer",
    "fill-mask": "encoders.tiny_masked_lm",
    "summarization": "seq2seq.tiny_bart",
    "translation": "seq2seq.tiny_nllb",
    "text-generation": "causal.tiny_llama",
    "image-classification": "images.tiny_vit",
    "text-to-image": "images.tiny_diffusion",
}


def build(task: str, folder: Path) -> Path:
    if task == "text-classification":
        labels = ("negative", "neutral", "positive")
        return Path(import_module("bedplate_serving.testing").tiny_text_classifier(folder, labels))
    module, _, name = BUILDERS[task].partition(".")
    builder: Callable[[Path], Path] = getattr(import_module(f"bedplate_serving.testing.{module}"), name)
    return builder(folder)


async def serve(app: Any, socket: Path) -> None:
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="on", log_config=None)
    await uvicorn.Server(config).serve(sockets=[listen(socket)])


def replica_of(task: str, folder: Path) -> Replica:
    spec = ReplicaSpec(
        socket=folder / f"{task}.sock",
        model_dir=folder / task,
        model_ref=f"acme/{task}:3",
        task=task,
        deployment="main",
        endpoint=task,
        max_body_bytes=2_000_000,
    )
    return Replica(spec, on_failure=lambda: print(f"{task} could not be loaded", flush=True))


class Truth:
    """An ASGI app."""

    def __init__(self, folder: Path, loading: asyncio.Lock) -> None:
        self._folder, self._loading = folder, loading
        self._predictors: dict[str, Any] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        async with self._loading:
            answer = await asyncio.to_thread(self._predict, **json.loads(body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def _predict(self, task: str, inputs: Any, parameters: dict[str, Any]) -> Any:
        if task not in self._predictors:
            self._predictors[task] = load_predictor(self._folder / task, task, device="cpu", threads=1)
        return self._predictors[task].predict([inputs], parameters)[0]


async def main(folder: Path, *tasks: str) -> None:
    loading = asyncio.Lock()  # from_pretrained changes torch for all threads while it makes a model
    running = [asyncio.create_task(serve(Truth(folder, loading), folder / "truth.sock"))]
    for task in tasks:
        async with loading:
            await asyncio.to_thread(build, task, folder / task)
            replica = replica_of(task, folder)
            running.append(asyncio.create_task(serve(replica, folder / f"{task}.sock")))
            while replica._predictor is None and replica.failure is None:
                await asyncio.sleep(0.02)
        print(task, replica.failure or "ready", flush=True)
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
