"""Unix sockets under paths of any length: the kernel keeps 108 bytes for one, and a home folder may be deeper."""

from __future__ import annotations

import os
import socket
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["SUN_PATH_BYTES", "is_listening", "is_own_user", "listen", "no_tls", "short_path"]

SUN_PATH_BYTES = 107  # 108 with the closing zero


def short_path(path: Path | str) -> str:
    """A name for `path` that fits into a socket address; a long one goes by way of its folder, kept open.

    The answer is good in this process alone.
    """
    path = Path(path).absolute()
    if len(os.fsencode(path)) <= SUN_PATH_BYTES:
        return str(path)
    return f"/proc/self/fd/{_open_folder(path.parent)}/{path.name}"


@cache
def _open_folder(folder: Path) -> int:
    """One descriptor for each folder, for the life of the process."""
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@cache
def no_tls() -> SSLContext:
    """What an HTTP client of a Unix socket verifies with: it trusts nobody, and does not load the machine's
    certificates for what speaks no TLS (20 ms for each client).
    """
    from ssl import PROTOCOL_TLS_CLIENT, SSLContext

    return SSLContext(PROTOCOL_TLS_CLIENT)


def is_listening(path: Path) -> bool:
    """Whether a process takes connections there; the file that a dead one left behind does not count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(short_path(path)) == 0 if path.exists() else False


def listen(path: Path, backlog: int = 2048) -> socket.socket:
    """A listening socket only its owner may connect to; what a dead process left at `path` is replaced."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # bind makes the file with this mask: there is no moment at which others may connect
    try:
        sock.bind(short_path(path))
    finally:
        os.umask(before)
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def is_own_user(connection: socket.socket) -> bool:
    """Whether the other end of a Unix socket is a process of our own uid, or of root: the kernel says so."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (os.getuid(), 0)
