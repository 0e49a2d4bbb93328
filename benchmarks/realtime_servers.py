"""The servers that benchmarks/realtime.py compares: ours, and those of the field, each in the form its users run it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

__all__ = ["CACHE", "KEY", "PEERS", "Server", "bedplate_server", "peer_server"]

HERE = Path(__file__).resolve().parent
CACHE = Path("~/.cache/bedplate-benchmarks").expanduser()
KEY = "benchmark"
READY_SECONDS = 180.0
PEERS: Mapping[str, list[str]] = {
    "pipeline": ["python", "pipeline_server.py"],
    "litserve": ["python", "litserve_server.py"],
    "bentoml": ["bentoml", "serve", "bentoml_service:Service", "--host", "127.0.0.1", "--port", "{port}"],
}


@dataclass(frozen=True)
class Server:
    """A server that answers; `body` makes the JSON it wants of a text."""

    name: str
    url: str
    body: Callable[[str], Any]
    processes: tuple[psutil.Process, ...]
    seconds_to_ready: float

    @property
    def pss_mb(self) -> float:
        """Of all its processes, children too: what they take alone, shared pages counted by share."""
        every = {one.pid for process in self.processes for one in (process, *process.children(recursive=True))}
        return sum(map(_pss_mb, every))


def _pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


@contextmanager
def bedplate_server(
    model: Path, folder: Path, *, threads: int, device: str, derived: Path | None, token_budget: int | None
) -> Iterator[Server]:
    """A gateway and a replica, as an endpoint has them."""
    folder.mkdir()
    spec = {
        "socket": str(folder / "r.sock"),
        "model_dir": str(model),
        "model_ref": "bench:1",
        "task": "text-classification",
        "deployment": "blue",
        "endpoint": "bench",
        "device": device,
        "threads": threads,
        "token_budget": token_budget,
        "derived_dir": None if derived is None else str(derived),
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "routes.json").write_text(json.dumps(_routes(spec["socket"])))
    routes = ("--routes", str(folder / "routes.json"), "--control", str(folder / "control.sock"))
    started = time.perf_counter()
    with (folder / "log").open("w+b") as log, ExitStack() as stack:
        gateway = _started(stack, log, [sys.executable, "-m", "bedplate_serving.gateway", "--port", "0", *routes])
        replica = _started(stack, log, [sys.executable, "-m", "bedplate_serving.replica", str(folder / "spec.json")])
        text = _read_until(folder / "log", ("ready:", "listening on"), (gateway, replica))
        seconds = time.perf_counter() - started
        if derived is not None:
            _await_engine(folder / "r.sock", replica)
        url = re.split(r'[\s"]', text.split("listening on ")[1])[0]
        processes = (psutil.Process(gateway.pid), psutil.Process(replica.pid))
        yield Server("bedplate", f"{url}/endpoints/bench", _our_body, processes, seconds)


def _our_body(text: str) -> Any:
    return {"inputs": text, "parameters": {"top_k": 1}}


def _await_engine(sock: Path, replica: subprocess.Popen[bytes]) -> None:
    """Until the graph is in use."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(sock))) as client:
        deadline = time.monotonic() + READY_SECONDS
        while not str(client.get("http://replica/info").json().get("engine", "")).startswith("onnx"):
            if time.monotonic() > deadline or replica.poll() is not None:
                raise SystemExit("the replica did not come to its ONNX engine")
            time.sleep(0.1)


@contextmanager
def peer_server(name: str, model: Path, folder: Path) -> Iterator[Server]:
    """One of PEERS, in the environment that is made for them beside ours."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program, *arguments = PEERS[name]
    command = [str(_peers_bin() / program), *(argument.format(port=port) for argument in arguments)]
    environment = {**os.environ, "MODEL": str(model), "PORT": str(port), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_WAIT_POLICY": "passive", "BENTOML_DO_NOT_TRACK": "true", "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    with (folder / f"{name}.log").open("w+b") as log, ExitStack() as stack:
        process = _started(stack, log, command, cwd=HERE / "peers", env=environment)
        url = f"http://127.0.0.1:{port}/predict"
        body = _list_body if name == "bentoml" else _our_body
        _await_answer(url, body, process, folder / f"{name}.log")
        yield Server(name, url, body, (psutil.Process(process.pid),), time.perf_counter() - started)


def _list_body(text: str) -> Any:
    return {"inputs": [text]}


def _await_answer(url: str, body: Callable[[str], Any], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.post(url, json=body("where is my order"), timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit(f"a peer did not start:\n{log.read_text()[-3000:]}")


def _peers_bin() -> Path:
    """Their environment, made once: some 2 GB and some minutes."""
    environment = CACHE / "peers"
    ready = environment / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-r", HERE / "peers" / "requirements.txt"], check=True)
        ready.touch()
    return environment / "bin"


def _started(stack: ExitStack, log: IO[bytes], command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: BentoML's and LitServe's workers outlive a lone SIGTERM."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in children:
        if child.is_running():
            child.kill()
    process.wait()


def _read_until(log: Path, words: tuple[str, ...], processes: tuple[subprocess.Popen[bytes], ...]) -> str:
    while True:
        text = log.read_text()
        if all(word in text for word in words):
            return text
        if any(process.poll() is not None for process in processes):
            raise SystemExit(f"a process ended early:\n{text}")
        time.sleep(0.05)


def _routes(sock: Any) -> dict[str, Any]:
    key = {"id": "k", "scopes": ["infer"], "endpoints": None, "expires": None}
    blue = {"model": "bench:1", "traffic": 100, "replicas": [{"id": "r", "socket": sock}]}
    return {
        "generation": 1,
        "keys": {hashlib.sha256(KEY.encode()).hexdigest(): key},
        "endpoints": {"bench": {"task": "text-classification", "deployments": {"blue": blue}}},
    }
