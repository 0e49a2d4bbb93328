"""Real-time scoring under load, beside the limit of the same model on the same cores.

    python benchmarks/realtime.py [--model DIR] [--callers 32] [--seconds 10] [--rounds 1] [--threads N] [--device D]

Starts a real gateway and a real replica, and a load process with `--callers` callers that each send one text after the
other (distinct texts of 3 to 200 tokens, log-normal, mean about 20). Measured in turn, on the same cores and texts:

    limit     the predictor alone in one process: tokenized, sorted by length, cut into batches, run; no HTTP, no load
    replica   the callers on the replica's socket
    gateway   the callers through the gateway, with a key

The load process shares the cores, so its own cost is part of what the ratios lose. Without --model a random classifier
of MiniLM's shape (6 layers, hidden size 384) is made. The last line is JSON.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch, here and in every child

import argparse
import asyncio
import hashlib
import json
import math
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

KEY = "benchmark"
TEXTS = 2048
LOOSE = 1e-4  # how far an answer may be from the offline run's


def main() -> None:
    options = _options()
    if options.load:
        asyncio.run(_load(options))
    elif options.offline:
        _offline(options)
    else:
        _benchmark(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--token-budget", type=int, default=None)
    parser.add_argument("--load", help=argparse.SUPPRESS)  # the children's own arguments
    parser.add_argument("--offline", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_texts(count: int = TEXTS, seed: int = 0) -> list[str]:
    """Distinct texts whose words are one token each in most vocabularies."""
    from bedplate_serving.testing import WORDS

    source = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = min(max(round(source.lognormvariate(math.log(11.5), 0.9)), 1), 198)
        texts[" ".join(source.choices(WORDS, k=words))] = None
    return list(texts)


# --- children


def _offline(options: argparse.Namespace) -> None:
    """The limit: whole passes over all texts until the time is up; one answer of each text for the comparison."""
    from bedplate_serving.predictors import load_predictor

    predictor = load_predictor(options.model, "text-classification", device=options.device, threads=options.threads)
    texts = make_texts()
    answers = predictor.predict(texts)
    started = time.perf_counter()
    passes = 0
    while time.perf_counter() - started < options.seconds:
        predictor.predict(texts)
        passes += 1
    rate = passes * len(texts) / (time.perf_counter() - started)
    tokens = sum(one.length for one in predictor.encode([predictor.parse(text) for text in texts])) / len(texts)
    answers_digest = [[answer[0]["label"], answer[0]["score"]] for answer in answers]
    print(json.dumps({"rate": rate, "pss_mb": _pss_mb(os.getpid()), "tokens": tokens, "answers": answers_digest}))


async def _load(options: argparse.Namespace) -> None:
    """`--callers` callers for `--seconds`, after a second of warming up."""
    import aiohttp

    url, _, socket = options.load.partition("|")
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(socket, limit=0) if socket else aiohttp.TCPConnector(limit=0)
    )
    bodies = [json.dumps({"inputs": text, "parameters": {"top_k": 1}}).encode() for text in make_texts()]
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    latencies: list[float] = []
    answers: dict[int, Any] = {}
    begin = time.perf_counter() + 1.0
    end = begin + options.seconds

    async def caller(number: int, session: aiohttp.ClientSession) -> None:
        turn = number
        while True:
            place = turn * 7919 % len(bodies)
            turn += options.callers
            started = time.perf_counter()
            async with session.post(url, data=bodies[place], headers=headers) as response:
                answer = await response.read()
            finished = time.perf_counter()
            if finished > end:
                return
            if response.status != 200:
                raise SystemExit(f"status {response.status}: {answer.decode()}")
            answers[place] = answer
            if started >= begin:
                latencies.append(finished - started)

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(caller(number, session) for number in range(options.callers)))
    latencies.sort()
    scored = {place: json.loads(answer)[0][0] for place, answer in answers.items()}
    quantiles = {f"p{q}_ms": 1000 * latencies[min(int(len(latencies) * q / 100), len(latencies) - 1)] for q in (50, 99)}
    print(json.dumps({"rate": len(latencies) / options.seconds, **quantiles, "answers": scored}))


def _child(options: argparse.Namespace, *arguments: str, seconds: float | None = None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", str(options.model), "--threads", str(options.threads)]
    command += ["--callers", str(options.callers), "--seconds", str(seconds or options.seconds)]
    done = subprocess.run([*command, "--device", options.device, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


# --- the processes under test


@contextmanager
def serving(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, int]]:
    """A gateway and a replica: the endpoint's URL, the replica's socket and its pid."""
    spec = {
        "socket": str(folder / "r.sock"),
        "model_dir": str(options.model),
        "model_ref": "bench:1",
        "task": "text-classification",
        "deployment": "blue",
        "endpoint": "bench",
        "device": options.device,
        "threads": options.threads,
        "token_budget": options.token_budget,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "routes.json").write_text(json.dumps(_routes(spec["socket"])))
    log = (folder / "log").open("w+b")
    replica = _start(log, "-m", "bedplate_serving.replica", str(folder / "spec.json"))
    gateway = _start(
        log,
        *("-m", "bedplate_serving.gateway", "--port", "0"),
        *("--routes", str(folder / "routes.json"), "--control", str(folder / "control.sock")),
    )
    try:
        text = _wait_for(folder / "log", "ready:", "listening on", processes=(replica, gateway))
        url = re.split(r'[\s"]', text.split("listening on ")[1])[0]
        yield f"{url}/endpoints/bench", folder / "r.sock", replica.pid
    finally:
        for process in (gateway, replica):
            process.terminate()
            process.wait(30)


def _start(log: Any, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *arguments], stderr=log)


def _wait_for(log: Path, *words: str, processes: tuple[subprocess.Popen[bytes], ...]) -> str:
    while True:
        text = log.read_text()
        if all(word in text for word in words):
            return text
        if any(process.poll() is not None for process in processes):
            raise SystemExit(f"a process ended early:\n{text}")
        time.sleep(0.1)


def _routes(socket: Any) -> dict[str, Any]:
    key = {"id": "k", "scopes": ["infer"], "endpoints": None, "expires": None}
    blue = {"model": "bench:1", "traffic": 100, "replicas": [{"id": "r", "socket": socket}]}
    return {
        "generation": 1,
        "keys": {hashlib.sha256(KEY.encode()).hexdigest(): key},
        "endpoints": {"bench": {"task": "text-classification", "deployments": {"blue": blue}}},
    }


def _pss_mb(pid: int) -> float:
    """Proportional set size: what the process would take alone, shared pages counted by share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


