"""File descriptors of a process: as many as the system lets it have, and how many of them may be connections."""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["most_connections", "raise_limit"]

KEPT = 64  # for files, the loop and our own sockets


def raise_limit() -> None:
    """To the hard limit. The soft one, often 1024, is for programs that call select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems name a hard limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> int:
    """How many callers a server may have where each may cost it a second connection, to whoever answers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - KEPT) // 2)
