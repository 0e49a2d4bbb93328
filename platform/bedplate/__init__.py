"""Floor 4: the front door. Workspace, jobs, endpoints, REST, CLI and Python client.

    import bedplate
    ws = bedplate.connect()

Importing does no work and pulls in nothing heavy: what is named below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bedplate.client import RemoteWorkspace, connect
    from bedplate_registry.errors import BedplateError, Conflict, Forbidden, NotFound, Refused, Unavailable

__all__ = ["BedplateError", "Conflict", "Forbidden", "NotFound", "Refused", "RemoteWorkspace", "Unavailable", "connect"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("RemoteWorkspace", "connect"):
        return getattr(import_module("bedplate.client"), name)
    if name in __all__:
        return getattr(import_module("bedplate_registry.errors"), name)
    raise AttributeError(f"module 'bedplate' has no attribute {name!r}")
