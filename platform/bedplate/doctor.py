"""`bedplate doctor`: what works on this machine, each with a remedy where it does not. It changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import sqlalchemy as sa

from bedplate import cgroups
from bedplate.audit import AuditLog
from bedplate.compute import GIB
from bedplate.database import Database, revisions
from bedplate.database_engine import WAL_IS_SAFE, make_engine, opening
from bedplate.home import Home
from bedplate.hub_token import find_hub_token
from bedplate.machine import LocalMachine
from bedplate.migrations import HEAD
from bedplate.settings import Settings
from bedplate.torch_wheel import ask_torch
from bedplate_registry.errors import BedplateError, Unavailable
from bedplate_serving.tls import load_pair

__all__ = ["examine"]

ROOM_BYTES = 20 << 30
# One kernel on every card: a driver that is too old, or a wheel without the card's code, fails here and not in a job.
PROBE_CUDA = """
import torch
torch.cuda.init()
for index in range(torch.cuda.device_count()):
    (torch.ones(8, device=index) + 1).sum().item()
"""
PROBE_SECONDS = 120
PROBE_CAGE = """
import json, pathlib, sys
from bedplate.cage import confine, walls
folder = pathlib.Path(sys.argv[1])
print(json.dumps(confine(walls(True, [folder], hidden=[folder]))))
"""
Finding = dict[str, str]


def examine(settings: Settings, *, home: Path | None, offline: bool) -> list[Finding]:
    """One row a check: {"check", "status": ok | warn | fail, "detail", "remedy"}."""
    place = (home or settings.home).absolute()
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _python(),
        lambda: _home(place),
        lambda: _torch(place),
        lambda: _database(settings),
        lambda: _audit(Home(place), settings),
        lambda: _secrets(Home(place)),
        lambda: _tls(settings),
        lambda: _cage(place),
        lambda: _cgroups(),
        lambda: _hub(settings, offline or settings.offline),
        lambda: _hub_token(settings),
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


def _torch(place: Path) -> Iterator[Finding]:
    """Asked of another process: the control plane never imports torch, and a broken driver must not take us down."""
    try:
        wheel = ask_torch()
    except Unavailable as exc:
        yield _finding("torch", "fail", exc.message, exc.hint or "Install it again.")
        return
    yield _finding("torch", "ok", f"{wheel.version}, CUDA {wheel.cuda or 'none'}")
    yield from _gpus(LocalMachine(place, wheel=wheel))


def _gpus(machine: LocalMachine) -> Iterator[Finding]:
    gpus = machine.inventory().gpus
    if machine.gpu_problem is not None:
        remedy = "Install the NVIDIA driver and nvidia-ml-py; after an update of the driver, restart the machine."
        yield _finding("gpu", "warn", f"cards are there but cannot be asked: {machine.gpu_problem}", remedy)
    elif not gpus:
        yield _finding("gpu", "ok", "none seen: models train and serve on the CPU")
    for gpu in gpus:
        if gpu.problem is not None:
            yield _finding("gpu", "fail", f"{gpu.label}: {gpu.problem}", gpu.remedy)
            continue
        used = f", {gpu.others_bytes / GIB:.1f} GiB of it used by other processes" if gpu.others else ""
        yield _finding("gpu", "ok", f"{gpu.label}, {gpu.memory_bytes / GIB:.0f} GiB{used}")
    if usable := [gpu.uuid for gpu in gpus if gpu.is_usable]:
        yield from _cuda(usable)


def _cuda(uuids: list[str]) -> Iterator[Finding]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(uuids)}
    remedy = "Update the NVIDIA driver, or install a torch for the CUDA version that nvidia-smi shows."
    probe = [sys.executable, "-c", PROBE_CUDA]
    try:
        done = subprocess.run(
            probe, capture_output=True, text=True, check=False, env=environment, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        yield _finding("cuda", "fail", f"torch did not come back from the cards in {PROBE_SECONDS} seconds", remedy)
        return
    if done.returncode == 0:
        yield _finding("cuda", "ok", f"torch computes on {len(uuids)} of these")
    else:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        yield _finding("cuda", "fail", f"torch cannot compute on them: {reason}", remedy)


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        version = sqlite3.sqlite_version
        mode = "WAL" if sqlite3.sqlite_version_info >= WAL_IS_SAFE else "rollback journal (its WAL mode may lose pages)"
        yield _finding("database", "ok", f"SQLite {version}, {mode}")
        return
    try:
        engine = make_engine(settings.home / "bedplate.db", settings.database_url)
        with opening(engine), engine.connect() as connection:
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
            yield _finding("database", "ok", f"{engine.dialect.name} {version} answers")
        engine.dispose()
    except BedplateError as exc:
        yield _finding("database", "fail", exc.message, exc.hint)


def _audit(home: Home, settings: Settings) -> Iterator[Finding]:
    """Only where it can be read without a change: a new or an older database would be written to."""
    if settings.database_url is None and not home.database.exists():
        return
    try:
        engine = make_engine(home.database, settings.database_url)
        with opening(engine), engine.connect() as connection:
            tables = sa.inspect(connection).get_table_names()
            is_current = revisions.name in tables and connection.scalar(sa.select(revisions)) == HEAD
        engine.dispose()
        if not is_current:
            return
        database = Database(home.database, settings.database_url)
        verdict = AuditLog(database).verify()
        database.close()
    except BedplateError:
        return  # the finding about the database says why
    if verdict.problem is None:
        yield _finding("audit", "ok", f"{verdict.entries} entries, each bound to the one before")
        return
    remedy = "Compare with a backup: bedplate restore tells whether its log was whole. Who could write to the database?"
    yield _finding("audit", "fail", verdict.problem, remedy)


def _secrets(home: Home) -> Iterator[Finding]:
    """What only this user may read, by the modes of the files."""
    private = (*home.private_folders[1:], home.database, home.token_file, home.path / "id")
    open_to_others = [path for path in private if path.exists() and path.stat().st_mode & 0o077]
    if open_to_others:
        names = " ".join(str(path) for path in open_to_others)
        yield _finding("secrets", "fail", f"others may read {names}", f"chmod go= {names}")
    elif home.run.exists() and home.path.stat().st_mode & 0o005:
        detail = f"others may look into {home.path}, and read models and data in the registry"
        yield _finding("secrets", "warn", detail, f"chmod go= {home.path}")
    elif home.run.exists():
        yield _finding("secrets", "ok", "the home is for this user alone")


def _tls(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is None and settings.tls_key is None:
        return
    if settings.tls_cert is None or settings.tls_key is None:
        remedy = "Set both BEDPLATE_TLS_CERT and BEDPLATE_TLS_KEY, or neither."
        yield _finding("tls", "fail", "one of certificate and key is missing", remedy)
        return
    try:
        load_pair(settings.tls_cert, settings.tls_key)
    except BedplateError as exc:
        yield _finding("tls", "fail", exc.message, exc.hint)
    else:
        yield _finding("tls", "ok", f"{settings.tls_cert} and its key are usable")


def _cage(place: Path) -> Iterator[Finding]:
    """The two walls around a worker, built around a child of ours."""
    folder = place if place.exists() else Path(tempfile.gettempdir())
    probe = [sys.executable, "-c", PROBE_CAGE, str(folder)]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode == 0:
        problems: dict[str, str] = json.loads(done.stdout)
    else:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        problems = {"network": reason, "files": reason}
    remedy = (
        "Allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1 on Debian, "
        "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu; in a container, a seccomp profile that lets "
        "unshare and mount pass."
    )
    if "network" in problems:
        yield _finding("cage network", "warn", f"workers keep the machine's network: {problems['network']}", remedy)
    else:
        yield _finding("cage network", "ok", "workers run without a network, unless they import")
    if "files" in problems:
        detail = f"workers could write to model files and reach the server's token and socket: {problems['files']}"
        yield _finding("cage files", "warn", detail, remedy)
    else:
        yield _finding("cage files", "ok", "of the home, workers see the registry, read-only, and their own folder")


def _cgroups() -> Iterator[Finding]:
    if problem := cgroups.problem():
        detail = f"workers are ended by their marks alone, and their memory has no limit: {problem}"
        remedy = "Run serve under systemd with Delegate=yes (samples/bedplate.service); it works without."
        yield _finding("cgroups", "warn", detail, remedy)
        return
    limited = "with a limit of memory" if cgroups.limits_memory() else "without a limit of memory"
    yield _finding("cgroups", "ok", f"each worker has a control group of its own, {limited}")


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


def _hub_token(settings: Settings) -> Iterator[Finding]:
    """Where it is from; never what it is."""
    token = find_hub_token(settings)
    if token.problem:
        yield _finding("hub token", "warn", f"not used: {token.problem}", token.remedy)
    else:
        yield _finding("hub token", "ok", token.source)
