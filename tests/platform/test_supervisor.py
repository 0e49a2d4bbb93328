"""Supervisor and cage, as real processes: groups that die whole, secrets that stay out of the environment."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate import spawn
from bedplate.processes import ProcessId
from harness import wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for epoch in range(1, 4):
        held = spawn.Held(tmp_path, epoch)
        held.stop()
        wait_for(lambda held=held: not held.is_alive, seconds=10)  # type: ignore[misc]
    spawn.reap()


def run(folder: Path, code: str, epoch: int = 1, **options: object) -> spawn.Held:
    spawn.start(folder, epoch, [sys.executable, "-c", code], log=folder / "log", **options)  # type: ignore[arg-type]
    held = spawn.Held(folder, epoch)
    wait_for(lambda: held.supervisor is not None, seconds=20)
    return held


def ended(held: spawn.Held) -> dict[str, object]:
    wait_for(lambda: held.exit is not None, seconds=20)
    assert held.exit is not None
    return held.exit


def test_the_exit_code_of_a_worker_is_kept_with_its_epoch(folder: Path) -> None:
    answer = ended(run(folder, "raise SystemExit(7)", epoch=3))
    assert (answer["returncode"], answer["epoch"], answer["stopped"]) == (7, 3, False)


def test_stopping_ends_the_whole_group_within_five_seconds_though_it_ignores_sigterm(folder: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(60)"
    )
    held = run(folder, code)
    wait_for(lambda: len((folder / "pids").read_text().split()) == 2 if (folder / "pids").exists() else False)
    asked = time.monotonic()
    held.stop()
    assert ended(held)["stopped"] is True
    assert time.monotonic() - asked < 5.5
    assert all(ProcessId.of(int(pid)) is None for pid in (folder / "pids").read_text().split())


def test_a_child_that_left_the_group_is_ended_too(folder: Path) -> None:
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True);"
        "open('pid', 'w').write(str(child.pid))"
    )
    ended(run(folder, code))
    assert ProcessId.of(int((folder / "pid").read_text())) is None


def test_a_killed_supervisor_takes_its_worker_along(folder: Path) -> None:
    held = run(folder, "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    wait_for(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    worker = ProcessId.of(int((folder / "pid").read_text()))
    assert worker is not None
    held.kill()
    wait_for(lambda: not worker.is_alive, seconds=5)
    wait_for(lambda: spawn.reap() or held.is_lost, seconds=5)


def test_no_token_key_or_database_url_is_in_the_environment_of_a_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "canary-1234"
    for name in ("HF_TOKEN", "BEDPLATE_TOKEN", "BEDPLATE_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secret)
    code = (
        "import json, os, sys;"
        "data = [open(f'/proc/{pid}/environ').read() for pid in (os.getpid(), os.getppid())];"
        "json.dump([' '.join(data), json.load(sys.stdin)], open('seen', 'w'))"
    )
    ended(run(folder, code, secrets={"hf_token": secret}))
    seen, given = json.loads((folder / "seen").read_text())
    assert secret not in seen
    assert given == {"hf_token": secret}
    assert "OMP_WAIT_POLICY=passive" in seen


@pytest.mark.parametrize("network", [False, True])
def test_only_a_worker_that_imports_sees_the_machines_network(folder: Path, network: bool) -> None:
    code = "import socket; open('names', 'w').write(' '.join(name for _, name in socket.if_nameindex()))"
    ended(run(folder, code, network=network))
    if "cage: running with the machine's network" in (folder / "log").read_text():
        pytest.skip("this kernel allows no network namespace: bedplate doctor says so")
    names = (folder / "names").read_text().split()
    machine = [entry.name for entry in Path("/sys/class/net").iterdir() if entry.is_dir()]
    assert sorted(names) == (sorted(machine) if network else ["lo"])


def test_a_caged_worker_can_use_its_own_loopback(folder: Path) -> None:
    code = (
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname()).close(); open('done', 'w').write('yes')"
    )
    assert ended(run(folder, code))["returncode"] == 0
    assert (folder / "done").read_text() == "yes"


def test_a_pid_used_again_is_not_taken_for_the_old_process() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.is_alive
    other = ProcessId(me.pid, me.start_time + 1)
    assert not other.is_alive
    assert not other.signal(signal.SIGTERM)
