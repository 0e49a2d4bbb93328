"""The sockets of the gateway: TCP, with TLS or without, and a Unix socket that this machine's own user reaches."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from bedplate_serving.header_limit import LimitedHttpProtocol
from bedplate_serving.open_files import most_connections
from bedplate_serving.problems import Problem
from bedplate_serving.unix_sockets import is_own_user

__all__ = ["NetworkProtocol", "OwnUserProtocol", "TwoDoors"]

FULL = Problem(503, "too-many-connections", "This server has all the connections that it can.", retry_after_seconds=1)


class NetworkProtocol(LimitedHttpProtocol):
    """HTTP for whoever comes, but never for so many that no file can be opened any more, nor a replica be reached."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) <= most_connections():
            return
        if self.scheme == "https":
            transport.abort()  # a farewell by TLS waits for theirs, half a minute
        else:
            self.end_with(FULL)


class OwnUserProtocol(LimitedHttpProtocol):
    """HTTP for callers of our own uid (or root) only: SO_PEERCRED, besides the mode of the socket and its folder."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not is_own_user(transport.get_extra_info("socket")):
            transport.close()


class TwoDoors(uvicorn.Server):
    """uvicorn with a second application on a socket of its own, in the same process and loop."""

    def __init__(self, config: uvicorn.Config, local: uvicorn.Config, socket: socket.socket) -> None:
        super().__init__(config)
        self._local, self._socket = local, socket

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._local.load()
        server = await asyncio.get_running_loop().create_server(self._protocol, sock=self._socket)
        self.servers.append(server)

    def _protocol(self) -> asyncio.Protocol:
        return OwnUserProtocol(config=self._local, server_state=self.server_state, app_state=self.lifespan.state)
