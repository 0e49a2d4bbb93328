"""The unit in samples/: what systemd does on a stop with KillMode=process, done to a real server by hand."""

from __future__ import annotations

import configparser
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import bedplate
from harness import bedplate_home, free_port, processes_of, serving, start_serve
from held_imports import start_held_import
from slow_hub import slow_hub

UNIT = Path(__file__).resolve().parents[2] / "samples" / "bedplate.service"
STOP_SECONDS = 30  # TimeoutStopSec


@pytest.fixture
def home() -> Iterator[Path]:
    with bedplate_home() as folder:
        yield folder


def stop_as_systemd(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the main process, SIGKILL to it when its time is over, and nothing to any other."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_a_job_outlives_a_restart_of_the_unit_and_ends_in_its_first_attempt(home: Path, models: Path) -> None:
    port, released = free_port(), threading.Event()
    with slow_hub(models, released) as hub:
        unit = start_serve(home, port)
        with bedplate.connect(home=home) as ws:
            job, worker = start_held_import(ws, home, hub)
        stop_as_systemd(unit)
        assert not processes_of(home, "bedplate.control_plane")
        assert worker in processes_of(home, "bedplate.workers.import_model")
        with serving(home, port), bedplate.connect(home=home) as ws:
            found = ws.jobs.get(job.id)
            assert (found.state, found.data["attempt"]) == ("running", 1)
            assert worker in processes_of(home, "bedplate.workers.import_model")
            released.set()
            found.wait(timeout_seconds=200)
            assert (found.state, found.data["attempt"]) == ("succeeded", 1)


def test_the_unit_leaves_jobs_alone_and_does_not_forbid_the_cage() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["KillMode"] == "process"
    assert service["Delegate"] == "yes"
    assert service["TimeoutStopSec"] == str(STOP_SECONDS)
    assert not {"RestrictNamespaces", "PrivateUsers", "SystemCallFilter", "PrivateDevices", "ProtectControlGroups"} & {
        *service
    }
