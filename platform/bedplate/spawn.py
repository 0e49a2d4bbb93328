"""Start a worker under a supervisor, and find it again later. Jobs and replicas go the same way."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate import cgroups
from bedplate.processes import ProcessId, with_environment
from bedplate.supervisor import open_log
from bedplate_registry.durable import write_json

__all__ = ["ATTEMPT", "HELD_SECONDS", "Held", "Silence", "reap", "start", "worker_environment"]

# FOLDER:EPOCH in the environment of a supervisor and all that it started: by it every process of an attempt is found,
# whatever session or group it moved to.
ATTEMPT = "BEDPLATE_ATTEMPT"

# What a worker may inherit. Everything else stays behind: tokens, keys and database URLs above all.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", ATTEMPT)
INHERITED_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "NCCL_")
FIXED = {
    # Beside another busy process, spinning OpenMP threads are 7 to 35 times slower.
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "PYTHONSAFEPATH": "1",  # a worker's folder is where the next supervisor starts: it must import nothing from there
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    # The older torchvision that timm gets on a CPU (see the Makefile) says so in every log; nothing needs that part.
    "PYTHONWARNINGS": "ignore:Failed to load image Python extension:UserWarning",
}
HELD_SECONDS = 10.0  # a supervisor that has not said it started by then has failed to
GRACE_SECONDS = 4.0  # cancel promises five seconds in all
KILL_SECONDS = 1.0  # what SIGKILL has not ended by then is in the hands of the kernel
LARGEST_BYTES = 1 << 20  # what is longer is none of a supervisor's files
LARGEST_PID = 1 << 22  # of Linux

_started: set[int] = set()  # pids of the supervisors that are children of this process


def worker_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a worker."""
    kept = {k: v for k, v in os.environ.items() if k in INHERITED or k.startswith(INHERITED_PREFIXES)}
    return {**kept, **FIXED, **(extra or {})}


def start(
    folder: Path,
    epoch: int,
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    network: bool = False,
    secrets: Mapping[str, str] | None = None,
    read_only: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    visible: Sequence[Path] = (),
    memory_max_bytes: int | None = None,
) -> None:
    """Start `argv` under a supervisor of its own session. Returns at once; `Held` tells what became of it.

    The worker cannot change what is below the folders `read_only`, save what is below the folders `writable` in them.
    In place of the folders `hidden` it finds empty ones, with `visible` and its own folder in them as they are outside.
    Where the kernel does not grant that, a network namespace or a limit of memory, it runs without: `doctor` says so.
    """
    mark = {ATTEMPT: _mark(folder, epoch)}
    group = cgroups.path_for(folder, epoch)
    spec = {
        "argv": list(argv),
        "env": worker_environment({**(env or {}), **mark}),
        "log": str(log),
        "folder": str(folder),
        "epoch": epoch,
        "grace_seconds": GRACE_SECONDS,
        "network": network,
        "read_only": [str(path) for path in read_only],
        "writable": [str(path) for path in writable],
        "hidden": [str(path) for path in hidden],
        "visible": [str(path) for path in (folder, *visible)],
        "cgroup": None if group is None else str(group),
        "memory_max_bytes": memory_max_bytes,
    }
    spec_file = folder / f"supervisor-{epoch}.json"
    write_json(spec_file, spec)
    with open_log(log) as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "bedplate.supervisor", str(spec_file)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=worker_environment(mark),
            start_new_session=True,
            cwd=folder,
        )
    _started.add(supervisor.pid)
    supervisor.returncode = 0  # it outlives us on purpose: no warning when this object goes
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps(dict(secrets or {})).encode())
    supervisor.stdin.close()


def _mark(folder: Path, epoch: int) -> str:
    """Resolved, so that a server that knows its home by another path finds the same processes."""
    return f"{folder.resolve()}:{epoch}"


