"""Text generation: tokens a second and the time to the first token, beside transformers' own `generate`.

    python benchmarks/generation.py [--model DIR] [--threads 2] [--callers 1 4 8 16] [--new-tokens 32] [--rounds 5]

Without --model SmolLM2-135M-Instruct out of a wheel of the package index. Three sides write the same texts, greedily,
of prompts of 5 to 90 tokens:

    replica     ours: a real replica process, callers that read their events over its Unix socket, request after request
    static      `generate` on as many prompts as there are callers, padded on the left; the next batch when it is done
    sequential  `generate` on one prompt after the other

The first token is timed from when a caller asks. In `static` and `sequential` all callers ask at once, wait for their
turn, and ask again when the last of them has his text. The sides take turns, round after round: told are the medians,
with the range of the tokens a second, and `ratio`, the median of how many times `sequential` they were in their round.
One JSON line comes last.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from wheel_language_model import smollm2

TEXT = (
    "The history of the railway begins in the early nineteenth century, when steam engines were first put on rails "
    "to carry coal from the mines to the harbors. Within thirty years the new lines had changed how people traveled, "
    "what they ate and where they lived. Engineers crossed rivers and mountains, towns grew around stations, and "
    "clocks that had followed the sun were set to one common time. "
)
START_SECONDS = 300.0


@dataclass(frozen=True)
class Run:
    """What one side did: tokens of all texts, seconds for all of them, seconds to each first token."""

    tokens: int
    seconds: float
    first: tuple[float, ...]

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


def told(runs: Sequence[Run], sequential: Sequence[Run]) -> dict[str, Any]:
    """One side's rounds, beside those of `sequential`: what else the machine did then slowed both."""
    speeds, firsts = [run.speed for run in runs], [first for run in runs for first in run.first]
    ratios = [ours.speed / one.speed for ours, one in zip(runs, sequential, strict=True)]
    return {
        "tokens_per_second": round(statistics.median(speeds), 1),
        "range": [round(min(speeds), 1), round(max(speeds), 1)],
        "ratio": round(statistics.median(ratios), 2),
        "first_token_p50_ms": round(1000 * statistics.median(firsts)),
        "first_token_max_ms": round(1000 * max(firsts)),
    }


def main() -> None:
    options = read_options()
    plain = Plain(options.model, options.threads)
    rows: list[dict[str, Any]] = []
    with replica(options.model, options.threads) as (socket, memory):
        asyncio.run(ask_all(socket, prompts(2), 2, options.new_tokens))  # warm
        for callers in options.callers:
            texts = prompts(max(2 * callers, 8))
            sides = {
                "replica": lambda n=callers, t=texts: asyncio.run(ask_all(socket, t, n, options.new_tokens)),
                "static": lambda n=callers, t=texts: plain.write(t, n, n, options.new_tokens),
                "sequential": lambda n=callers, t=texts: plain.write(t, n, 1, options.new_tokens),
            }
            runs: dict[str, list[Run]] = {name: [] for name in sides}
            for _ in range(options.rounds):
                for name, side in sides.items():
                    runs[name].append(side())
            for name in sides:
                rows.append({"callers": callers, "side": name, **told(runs[name], runs["sequential"])})
                print_row(rows[-1])
        peak = memory()
    about = {"benchmark": "generation", "model": options.model.name, "new_tokens": options.new_tokens}
    about |= {"rounds": options.rounds}
    machine = {"cpu": platform.processor() or platform.machine(), "threads": options.threads, "cores": os.cpu_count()}
    print(json.dumps({**about, **machine, "replica_memory_mb": peak, "rows": rows}))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="folder of a causal model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.model = options.model or smollm2()
    return options


def prompts(count: int) -> list[str]:
    words = TEXT.split()
    return [" ".join(words[number % 5 :][: 4 + (number * 13) % 60]) for number in range(count)]


