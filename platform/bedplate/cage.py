"""Run one worker in a cage: `python -m bedplate.cage PARENT [OPTION…] -- ARGV…`, then exec.

    --network          keep the machine's network; without it the worker has a loopback of its own and nothing else
    --read-only=PATH   the worker cannot change what is below this folder, whatever the modes of the files say
    --writable=PATH    except for what is below this one
    --hidden=PATH      the worker finds an empty folder there, which nobody can write to
    --visible=PATH     except for this folder below it, and for what its Python needs to start
    --cgroup=PATH      move into this control group first

The worker dies with its supervisor, gains no privileges, has none of root's, and leaves no core file. Each wall stands
by itself: where the kernel does not allow one, the worker runs without it and its log says so, as `bedplate doctor`
does. Standard library only: it runs before every worker.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bedplate import cgroups
from bedplate.processes import die_with_parent

__all__ = ["confine", "main", "walls"]

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
MS_NOSUID, MS_NODEV, MS_NOEXEC = os.ST_NOSUID, os.ST_NODEV, os.ST_NOEXEC  # the same numbers
KEPT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC  # a namespace must not lift them
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 23, 24, 38, 47, 4
CAPABILITY_VERSION_3, CAP_SYS_ADMIN = 0x20080522, 21
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

LIBC = ctypes.CDLL(None, use_errno=True)
WITHOUT = {
    "network": "with the machine's network",
    "files": "with the model files writable and the server's own files in sight",
    "privileges": "with the privileges of root",
    "cgroup": "without a control group",
}
Walls = Mapping[str, Callable[[], None]]


def main() -> None:
    options, argv = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    die_with_parent(int(options[0]))
    files = [_paths(options, f"--{name}=") for name in ("read-only", "writable", "hidden", "visible")]
    for group in _paths(options, "--cgroup="):
        _report(_attempt({"cgroup": partial(cgroups.enter, group)}))
    wished = walls("--network" not in options, *files)
    _report(confine(wished))
    if wished:  # what has no walls, the gateway, may need a privilege to open a low port
        _report(_attempt({"privileges": _drop_capabilities}))
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "HOME" in os.environ and not os.access(os.environ["HOME"], os.W_OK):
        os.environ["HOME"] = str(Path.cwd())  # it may be hidden now, and caches need a place
    os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted


def walls(
    no_network: bool,
    read_only: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    visible: Sequence[Path] = (),
) -> Walls:
    """What is to be built around a worker, by name."""
    wished: dict[str, Callable[[], None]] = {}
    if no_network:
        wished["network"] = _own_network
    if read_only or hidden:
        wished["files"] = partial(_own_view, read_only, writable, hidden, visible)
    return wished


def confine(wished: Walls) -> dict[str, str]:
    """Build around this process those walls that the kernel allows; says of each other one why not.

    A child tries it first: where AppArmor lets a namespace be made but not be set up, there is no way back.
    """
    problems = _rehearse(wished)
    possible = {name: build for name, build in wished.items() if name not in problems}
    return {**problems, **_build(possible)}


def _paths(options: Sequence[str], name: str) -> list[Path]:
    return [Path(option.removeprefix(name)) for option in options if option.startswith(name)]


def _report(problems: Mapping[str, str]) -> None:
    for name, reason in problems.items():
        print(f"cage: running {WITHOUT[name]} ({reason})", file=sys.stderr, flush=True)


def _rehearse(wished: Walls) -> dict[str, str]:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            report = "".join(f"{name}\t{reason}\n" for name, reason in _build(wished).items())
            os.write(write_end, f"{report}end\t\n".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        problems = dict(line.rstrip("\n").split("\t", 1) for line in pipe)
    os.waitpid(child, 0)
    whole = problems.pop("end", None) is not None
    return problems if whole else dict.fromkeys(wished, "the kernel ends a process that tries")


def _build(wished: Walls) -> dict[str, str]:
    if not wished or _has_capability(CAP_SYS_ADMIN):
        return _attempt(wished)
    refused = _attempt({"user": _own_user_namespace})
    return dict.fromkeys(wished, refused["user"]) if refused else _attempt(wished)


def _attempt(steps: Walls) -> dict[str, str]:
    problems = {}
    for name, step in steps.items():
        try:
            step()
        except OSError as exc:
            problems[name] = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror or exc)
    return problems


def _own_user_namespace() -> None:
    """In which an ordinary user may set up the other namespaces. It keeps its own uid and gid, and no other."""
    uid, gid = os.getuid(), os.getgid()
    _unshare(CLONE_NEWUSER)
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except PermissionError:
        # A worker of root that cages a child of its own: without capabilities it may not name itself root in there
        # (since Linux 5.12). Nameless it owns its files still.
        if uid != 0:
            raise


# --- network ---


def _own_network() -> None:
    """Only a loopback, over which several training processes of one worker find each other (man 7 netdevice)."""
    _unshare(CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack("16xh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


# --- files ---


def _own_view(
    read_only: Sequence[Path], writable: Sequence[Path], hidden: Sequence[Path], visible: Sequence[Path]
) -> None:
    """Mounts of our own lie over these folders, and only over what is there: a missing one cannot be protected."""
    _unshare(CLONE_NEWNS)
    _mount(None, Path("/"), MS_REC | MS_PRIVATE)
    for path in read_only:
        if path.exists():
            _bind(path.resolve(), MS_RDONLY)
    for path in writable:
        _bind(path.resolve(), 0)
    _hide({folder: folder.resolve() for folder in hidden}, [*visible, *_folders_of_python()])
    os.chdir(Path.cwd())  # the working folder was opened below the old mounts, and from there `..` leads on below them


def _hide(hidden: Mapping[Path, Path], visible: Iterable[Path]) -> None:
    """An empty folder over each hidden one (path -> where it leads to), and on that what stays visible, as it was."""
    empty = []
    with ExitStack() as opened:
        shown: dict[Path, int] = {}
        for path in filter(os.path.isdir, visible):
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)  # its name will lead to it no more
            opened.callback(os.close, handle)
            shown |= dict.fromkeys(_places(path, hidden), handle)
        for place in sorted({*shown, *hidden.values()}):  # outer ones first
            if place in hidden.values():
                if place.is_dir():
                    _mount(Path("none"), place, MS_NOSUID | MS_NODEV | MS_NOEXEC, "tmpfs")
                    empty.append(place)
            else:
                place.mkdir(parents=True, exist_ok=True)
                _mount(Path(f"/proc/self/fd/{shown[place]}"), place, MS_BIND | MS_REC)
    for place in empty:
        _mount(None, place, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _places(path: Path, hidden: Mapping[Path, Path]) -> Iterator[Path]:
    """Where a folder is found below hidden ones: by its name there, and where links in that name lead to."""
    names = [path.resolve(), *(real / path.relative_to(name) for name, real in hidden.items() if name in path.parents)]
    for name in names:
        if any(real in name.parents for real in hidden.values()):
            yield name


def _folders_of_python() -> list[Path]:
    """What a worker could not start without, should it lie below a hidden folder."""
    return [Path(sys.prefix), Path(sys.base_prefix), *map(Path, sys.path)]


def _bind(path: Path, flag: int) -> None:
    _mount(path, path, MS_BIND | MS_REC)
    for point in _mounts_below(path):
        _mount(None, point, MS_REMOUNT | MS_BIND | flag | (os.statvfs(point).f_flag & KEPT_FLAGS))


def _mounts_below(path: Path) -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        name = re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1], 8)]), line.split()[4])
        point = Path(os.fsdecode(name))
        if point.is_relative_to(path):
            yield point


# --- the kernel ---


def _drop_capabilities() -> None:
    """All of them and for good: a worker of root must not be able to mount again what is read-only."""
    if not _capabilities("CapPrm"):
        return
    for number in range(64):
        if LIBC.prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            _check(LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
    LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _check(LIBC.capset(struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24)))


def _has_capability(number: int) -> bool:
    return bool(_capabilities("CapEff") >> number & 1)


def _capabilities(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(which))


def _unshare(flags: int) -> None:
    _check(LIBC.unshare(flags))


def _mount(source: Path | None, target: Path, flags: int, kind: str | None = None) -> None:
    origin = None if source is None else os.fsencode(source)
    system, data = (None, None) if kind is None else (kind.encode(), b"mode=0755")
    _check(LIBC.mount(origin, os.fsencode(target), system, ctypes.c_ulong(flags), data), target)


def _check(answer: int, path: Path | None = None) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), None if path is None else str(path))


if __name__ == "__main__":
    main()
