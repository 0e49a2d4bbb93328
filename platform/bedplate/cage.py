"""Run one worker in a cage: `python -m bedplate.cage PARENT [--network] -- ARGV…`, then exec.

The worker dies with its supervisor, gains no privileges, leaves no core file, and, unless it imports, has no network
but a loopback of its own. Where the kernel allows no network namespace, the worker runs without one and says so in its
log; `bedplate doctor` reports the same. Standard library only: it runs before every worker.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import socket
import struct
import sys
from pathlib import Path

from bedplate.processes import die_with_parent

__all__ = ["isolate_network", "main"]

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_NO_NEW_PRIVS = 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def main() -> None:
    options, argv = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    die_with_parent(int(options[0]))
    if "--network" not in options and (problem := isolate_network()):
        print(f"cage: running with the machine's network ({problem})", file=sys.stderr, flush=True)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted


def isolate_network() -> str | None:
    """Move this process into a network namespace that holds a loopback only; the reason where that cannot be.

    A child tries it first: where AppArmor lets a namespace be made but not be set up, there is no way back.
    """
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if _isolate() is None else 1)
        except OSError:
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        return "the kernel allows no network namespace here"
    return _isolate()


def _isolate() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET) != 0:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            return f"no network namespace: {os.strerror(ctypes.get_errno())}"
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _loopback_up()
    return None


def _loopback_up() -> None:
    """Several training processes on one machine find each other over loopback (man 7 netdevice)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack("16xh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main()