def print_row(row: dict[str, Any]) -> None:
    least, most = row["range"]
    speed = f"{row['tokens_per_second']:>7} tokens/s ({least} to {most}, {row['ratio']:.2f} x sequential)"
    first = f"first token p50 {row['first_token_p50_ms']:>6} ms, max {row['first_token_max_ms']:>6} ms"
    print(f"{row['callers']:>3} callers  {row['side']:<10} {speed}   {first}", flush=True)


# --- ours


@contextmanager
def replica(model: Path, threads: int) -> Iterator[tuple[Path, Any]]:
    """A replica of its own; gives its socket and a call that says its memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "s.sock"
        spec = {"socket": str(socket), "model_dir": str(model), "model_ref": "bench/model@1", "task": "text-generation"}
        spec |= {"deployment": "bench", "endpoint": "bench", "device": "cpu", "threads": threads}
        (Path(folder) / "spec.json").write_text(json.dumps(spec))
        command = [sys.executable, "-m", "bedplate_serving.replica", str(Path(folder) / "spec.json")]
        with (Path(folder) / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                asyncio.run(ready(socket, process))
                yield socket, lambda: memory_mb(process.pid)
            finally:
                process.terminate()


async def ready(socket: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            async with session(socket) as client, client.get("http://replica/health") as reply:
                if reply.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the replica did not start")


def session(socket: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=aiohttp.ClientTimeout())


def memory_mb(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


async def ask_all(socket: Path, texts: Sequence[str], callers: int, new_tokens: int) -> Run:
    """Callers who each take the next text when they have read the last."""
    waiting, told = iter(texts), list[tuple[int, float]]()

    async def caller(client: aiohttp.ClientSession) -> None:
        for text in waiting:
            told.append(await ask(client, text, new_tokens))

    async with session(socket) as client:
        started = time.perf_counter()
        await asyncio.gather(*(caller(client) for _ in range(callers)))
        seconds = time.perf_counter() - started
    return Run(sum(tokens for tokens, _ in told), seconds, tuple(first for _, first in told))


async def ask(client: aiohttp.ClientSession, text: str, new_tokens: int) -> tuple[int, float]:
    """How many tokens came, and when the first one did."""
    body = {"inputs": text, "stream": True, "parameters": {"max_new_tokens": new_tokens}}
    started, first, count = time.perf_counter(), 0.0, 0
    async with client.post("http://replica/", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.content:
            if line.startswith(b"data:"):
                first = first or time.perf_counter() - started
                count += 1
    return count, first


# --- transformers' own


class Plain:
    """The same model in this process, and its `generate`."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.write(prompts(1), 1, 1, 2)  # warm

    def write(self, texts: Sequence[str], callers: int, together: int, new_tokens: int) -> Run:
        """Rounds of `callers` texts, of which `together` at a time are written."""
        clock = First()
        tokens, firsts = 0, list[float]()
        started = asked = time.perf_counter()
        for place in range(0, len(texts), together):
            if place % callers == 0:
                asked = time.perf_counter()
            batch = self._tokenizer(list(texts[place : place + together]), padding=True, return_tensors="pt")
            clock.reset()
            found = self._model.generate(**batch, max_new_tokens=new_tokens, do_sample=False, streamer=clock)
            new = found[:, batch["input_ids"].shape[1] :]
            tokens += sum(self._length(row) for row in new.tolist())
            firsts += [clock.first - asked] * len(new)
        return Run(tokens, time.perf_counter() - started, tuple(firsts))

    def _length(self, row: list[int]) -> int:
        end = self._tokenizer.eos_token_id
        return row.index(end) + 1 if end in row else len(row)


class First:
    """A streamer that only notes when the first new token came: `put` gets the prompts before it."""

    def reset(self) -> None:
        self.first, self._calls = 0.0, 0

    def put(self, value: Any) -> None:
        self._calls += 1
        if self._calls == 2:
            self.first = time.perf_counter()

    def end(self) -> None: ...


if __name__ == "__main__":
    main()
