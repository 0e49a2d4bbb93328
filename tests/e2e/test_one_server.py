"""One server a home: who comes, who leaves, who takes whose place, and what a dead or frozen one means for the next."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bedplate
from bedplate_serving.unix_sockets import is_listening
from harness import bedplate_home, free_port, processes_of, run_cli, serving, wait_for
from held_imports import start_held_import
from slow_hub import slow_hub


@pytest.fixture
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as folder:
        yield folder


@pytest.fixture
def released() -> threading.Event:
    """Lets the import of `start_held_import` go on."""
    return threading.Event()


@pytest.fixture
def hub(models: Path, released: threading.Event) -> Iterator[str]:
    with slow_hub(models, released) as url:
        yield url


def servers_of(home: Path) -> list[int]:
    """One that is starting a process may be here twice, for a moment."""
    return processes_of(home, "bedplate.control_plane")


def workers_of(home: Path) -> list[int]:
    return processes_of(home, "bedplate.workers.import_model")


def test_serve_goes_on_when_whoever_started_it_reads_no_more(home: Path) -> None:
    code = "from bedplate.cli import main; main()"
    env = {**os.environ, "BEDPLATE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-c", code, "serve", "--port", str(free_port())]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        wait_for(lambda: is_listening(home / "run" / "scoring.sock"))
        run_cli("models", "list", home=home)  # it answers: what it had to say was said, to nobody
        before = servers_of(home)
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: set(servers_of(home)) - set(before))
        run_cli("models", "list", home=home)
        process.terminate()
        assert process.wait(60) == 0


def test_commands_at_once_start_one_private_server(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: run_cli("models", "list", home=home).returncode, range(4)))
    assert done == [0, 0, 0, 0]
    with bedplate.connect(home=home) as ws:
        pid = ws.status()["pid"]
        wait_for(lambda: servers_of(home) == [pid])  # who came second leaves


def test_an_idle_private_server_leaves_and_one_whose_job_runs_stays(
    home: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDPLATE_IDLE_SECONDS", "1")
    with bedplate.connect(home=home) as ws:
        job, _ = start_held_import(ws, home, hub)
        pid = ws.status()["pid"]
        beats = home / "jobs" / job.id / "heartbeat-1"  # one a second
        wait_for(lambda: beats.exists() and int(beats.read_text()) >= 5)
        assert pid in servers_of(home)
        job.cancel()
    wait_for(lambda: not servers_of(home))
    assert not [path.name for path in (home / "run").glob("*.sock")]


def test_serve_takes_the_place_of_a_private_server_and_its_job_and_endpoint_go_on(
    home: Path, hub: str, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("BEDPLATE_PORT", str(port))
    with bedplate.connect(home=home) as ws:
        ws.deploy("acme/tiny-classifier", endpoint="tiny")
        job, worker = start_held_import(ws, home, hub)
        replicas = processes_of(home, "bedplate_serving.replica")
    with serving(home, port), bedplate.connect(home=home) as ws:
        assert ws.status()["private"] is False
        assert worker in workers_of(home)
        assert set(replicas) <= set(processes_of(home, "bedplate_serving.replica"))
        assert ws.endpoints.get("tiny").score("my card is lost")[0]["label"] == "card"
        released.set()
        found = ws.jobs.get(job.id).wait(timeout_seconds=200)
        assert (found.state, found.data["attempt"]) == ("succeeded", 1)


@pytest.mark.parametrize("holder", ["dead", "another"])
def test_a_socket_and_a_lock_that_are_left_over_are_seen_through(home: Path, holder: str) -> None:
    run = home / "run"
    run.mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(run / "bedplate.sock"))
    pid = os.getpid() if holder == "another" else subprocess.Popen([sys.executable, "-c", ""]).wait() or 999_999
    (run / "lock").write_text(str(pid))
    assert "No server runs" in run_cli("stop", home=home).stderr
    with bedplate.connect(home=home) as ws:
        assert ws.status()["pid"] in servers_of(home)
        assert (run / "lock").read_text() == str(ws.status()["pid"])


def test_a_second_serve_is_refused_and_names_the_first(home: Path) -> None:
    with serving(home, free_port()) as first:
        second = run_cli("serve", "--port", str(free_port()), home=home, check=False)
        assert second.returncode == 1
        assert f"Another server (process {first.pid}) owns {str(home)!r}" in second.stderr
        assert run_cli("models", "list", home=home).returncode == 0


def test_after_a_private_server_was_killed_the_next_command_starts_another_which_finds_its_job(
    home: Path, hub: str
) -> None:
    with bedplate.connect(home=home) as ws:
        job, worker = start_held_import(ws, home, hub)
        killed = ws.status()["pid"]
        os.kill(killed, signal.SIGKILL)
        job.refresh()
        assert ws.status()["pid"] != killed
        assert (job.state, job.data["attempt"]) == ("running", 1)
        assert worker in workers_of(home)
        job.cancel()
        wait_for(lambda: job.refresh().is_final)
        assert job.state == "cancelled"
        assert not workers_of(home)


def test_stop_all_ends_what_a_killed_server_left_running(home: Path, hub: str) -> None:
    with bedplate.connect(home=home) as ws:
        start_held_import(ws, home, hub)
        os.kill(ws.status()["pid"], signal.SIGKILL)
    assert "Stopped." in run_cli("stop", "--all", home=home).stderr
    wait_for(lambda: not workers_of(home))
    assert not servers_of(home)


def test_a_frozen_server_is_named_and_a_command_does_not_wait_for_it(home: Path) -> None:
    with bedplate.connect(home=home) as ws:
        frozen = ws.status()["pid"]
    os.kill(frozen, signal.SIGSTOP)
    commands = [("models", "list"), ("stop",), ("serve", "--port", str(free_port()))]
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda command: run_cli(*command, home=home, check=False, seconds=120), commands):
            assert done.returncode == 1
            assert f"(process {frozen}) has said nothing for 8 s" in done.stderr
            assert f"kill -9 {frozen}" in done.stderr
    assert frozen in servers_of(home)
    os.kill(frozen, signal.SIGKILL)
    assert run_cli("models", "list", home=home).returncode == 0
