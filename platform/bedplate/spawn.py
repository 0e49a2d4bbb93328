"""Start a worker under a supervisor, and find it again later. Jobs and replicas go the same way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate.processes import ProcessId
from bedplate_registry.durable import write_json

__all__ = ["HELD_SECONDS", "Held", "reap", "start", "worker_environment"]

# What a worker may inherit. Everything else stays behind: tokens, keys and database URLs above all.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
INHERITED_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "NCCL_")
FIXED = {
    # Beside another busy process, spinning OpenMP threads are 7 to 35 times slower.
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
}
HELD_SECONDS = 10.0  # a supervisor that has not said it started by then has failed to
GRACE_SECONDS = 4.0  # cancel promises five seconds in all


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
) -> None:
    """Start `argv` under a supervisor of its own session. Returns at once; `Held` tells what became of it."""
    spec = {
        "argv": list(argv),
        "env": worker_environment(env),
        "log": str(log),
        "folder": str(folder),
        "epoch": epoch,
        "grace_seconds": GRACE_SECONDS,
        "network": network,
    }
    spec_file = folder / f"supervisor-{epoch}.json"
    write_json(spec_file, spec)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "bedplate.supervisor", str(spec_file)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=worker_environment(),
            start_new_session=True,
            cwd=folder,
        )
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps(dict(secrets or {})).encode())
    supervisor.stdin.close()
    supervisor.returncode = 0  # it outlives us on purpose: no warning when this object goes


@dataclass(frozen=True)
class Held:
    """What the files in `folder` say about the worker of one epoch."""

    folder: Path
    epoch: int

    @property
    def supervisor(self) -> ProcessId | None:
        data = self._read(f"started-{self.epoch}.json")
        return None if data is None else ProcessId.from_json(data)

    @property
    def exit(self) -> dict[str, Any] | None:
        """How the worker ended: {"returncode", "stopped"}; None while it runs or when its supervisor was killed."""
        return self._read(f"exit-{self.epoch}.json")

    @property
    def is_alive(self) -> bool:
        supervisor = self.supervisor
        return supervisor is not None and supervisor.is_alive

    @property
    def is_lost(self) -> bool:
        """Neither running nor properly ended: the supervisor was killed, or never came up."""
        if self.exit is not None or self.is_alive:
            return False
        if self.supervisor is not None:
            return self.exit is None  # read again: it may have written its exit just before it left
        spec = self.folder / f"supervisor-{self.epoch}.json"
        return not spec.exists() or time.time() - spec.stat().st_mtime > HELD_SECONDS

    def stop(self) -> None:
        if (supervisor := self.supervisor) is not None:
            supervisor.signal(signal.SIGTERM)

    def kill(self) -> None:
        if (supervisor := self.supervisor) is not None:
            supervisor.signal(signal.SIGKILL)

    def _read(self, name: str) -> dict[str, Any] | None:
        """What a file says; one that is missing or was torn by a crash says nothing."""
        try:
            data: dict[str, Any] = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return data


def reap() -> None:
    """Collect supervisors of ours that have ended, so that none stays a zombie."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
