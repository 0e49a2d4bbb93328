"""What the gateway is told besides routes and keys: which names are ours, whose pages may call, and limits of keys."""

from __future__ import annotations

import socket
from functools import cache
from typing import Any

from bedplate.gateway_process import Address
from bedplate.settings import Settings
from bedplate_serving.door import LOOPBACK_NAMES

__all__ = ["gateway_settings"]


def gateway_settings(settings: Settings, address: Address) -> dict[str, Any]:
    """As they stand in the routing snapshot. On loopback nobody calls by this machine's own name, nor by an address of
    the network; elsewhere both are ours, and so is every literal address: DNS rebinding needs a name.
    """
    names = LOOPBACK_NAMES if address.is_loopback else _names(offline=settings.offline)
    return {
        "hosts": sorted({*names, *settings.allowed_hosts}),
        "any_address": not address.is_loopback,
        "origins": sorted(settings.allowed_origins),
        "key_rate": settings.key_rate,
        "key_concurrency": settings.key_concurrency,
        "access_log": settings.access_log,
    }


@cache
def _names(*, offline: bool) -> tuple[str, ...]:
    """Of this machine. The full one may be a question to a name server, which an offline server does not ask."""
    names = ["localhost", socket.gethostname(), *([] if offline else [socket.getfqdn()])]
    return tuple(name.lower() for name in names if name)
