"""Floor 4: the front door. Workspace, jobs, endpoints, REST, CLI and Python client.

    import bedplate
    ws = bedplate.connect()
    async with bedplate.aconnect() as ws: …

Importing does no work and pulls in nothing heavy: what is named below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bedplate.aio import connect as aconnect
    from bedplate.client import RemoteWorkspace, connect
    from bedplate_registry.errors import (
        BedplateError,
        Changed,
        Conflict,
        Forbidden,
        NoRoom,
        NotFound,
        Refused,
        TooLarge,
        Unavailable,
        UnsupportedMedia,
    )

__all__ = [
    "BedplateError",
    "Changed",
    "Conflict",
    "Forbidden",
    "NoRoom",
    "NotFound",
    "Refused",
    "RemoteWorkspace",
    "TooLarge",
    "Unavailable",
    "UnsupportedMedia",
    "aconnect",
    "connect",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "aconnect":
        return import_module("bedplate.aio").connect
    if name in ("RemoteWorkspace", "connect"):
        return getattr(import_module("bedplate.client"), name)
    if name in __all__:
        return getattr(import_module("bedplate_registry.errors"), name)
    raise AttributeError(f"module 'bedplate' has no attribute {name!r}")
