"""`bedplate doctor`: what works on this machine, each with a remedy where it does not. It changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from bedplate.database import WAL_IS_SAFE
from bedplate.settings import Settings

__all__ = ["examine"]

ROOM_BYTES = 20 << 30
PROBE_TORCH = (
    "import json, torch;"
    "print(json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda, 'archs': torch.cuda.get_arch_list(),"
    "'cards': [[torch.cuda.get_device_name(i), *torch.cuda.get_device_capability(i)]"
    " for i in range(torch.cuda.device_count())]}))"
)
PROBE_CAGE = "from bedplate.cage import isolate_network; print(isolate_network() or '')"
Finding = dict[str, str]


def examine(settings: Settings, *, home: Path | None, offline: bool) -> list[Finding]:
    """One row a check: {"check", "status": ok | warn | fail, "detail", "remedy"}."""
    place = (home or settings.home).absolute()
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _python(),
        lambda: _home(place),
        lambda: _torch(),
        lambda: _database(),
        lambda: _cage(),
        lambda: _hub(settings, offline),
    ]
    return [finding for check in checks for finding in check()]


def _finding(check: str, status: str, detail: str, remedy: str = "") -> Finding:
    return {"check": check, "status": status, "detail": detail, "remedy": remedy}


def _python() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield _finding("python", "ok", f"{sys.version.split()[0]}, {cores} cores")


def _home(place: Path) -> Iterator[Finding]:
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        yield _finding("home", "fail", f"{place} cannot be written", "Set BEDPLATE_HOME to a folder of yours.")
        return
    free = shutil.disk_usage(existing).free
    detail = f"{place}, {free / 2**30:.0f} GiB free"
    if free < ROOM_BYTES:
        yield _finding("home", "warn", detail, "Models are large: have 20 GiB free, or move BEDPLATE_HOME.")
    else:
        yield _finding("home", "ok", detail)


def _torch() -> Iterator[Finding]:
    """Asked of another process: the control plane never imports torch, and a broken driver must not take us down."""
    done = subprocess.run([sys.executable, "-c", PROBE_TORCH], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        yield _finding("torch", "fail", reason, "Install it: pip install -c constraints.txt torch")
        return
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    yield _finding("torch", "ok", f"{found['version']}, CUDA {found['cuda'] or 'none'}")
    if not found["cards"]:
        yield _finding("gpu", "ok", "none seen: models train and serve on the CPU")
    for name, major, minor in found["cards"]:
        if f"sm_{major}{minor}" in found["archs"]:
            yield _finding("gpu", "ok", f"{name} (sm_{major}{minor})")
        else:
            remedy = "Install the wheel from https://download.pytorch.org/whl/cu126, which knows sm_70 and up."
            yield _finding("gpu", "fail", f"{name} is sm_{major}{minor}; this torch knows {found['archs']}", remedy)


def _database() -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    mode = "WAL" if sqlite3.sqlite_version_info >= WAL_IS_SAFE else "rollback journal (its WAL mode may lose pages)"
    yield _finding("database", "ok", f"SQLite {version}, {mode}")


def _cage() -> Iterator[Finding]:
    done = subprocess.run([sys.executable, "-c", PROBE_CAGE], capture_output=True, text=True, check=False)
    problem = done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1]
    if problem:
        remedy = (
            "Allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1 on Debian, "
            "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu."
        )
        yield _finding("cage", "warn", f"workers keep the machine's network: {problem}", remedy)
    else:
        yield _finding("cage", "ok", "workers run without a network")


def _hub(settings: Settings, offline: bool) -> Iterator[Finding]:
    if offline:
        yield _finding("hub", "ok", "not asked: offline")
        return
    try:
        httpx.get(settings.hub_url, timeout=3.0)
    except httpx.HTTPError as exc:
        remedy = "Set HF_ENDPOINT to a mirror, import folders with --from, or set BEDPLATE_OFFLINE=1."
        yield _finding("hub", "warn", f"{settings.hub_url} does not answer: {exc}", remedy)
    else:
        yield _finding("hub", "ok", f"{settings.hub_url} answers")
