"""Hold the gateway: one process that owns the port and outlives the control plane."""

from __future__ import annotations

import json
import socket
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

from bedplate import spawn
from bedplate.home import Home
from bedplate_registry.durable import write_json
from bedplate_registry.errors import Conflict

__all__ = ["Address", "GatewayProcess"]


LEASE_SECONDS = 30.0  # without a beat of its supervisor
PROTOCOL = 2  # of snapshot and sockets; a gateway that an older release has left running is replaced


@dataclass(frozen=True)
class Address:
    """Where the gateway listens, and how: with TLS where it has a certificate, and whom it believes about callers."""

    host: str
    port: int
    tls_cert: str | None = None
    tls_key: str | None = None
    behind_proxy: bool = False

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    def to_arguments(self) -> list[str]:
        """As the control plane and the gateway take it from their command lines."""
        arguments = ["--host", self.host, "--port", str(self.port)]
        if self.tls_cert is not None and self.tls_key is not None:
            arguments += ["--tls-cert", self.tls_cert, "--tls-key", self.tls_key]
        return [*arguments, *(["--behind-proxy"] if self.behind_proxy else [])]

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        nearby = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
        return f"{'https' if self.tls else 'http'}://{nearby}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def takes_token(self) -> bool:
        """Whether the loopback token opens it: only where nobody but this machine's own programs can call."""
        return self.is_loopback and not self.behind_proxy

    def check_free(self) -> None:
        """Raises Conflict where another program listens there."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as exc:
                raise Conflict(
                    f"Port {self.port} on {self.host} cannot be opened: {exc.strerror}.",
                    hint="Stop the other program, or choose a port with --port or BEDPLATE_PORT.",
                    code="port-taken",
                ) from exc


class GatewayProcess:
    """Started when it is wanted and not there; found again after a restart."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.run / "gateway"
        self._state_file = self._folder / "gateway.json"
        self._lock = threading.Lock()
        self._silence = spawn.Silence()

    @property
    def address(self) -> Address | None:
        """Where it listens, while it does."""
        state = self._state()
        return Address(**state["address"]) if state and self._held(state).is_alive else None

    def ensure(self, address: Address) -> None:
        """Have it listen on `address`. Raises Conflict where that is taken by another program. Any thread may ask."""
        with self._lock:
            self._ensure(address)

    def _ensure(self, address: Address) -> None:
        state = self._state()
        if state is not None:
            held = self._held(state)
            is_up = held.exit is None and not held.has_died and not self._is_silent(held)
            if is_up and Address(**state["address"]) == address and state.get("protocol") == PROTOCOL:
                return
            if is_up:
                held.stop()
                return  # the next tick starts it anew
            if not held.kill():
                return  # it does not let go of the port yet
        address.check_free()
        self._start(address, epoch=state["epoch"] + 1 if state else 1)

    def stop(self) -> None:
        if (state := self._state()) is not None:
            self._held(state).stop()

    def _start(self, address: Address, epoch: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._state_file, {"address": asdict(address), "epoch": epoch, "protocol": PROTOCOL})
        argv = [sys.executable, "-m", "bedplate_serving.gateway", *address.to_arguments()]
        argv += ["--routes", str(self._home.routes), "--control", str(self._home.gateway_socket)]
        spawn.start(self._folder, epoch, argv, log=self._home.logs / "gateway.log", network=True)

    def _is_silent(self, held: spawn.Held) -> bool:
        """It did not come up, or it is frozen."""
        beat = held.beat
        silent = self._silence.seconds(held.epoch, beat)
        return silent > (spawn.HELD_SECONDS if beat is None else LEASE_SECONDS)

    def _held(self, state: dict[str, Any]) -> spawn.Held:
        return spawn.Held(self._folder, state["epoch"])

    def _state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return state
