"""A real control plane in this process, on its real sockets, with any machine and a light kind of job: `script`.

    {"kind": "script", "code": "print('hello')", "demand": {"cores": 1}}

Its worker is `python -c CODE EPOCH` in the job's folder. Its result is {"value": 0}; one that is `bare` leaves its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from bedplate import spawn
from bedplate.api.app import create_app
from bedplate.compute import Demand
from bedplate.gateway_process import Address
from bedplate.kinds import KINDS, Kind
from bedplate.kinds.base import Command, check_keys
from bedplate.machine import SimulatedMachine, simulated
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_serving.unix_sockets import listen
from canary import check_no_secrets
from harness import wait_for

__all__ = ["light_server"]

WELL = "\nimport json, sys; json.dump({'value': 0}, open(f'result-{sys.argv[1]}.json', 'w'))"


def _prepare(context: object, request: dict[str, object]) -> dict[str, object]:
    check_keys("script", request, required=set(), optional={"code", "demand", "bare"})
    return {"code": "", **request}


SCRIPT = Kind(
    "script",
    scope="batch",
    prepare=_prepare,
    demand=lambda context, spec: Demand(**spec.get("demand", {})),
    command=lambda context, spec, folder, epoch, lease: Command(
        [sys.executable, "-u", "-c", spec["code"] + ("" if spec.get("bare") else WELL), str(epoch)]
    ),
)


@contextmanager
def light_server(
    machine: SimulatedMachine | None = None, *, port: int | None = None, home: Path | None = None, **env: str
) -> Iterator[Workspace]:
    """`port` opens it for TCP, through a real gateway process. `home` is one that is there; it goes in the end.

    `env` is what its settings are read from besides.
    """
    home = home or Path(tempfile.mkdtemp(prefix="bp"))
    settings = Settings.from_environment({"BEDPLATE_HOME": str(home), **env})
    address = None if port is None else Address("127.0.0.1", port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "script", SCRIPT)
        workspace = Workspace(settings, address=address, machine=machine or simulated(cores=4, memory_gb=8))
        try:
            with _listening(workspace):
                yield workspace
        finally:
            for job in workspace.jobs.running():
                workspace.attempts.kill(job)
            workspace.gateway.stop()
            wait_for(lambda: workspace.gateway.address is None, seconds=60)
            spawn.reap()
            workspace.database.close()
            try:
                check_no_secrets(home)
            finally:
                shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _listening(workspace: Workspace) -> Iterator[None]:
    app = create_app(workspace, stop=lambda: None)
    config = uvicorn.Config(app, loop="asyncio", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    sockets = [listen(workspace.home.gateway_socket), listen(workspace.home.socket)]
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    workspace.start()
    thread.start()
    try:
        wait_for(lambda: server.started, seconds=60)
        yield
    finally:
        server.should_exit = True
        thread.join(10)
        workspace.stop()
