"""The control plane: `python -m bedplate.control_plane --home DIR (--private | --host H --port P)`.

REST on two Unix sockets (one for this machine's user, one for the gateway) and the loop that works on jobs and
endpoints. One a home: it takes the lock or leaves. No torch, no transformers.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from bedplate_serving.out_of_sight import out_of_sight, uncollected

# httpx has a command line, which loads rich, pygments and click: 40 ms at least.
with uncollected(), out_of_sight("httpx._main"):
    from bedplate.api.app import create_app
    from bedplate.gateway_process import Address
    from bedplate.home import Home, HomeLock
    from bedplate.processes import die_with_parent
    from bedplate.server_process import HOME_OWNED
    from bedplate.settings import Settings
    from bedplate.studio.door import Studio
    from bedplate.workspace import Workspace
    from bedplate_registry.errors import BedplateError
    from bedplate_serving.listeners import OwnUserProtocol
    from bedplate_serving.logs import configure_logs
    from bedplate_serving.unix_sockets import listen

__all__ = ["main"]

log = logging.getLogger("bedplate")
LOCK_SECONDS = 1.0  # sees through a look at the lock, and a server that was killed a moment ago
LEAVE_SECONDS = 1.0  # how often a private server asks itself whether it is still wanted


class _Server(uvicorn.Server):
    """uvicorn would raise a caught signal again when it is done, which would end us before we have cleaned up."""

    def __init__(self, config: uvicorn.Config, workspace: Workspace) -> None:
        super().__init__(config)
        self._workspace = workspace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._workspace.is_stopping = True  # streams end, or they would hold us up
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def main(argv: list[str] | None = None) -> int:
    arguments = _parse(argv)
    if arguments.parent:
        die_with_parent(arguments.parent)
    configure_logs(process="control-plane")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # it would log each page's socket with the page's id
    try:
        settings = replace(Settings.from_environment(), home=Path(arguments.home).absolute())
        address = None if arguments.private else _address(arguments)
        if address is not None:
            settings = replace(settings, port=address.port)
        home = Home(settings.home)
        home.prepare()
        lock = HomeLock(home)
        lock.take(patience_seconds=LOCK_SECONDS)
        workspace = Workspace(settings, address=address)
    except BedplateError as exc:
        log.error("%s %s", exc.message, exc.hint, extra={"code": exc.code})
        return HOME_OWNED if exc.code == "home-owned" else 1
    asyncio.run(_serve(workspace))
    lock.release()
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bedplate.control_plane")
    parser.add_argument("--home", required=True)
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8686)
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    parser.add_argument("--behind-proxy", action="store_true")
    parser.add_argument("--parent", type=int, default=0)
    return parser.parse_args(argv)


def _address(arguments: argparse.Namespace) -> Address:
    """What `Address.to_arguments` made of it."""
    return Address(arguments.host, arguments.port, arguments.tls_cert, arguments.tls_key, arguments.behind_proxy)


async def _serve(workspace: Workspace) -> None:
    server: _Server

    def stop() -> None:
        server.handle_exit(signal.SIGTERM, None)

    studio = None if workspace.is_private else Studio(workspace)
    config = uvicorn.Config(
        create_app(workspace, stop, studio),
        http=OwnUserProtocol,
        loop="asyncio",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    server = _Server(config, workspace)
    workspace.start()
    sockets = [listen(workspace.home.gateway_socket), listen(workspace.home.socket)]
    leaving = asyncio.create_task(_leave_when_idle(workspace, stop))
    try:
        await server.serve(sockets=sockets)
    finally:
        leaving.cancel()
        await asyncio.to_thread(workspace.stop)
        workspace.database.close()
        for path in (workspace.home.socket, workspace.home.gateway_socket):
            path.unlink(missing_ok=True)


async def _leave_when_idle(workspace: Workspace, stop: Any) -> None:
    while True:
        await asyncio.sleep(LEAVE_SECONDS)
        if await asyncio.to_thread(lambda: workspace.may_leave):
            log.info("private server: unused for %.0f s, leaving", workspace.settings.idle_seconds)
            stop()
            return


if __name__ == "__main__":
    sys.exit(main())
