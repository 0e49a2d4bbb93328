"""What a request must be before anything of it is looked at: called by a name of ours, and from no page of others.

A page that a browser shows cannot reach this server under a foreign name (DNS rebinding needs one, and the Host header
tells it), nor change anything from a foreign origin. Both hold for HTTP and for websockets. Pure: no state, no clock.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from bedplate_serving.asgi import Scope
from bedplate_serving.problems import Problem

__all__ = ["LOOPBACK_NAMES", "SAFE_METHODS", "Door"]

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of two of these, the gateway and the control plane could each go by another one. (Two of Host are no host of ours.)
ONCE = (b"authorization", b"x-csrf-token", b"content-type")
# A name or an address, and a port. Whatever could end a host in a URL (/ ? # @ \ and spaces) is not in it.
HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Door:
    """`hosts` and `origins` are in lower case; `any_address` lets every literal IP address in as a Host."""

    hosts: frozenset[str] = frozenset(LOOPBACK_NAMES)
    any_address: bool = True
    origins: frozenset[str] = frozenset()

    def check(self, scope: Scope, schemes: Iterable[str]) -> None:
        """Raises a Problem, `bad-host`, `bad-origin` or `bad-request`.

        `schemes` are those that pages of ours may have come by.
        """
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]) or not scope["raw_path"].startswith(b"/"):
            raise _bad_host(hosts)
        if origins and (scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS):
            ours = {f"{scheme}://{hosts[0].decode().lower()}" for scheme in schemes}
            given = {origin.decode("latin-1").lower() for origin in origins}
            if len(origins) > 1 or not given <= ours | self.origins:
                raise _bad_origin(origins)
        for name in ONCE:
            if len(_values(scope, name)) > 1:
                raise _twice(name.decode())

    def _is_ours(self, host: bytes) -> bool:
        name, is_address = _name(host)
        return name in self.hosts or (is_address and self.any_address)


@lru_cache(maxsize=1024)
def _name(host: bytes) -> tuple[str | None, bool]:
    """The name in a Host header, without the port, and whether it is a literal address; None for what is no host."""
    match = HOST.fullmatch(host)
    if match is None:
        return None, False
    name = match[1].decode().lower()
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return (None if name.startswith("[") else name), False
    return name, True


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _bad_host(hosts: list[bytes]) -> Problem:
    shown = ", ".join(repr(host[:100].decode("latin-1")) for host in hosts[:3]) or "missing"
    hint = "Call it by its address, or name it in BEDPLATE_ALLOWED_HOSTS where the server runs."
    return Problem(400, "bad-host", f"The Host of this request is no name of this server: {shown}.", hint)


def _bad_origin(origins: list[bytes]) -> Problem:
    shown = ", ".join(repr(origin[:100].decode("latin-1")) for origin in origins[:3])
    hint = "Pages of other sites are let in by BEDPLATE_ALLOWED_ORIGINS where the server runs; programs send no Origin."
    return Problem(403, "bad-origin", f"This request comes from a page of another site: {shown}.", hint)


def _twice(name: str) -> Problem:
    return Problem(400, "bad-request", f"This request has more than one header {name}.", "Send it once.")
