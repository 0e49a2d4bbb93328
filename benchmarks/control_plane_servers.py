"""The processes of control_plane.py: a control plane that starts one job and no other, its limit, and the callers.

python benchmarks/control_plane_servers.py (serve HOME | bare FOLDER | load SOCKET METHOD PATH CALLERS SECONDS)
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from calls import Figures
from filled_homes import ONE_CORE, SPEC

from bedplate.home import Home
from bedplate.kinds import KINDS
from bedplate.kinds.base import Command, Kind
from bedplate.machine import SimulatedMachine, simulated
from bedplate.server_process import socket_client
from bedplate_serving.unix_sockets import is_listening, listen, short_path

LIGHT = Kind(
    "light",
    scope="admin",
    prepare=lambda context, request: dict(request),
    demand=lambda context, spec: ONE_CORE,
    command=lambda context, spec, folder, epoch, lease: Command([sys.executable, "-c", "import time; time.sleep(1e6)"]),
)
SUBMISSION = {"kind": "light", **SPEC}


def one_core() -> SimulatedMachine:
    """The first light job fills it and sleeps; the others wait."""
    KINDS["light"] = LIGHT
    return simulated(cores=1)


def main(what: str, *arguments: str) -> None:
    if what == "serve":
        _serve(*arguments)
    elif what == "bare":
        _bare(*arguments)
    else:
        asyncio.run(_load(*arguments))


def _serve(home: str) -> None:
    """The control plane as it is, but for its machine and a kind of job that does nothing."""
    from bedplate import control_plane, workspace

    workspace.LocalMachine = lambda path: one_core()  # type: ignore
    sys.exit(control_plane.main(["--home", home, "--private", "--parent", str(os.getppid())]))


def _bare(folder: str) -> None:
    """The limit: /limit/NAME answers with an object of answers.json; plain functions in threads, as ours are."""
    import uvicorn
    from fastapi import Body, FastAPI

    answers = json.loads((Path(folder) / "answers.json").read_text())
    app = FastAPI()

    def read(name: str) -> Any:
        return answers[name]

    def write(name: str, body: dict[str, Any] = Body()) -> Any:  # noqa: B008
        return answers[name]

    app.add_api_route("/readyz", lambda: None)
    app.add_api_route("/limit/{name}", read, methods=["GET"])
    app.add_api_route("/limit/{name}", write, methods=["POST"])
    config = uvicorn.Config(app, loop="asyncio", http="httptools", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listen(Home(Path(folder)).socket)])


async def _load(socket: str, method: str, path: str, callers: str, seconds: str) -> None:
    """So many callers for so many seconds, after a fifth of that for warming up; at least one call of each counts."""
    import aiohttp

    body = json.dumps(SUBMISSION) if method == "POST" else None
    headers = {"Content-Type": "application/json"}
    latencies: list[float] = []
    calls = itertools.count()
    begin = time.perf_counter() + float(seconds) / 5
    end = begin + float(seconds)

    async def caller(session: aiohttp.ClientSession) -> None:
        is_counted = False
        while (started := time.perf_counter()) < end or not is_counted:
            async with session.request(method, path, data=body, headers=headers) as response:
                answer = await response.read()
            if response.status not in (200, 202):
                raise SystemExit(f"status {response.status}: {answer.decode()}")
            next(calls)
            is_counted = started >= begin
            if is_counted:
                latencies.append(time.perf_counter() - started)

    async with aiohttp.ClientSession("http://bedplate", connector=aiohttp.UnixConnector(short_path(socket))) as session:
        await asyncio.gather(*(caller(session) for _ in range(int(callers))))
    figures = Figures.of(latencies, time.perf_counter() - begin)
    print(json.dumps(asdict(replace(figures, calls=next(calls)))))


def load(server: Server, method: str, path: str, callers: int, seconds: float) -> Figures:
    """Callers in a process of their own, on the socket of a home."""
    command = [sys.executable, __file__, "load", str(server.home.socket), method, path, str(callers), str(seconds)]
    before = server.processor_seconds
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures = Figures(**json.loads(done.stdout))
    return replace(figures, processor_ms=1000 * (server.processor_seconds - before) / figures.calls)


@dataclass(frozen=True)
class Server:
    """A process that serves a home."""

    home: Home
    pid: int

    @property
    def processor_seconds(self) -> float:
        """What it has used so far, of all cores."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def pss_mb(self) -> float:
        """Proportional set size: what the process would take alone, shared pages counted by share."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024

    def idle(self, seconds: float) -> float:
        """The processor seconds by the minute that it uses in so many seconds from now."""
        before = self.processor_seconds
        time.sleep(seconds)
        return (self.processor_seconds - before) * 60 / seconds


@contextmanager
def running(home: Home, variables: Mapping[str, str], *arguments: str) -> Iterator[Server]:
    """Python with these arguments serves this home: ready when this begins, gone when it is over."""
    log = home.logs / "benchmark.log"
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=out, env=os.environ | variables)
    try:
        while not _is_ready(home):
            if process.poll() is not None:
                raise SystemExit(f"the server ended early:\n{log.read_text()}")
            time.sleep(0.005)
        yield Server(home, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _is_ready(home: Home) -> bool:
    if not is_listening(home.socket):
        return False
    with socket_client(home) as client:
        return client.get("/readyz").status_code == 200


@contextmanager
def simulated_server(home: Home, variables: Mapping[str, str]) -> Iterator[Server]:
    """A control plane on one core. The job that sleeps on it ends with it."""
    with running(home, variables, __file__, "serve", str(home.path)) as server:
        try:
            yield server
        finally:
            with socket_client(home) as client:
                client.post("/api/v1/server/stop", params={"everything": True}, timeout=60.0)


@contextmanager
def bare_server(answers: Mapping[str, Any], folder: Path) -> Iterator[Server]:
    home = Home(folder)
    home.prepare()
    (folder / "answers.json").write_text(json.dumps(answers))
    with running(home, {}, __file__, "bare", str(folder)) as server:
        yield server


if __name__ == "__main__":
    main(*sys.argv[1:])
