"""Where a Hub may send us: to any public address, and into a private network only where it is of one itself.

A redirect is a stranger's word. Without this a Hub could have the server ask the machines behind it.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import Unavailable
from .hubaddress import HubAddress

if TYPE_CHECKING:
    import httpx

__all__ = ["Guard", "addresses", "is_private", "is_this_machine"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Guard:
    """Looks at each request before it is sent; made for one Hub. A hook of httpx."""

    def __init__(self, hub: HubAddress) -> None:
        self._hub = hub
        self._host = urlsplit(hub.url).hostname or ""

    def check(self, request: httpx.Request) -> None:
        """Raises Unavailable where the request goes to a private address and the Hub is a public one."""
        host = request.url.host
        if host != self._host and not self._may_go_inside and is_private(host):
            raise Unavailable(
                f"{self._hub.url} redirects to {host}, an address of a private network.",
                hint="Nothing was asked there. Check the address of the Hub.",
                code="private-address",
            )

    @cached_property
    def _may_go_inside(self) -> bool:
        return is_private(self._host)


def is_private(host: str) -> bool:
    """Whether a host has an address that is not of the public Internet. One that is not found has none."""
    return any(not address.is_global for address in addresses(host))


def is_this_machine(host: str) -> bool:
    """Whether a host has an address that is one of this machine's."""
    return any(_is_own(address) for address in addresses(host))


def _is_own(address: Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))  # which no other machine's address allows
    except OSError:
        return False
    return True


def addresses(host: str) -> list[Address]:
    """The addresses that a host has, by its name or by itself; none where it is not found."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [_plain(ipaddress.ip_address(str(item[4][0]).partition("%")[0])) for item in found]


def _plain(address: Address) -> Address:
    """IPv4 where it is that in the clothes of IPv6."""
    return getattr(address, "ipv4_mapped", None) or address