@dataclass(frozen=True)
class Held:
    """What the files in `folder` say about the worker of one epoch.

    The worker can write there too, and must gain nothing by it: a file that is not as a supervisor writes it says
    nothing, none is waited for, and no process or control group is touched because a file names it.
    """

    folder: Path
    epoch: int

    @property
    def supervisor(self) -> ProcessId | None:
        """The one that the folder names: what may be signaled is asked of the kernel."""
        try:
            named = ProcessId.from_json(self._read(f"started-{self.epoch}.json") or {})
        except (LookupError, TypeError, ValueError, OverflowError):
            return None
        return named if 0 < named.pid <= LARGEST_PID else None

    @property
    def exit(self) -> dict[str, Any] | None:
        """How the worker ended: {"returncode", "stopped"}; None while it runs or when its supervisor was killed."""
        data = self._read(f"exit-{self.epoch}.json")
        return data if data is not None and isinstance(data.get("returncode"), int) else None

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor that the folder names is alive. Its own worker asks too, which cannot look into it."""
        supervisor = self.supervisor
        return supervisor is not None and supervisor.is_alive

    @property
    def has_died(self) -> bool:
        """It came up and is gone without having said how its worker ended: the supervisor was killed."""
        supervisor = self.supervisor
        if supervisor is None or self._is_ours(supervisor):
            return False
        return self.exit is None  # read after it was seen dead: it may have written it just before it left

    @property
    def beat(self) -> int | None:
        """A counter that grows each second while neither the supervisor nor its worker is stopped; None before that."""
        try:
            return int(_contents(self.folder / f"heartbeat-{self.epoch}"))
        except (OSError, ValueError):
            return None if self.supervisor is None else 0

    @property
    def was_ordered(self) -> bool:
        """Whether a supervisor was started at all; its owner may have died on the way there."""
        return os.path.lexists(self.folder / f"supervisor-{self.epoch}.json")

    def stop(self) -> None:
        """Ask the supervisor to end its worker; that takes up to five seconds, and `exit` tells when it is done."""
        supervisor = self.supervisor
        if supervisor is not None and self._is_ours(supervisor):
            supervisor.signal(signal.SIGTERM)

    def kill(self) -> bool:
        """SIGKILL whatever runs for this attempt, and wait up to a second; True when none is left.

        It ends stopped processes too, those that left the group or the session, and those whose supervisor is dead.
        """
        deadline = time.monotonic() + KILL_SECONDS
        killed: set[ProcessId] = set()
        supervisor = self.supervisor
        if supervisor is not None and self._is_ours(supervisor):
            supervisor.signal(signal.SIGKILL)  # first, so that it reports no end
            killed.add(supervisor)
        group = cgroups.path_for(self.folder, self.epoch)
        while True:
            if group is not None:
                cgroups.kill(group)
            found = self._kill_marked()
            killed |= found
            gone = not found and not any(process.is_alive for process in killed)
            if gone and (group is None or cgroups.remove(group)):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)

    def _is_ours(self, process: ProcessId) -> bool:
        """Whether it is alive and was started for this attempt; one that we may not look into was not."""
        if process.pid == os.getpid() or not process.is_alive:
            return False
        mark = os.fsencode(f"{ATTEMPT}={_mark(self.folder, self.epoch)}")
        try:
            return mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False

    def _kill_marked(self) -> set[ProcessId]:
        found = set()
        for process in with_environment(f"{ATTEMPT}={_mark(self.folder, self.epoch)}"):
            process.signal(signal.SIGKILL)
            found.add(process)
        return found

    def _read(self, name: str) -> dict[str, Any] | None:
        """What a file says; one that is missing, torn by a crash or no plain file of JSON says nothing."""
        try:
            data = json.loads(_contents(self.folder / name))
        except (OSError, ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None


def _contents(path: Path) -> bytes:
    """Of a plain file, at once: a pipe would keep us waiting. Raises OSError for anything else, and for a link."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(None, "not a plain file", str(path))
        return os.read(handle, LARGEST_BYTES)
    finally:
        os.close(handle)


class Silence:
    """How long something has shown no new sign of life, counted only while we look.

    Neither a stepped wall clock nor our own sleep counts: between two looks no more than `longest_gap_seconds` pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, longest_gap_seconds: float = 5.0) -> None:
        self._clock, self._longest_gap = clock, longest_gap_seconds
        self._last: dict[Hashable, tuple[object, float, float]] = {}  # sign, time of the look, seconds of silence

    def seconds(self, key: Hashable, sign: object) -> float:
        """0.0 at the first look at `key` and whenever its `sign` is another one."""
        now = self._clock()
        last_sign, last_look, silent = self._last.get(key, (sign, now, 0.0))
        silent = silent + min(now - last_look, self._longest_gap) if last_sign == sign else 0.0
        self._last[key] = (sign, now, silent)
        return silent

    def forget(self, key: Hashable) -> None:
        self._last.pop(key, None)

    def keep(self, keys: Container[Hashable]) -> None:
        """Forget all others."""
        self._last = {key: seen for key, seen in self._last.items() if key in keys}


def reap() -> None:
    """Collect supervisors of ours that have ended, so that none stays a zombie; other children are others' to wait for.

    Those that an earlier server started are children of init.
    """
    for pid in list(_started):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # collected already
            ended = pid
        if ended:
            _started.discard(pid)
