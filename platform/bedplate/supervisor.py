"""One small process that holds one worker: `python -m bedplate.supervisor SPEC.json`, secrets on standard input.

It starts the worker in a cage and a process group of its own, keeps a heartbeat, and on SIGTERM ends the whole group:
SIGTERM, then SIGKILL after the grace time. It outlives the server; the server finds it again by pid, start time and
epoch in `started-EPOCH.json`, and reads how the worker ended in `exit-EPOCH.json`, which is written last. Should it be
killed itself, the kernel kills the worker (cage.py). Standard library only, so that it costs little memory.

    SPEC = {"argv", "env", "log", "folder", "epoch", "grace_seconds", "network", "read_only",
            "writable", "hidden", "visible", "cgroup", "memory_max_bytes"}
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from bedplate import cgroups
from bedplate.processes import ProcessId, is_any_stopped
from bedplate_registry.durable import write_json

__all__ = ["HEARTBEAT_SECONDS", "main", "open_log"]

HEARTBEAT_SECONDS = 1.0
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    secrets = sys.stdin.buffer.read()
    if not secrets:  # the owner died before it handed them over, if only an empty object
        return 0
    folder, epoch = Path(spec["folder"]), spec["epoch"]
    # Grandchildren that lose their parent come to us, so that none is left over at the end.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stopping = _Stop()
    if _is_replaced(folder, epoch):
        return 0
    group = _make_group(spec)
    worker = _start_worker(spec, secrets, group)
    me = ProcessId.of(os.getpid())
    assert me is not None
    write_json(folder / f"started-{epoch}.json", {**me.to_json(), "epoch": epoch, "worker": worker.pid})
    if _is_replaced(folder, epoch):
        _signal_group(worker.pid, signal.SIGKILL)
    _watch(worker, folder / f"heartbeat-{epoch}", stopping, spec["grace_seconds"])
    _kill_leftovers(worker.pid, group)
    write_json(
        folder / f"exit-{epoch}.json",
        {"epoch": epoch, "returncode": worker.returncode, "stopped": stopping.asked, "time": time.time()},
    )
    return 0


def _is_replaced(folder: Path, epoch: int) -> bool:
    """Whether the owner took us for lost and started the next attempt, because we were frozen or very slow."""
    return (folder / f"supervisor-{epoch + 1}.json").exists()


class _Stop:
    """Whether SIGTERM or SIGINT came, and when."""

    def __init__(self) -> None:
        self.since: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.since = self.since or time.monotonic()

    @property
    def asked(self) -> bool:
        return self.since is not None


def _make_group(spec: dict[str, Any]) -> Path | None:
    if spec["cgroup"] is None:
        return None
    try:
        cgroups.create(Path(spec["cgroup"]), spec["memory_max_bytes"])
    except OSError as exc:
        print(f"supervisor: the worker runs without a control group ({exc.strerror})", file=sys.stderr, flush=True)
        return None
    return Path(spec["cgroup"])


def _start_worker(spec: dict[str, Any], secrets: bytes, group: Path | None) -> subprocess.Popen[bytes]:
    cage = [sys.executable, "-m", "bedplate.cage", str(os.getpid())]
    cage += ["--network"] if spec["network"] else []
    for name in ("read_only", "writable", "hidden", "visible"):
        cage += [f"--{name.replace('_', '-')}={path}" for path in spec[name]]
    cage += [f"--cgroup={group}"] if group else []
    argv = [*cage, "--", *spec["argv"]]
    with open_log(Path(spec["log"])) as log:
        worker = subprocess.Popen(
            argv,
            env=spec["env"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=spec["folder"],
        )
    assert worker.stdin is not None
    try:
        worker.stdin.write(secrets)
        worker.stdin.close()
    except BrokenPipeError:
        pass  # it has already ended; its exit code tells
    return worker


def open_log(path: Path) -> BinaryIO:
    """To append to. Raises OSError for anything but a plain file.

    A worker can put a link there, and we may write where it may not; or a pipe, which would keep us waiting.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(None, "not a plain file", str(path))
    return os.fdopen(handle, "ab")


def _watch(worker: subprocess.Popen[bytes], heartbeat: Path, stop: _Stop, grace_seconds: float) -> None:
    told, next_beat, beat = False, 0.0, 0
    while True:
        try:
            worker.wait(timeout=0.1)
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + HEARTBEAT_SECONDS
                if not is_any_stopped(worker.pid):
                    beat += 1
                    _write_beat(heartbeat, beat)
        if stop.since is None:
            continue
        if not told:
            _signal_group(worker.pid, signal.SIGTERM)
            _signal_group(worker.pid, signal.SIGCONT)  # one that is stopped acts on it too
            told = True
        elif time.monotonic() - stop.since > grace_seconds:
            _signal_group(worker.pid, signal.SIGKILL)


def _write_beat(path: Path, beat: int) -> None:
    """In one write of one length, so that a reader never sees half of it. Not synced: a boot ends all attempts."""
    with suppress(OSError):  # a disk that fails shows as silence, and must not end the worker
        # Without waiting: the worker may have put a pipe there.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "wb", buffering=0) as file:
            file.write(f"{beat:010}".encode())


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # already gone, as wished
        os.killpg(group, number)


def _kill_leftovers(group: int, control_group: Path | None) -> None:
    """The groups first, then whatever left its group and became our child."""
    _signal_group(group, signal.SIGKILL)
    if control_group is not None:
        cgroups.kill(control_group)
    _reap_children()
    if control_group is not None:
        cgroups.remove(control_group)


def _reap_children() -> None:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not children:
            return
        for pid in children:
            try:
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