# --- the benchmark


def _benchmark(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bpb") as name:
        folder = Path(name)
        if options.model is None:
            from bedplate_serving.testing import tiny_text_classifier

            labels = [f"intent{number}" for number in range(8)]
            options.model = tiny_text_classifier(folder / "model", labels, max_positions=512, shape="minilm")
        with serving(options, folder) as (url, socket, pid):
            rounds = [_round(options, url, socket) for _ in range(options.rounds)]
            one = _child(options, "--callers", "1", "--load", url, seconds=min(options.seconds, 5.0))
            memory = _pss_mb(pid)
    _report(options, rounds, one, memory)


def _round(options: argparse.Namespace, url: str, socket: Path) -> dict[str, Any]:
    """Limit, replica, gateway, limit: the limit is taken before and after, since a shared machine drifts."""
    before = _child(options, "--offline", seconds=options.seconds / 2)
    replica = _child(options, "--load", f"http://replica/|{socket}")
    gateway = _child(options, "--load", url)
    after = _child(options, "--offline", seconds=options.seconds / 2)
    for served in (replica, gateway):
        _compare(served["answers"], before["answers"])
    return {"before": before, "replica": replica, "gateway": gateway, "after": after}


def _compare(served: dict[str, Any], offline: list[Any]) -> None:
    for place, answer in served.items():
        label, score = offline[int(place)]
        if abs(answer["score"] - score) > LOOSE or (answer["label"] != label and abs(answer["score"] - score) > 1e-6):
            raise SystemExit(f"text {place}: served {answer}, offline {label} {score}")


def _report(options: argparse.Namespace, rounds: list[dict[str, Any]], one: dict[str, Any], memory: float) -> None:
    limits = [rate for each in rounds for rate in (each["before"]["rate"], each["after"]["rate"])]
    limit = statistics.median(limits)
    bare = rounds[0]["before"]["pss_mb"]
    rows = [("limit (offline, sorted)", limit, None, None, 1.0)]
    for name in ("replica", "gateway"):
        rate, p50, p99 = (statistics.median(each[name][key] for each in rounds) for key in ("rate", "p50_ms", "p99_ms"))
        rows.append((f"{name}, {options.callers} callers", rate, p50, p99, rate / limit))
    rows.append(("gateway, 1 caller", one["rate"], one["p50_ms"], one["p99_ms"], one["rate"] / limit))
    print(f"\n{'':26}{'texts/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'of limit':>10}")
    for title, rate, p50, p99, ratio in rows:
        times = f"{p50:9.1f}{p99:9.1f}" if p50 is not None and p99 is not None else " " * 18
        print(f"{title:26}{rate:9.1f}{times}{ratio:10.2f}")
    print(
        f"\nthe limit ranged from {min(limits):.0f} to {max(limits):.0f} texts/s; load average {os.getloadavg()[0]:.1f}"
    )
    print(f"memory (PSS): replica {memory:.0f} MB, a bare process with the model {bare:.0f} MB: {memory / bare:.2f}\n")
    replica, gateway = rows[1], rows[2]
    result = {
        "benchmark": "realtime",
        "ratio": round(gateway[4], 3),
        "replica_ratio": round(replica[4], 3),
        "gateway_over_replica": round(gateway[1] / replica[1], 3),
        "limit_per_second": round(limit, 1),
        "gateway_per_second": round(gateway[1], 1),
        "p50_ms": round(gateway[2] or 0, 2),
        "p99_ms": round(gateway[3] or 0, 2),
        "one_caller": {"p50_ms": round(one["p50_ms"], 2), "p99_ms": round(one["p99_ms"], 2)},
        "pss_mb": {"replica": round(memory), "bare": round(bare), "ratio": round(memory / bare, 2)},
        "callers": options.callers,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "mean_tokens": round(rounds[0]["before"]["tokens"], 1),
        "device": options.device,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "uvicorn", "aiohttp")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
