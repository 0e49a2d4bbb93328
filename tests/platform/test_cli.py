"""The program in real processes: data on stdout, messages on stderr, exit codes, errors that say what to do next."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import bedplate_home, environment, free_port, processes_of, run_cli, serving, wait_for


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with bedplate_home() as folder:
        yield folder


def test_help_answers_for_every_command(home: Path) -> None:
    listed = run_cli("--help", home=home).stdout
    for command in ("demo", "serve", "doctor", "import", "models", "datasets", "finetune", "evaluate", "deploy"):
        assert command in listed
        assert "Usage: bedplate" in run_cli(command, "--help", home=home).stdout


def test_a_wrong_use_exits_with_2_and_points_to_the_help(home: Path) -> None:
    done = run_cli("models", "shw", home=home, check=False)
    assert done.returncode == 2
    assert "--help" in done.stderr
    assert done.stdout == ""


def test_a_failure_exits_with_1_and_one_sentence_that_says_what_to_do(home: Path) -> None:
    done = run_cli("models", "show", "acme/none", home=home, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: There is no model 'acme/none'")
    assert "bedplate import" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_is_an_object_where_json_was_asked_for(home: Path) -> None:
    done = run_cli("models", "show", "acme/none", "--format", "json", home=home, check=False)
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"code", "message", "hint"}


def test_a_bad_setting_of_the_environment_is_named(home: Path) -> None:
    done = run_cli("models", "list", home=home, check=False, BEDPLATE_PORT="http")
    assert done.returncode == 1
    assert "BEDPLATE_PORT" in done.stderr


def test_serve_refuses_to_open_a_port_to_other_machines_without_protection(home: Path) -> None:
    done = run_cli("serve", "--host", "0.0.0.0", home=home, check=False)
    assert done.returncode == 1
    assert "--behind-proxy" in done.stderr


def test_a_home_that_is_served_is_not_taken_by_a_second_serve(tmp_path: Path) -> None:
    with bedplate_home() as served:
        port = free_port()
        with serving(served, port):
            done = run_cli("serve", "--port", str(free_port()), home=served, check=False)
            assert done.returncode == 1
            assert str(served) in done.stderr
            assert "stop it" in done.stderr
            assert run_cli("models", "list", home=served).returncode == 0


def test_lists_are_json_where_asked_for(home: Path) -> None:
    assert json.loads(run_cli("models", "list", "--format", "json", home=home).stdout) == []
    assert json.loads(run_cli("jobs", "list", "--format", "json", home=home).stdout) == []


def test_doctor_tells_what_works_here_with_a_remedy_for_what_does_not(home: Path) -> None:
    found = json.loads(run_cli("doctor", "--offline", "--format", "json", home=home).stdout)
    assert {"python", "home", "torch", "database", "cage", "hub"} <= {row["check"] for row in found}
    assert all(row["remedy"] for row in found if row["status"] != "ok")


def test_offline_refuses_an_import_from_a_hub_by_name(home: Path) -> None:
    run_cli("stop", home=home)
    done = run_cli("import", "acme/tiny", home=home, check=False, BEDPLATE_OFFLINE="1")
    run_cli("stop", home=home)
    assert done.returncode == 1
    assert "BEDPLATE_OFFLINE" in done.stderr


@pytest.mark.parametrize("hub", ["ftp://hub", "hub", "http://hub:port"])
def test_a_hub_that_is_no_url_is_refused_by_value(home: Path, hub: str) -> None:
    done = run_cli("import", "acme/tiny", "--hub", hub, home=home, check=False)
    assert done.returncode == 1
    assert hub in done.stderr


def test_importing_from_ones_own_hub_is_refused(home: Path) -> None:
    done = run_cli("import", "acme/tiny", "--hub", "http://localhost:8686/hub", home=home, check=False)
    assert done.returncode == 1
    assert "its own" in done.stderr or "own Hub" in done.stderr


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    long = tmp_path / ("deep" * 12) / ("deeper" * 12)
    try:
        assert json.loads(run_cli("models", "list", "--format", "json", home=long).stdout) == []
    finally:
        run_cli("stop", "--all", home=long)


def test_ctrl_c_cancels_the_job_and_leaves_no_process(home: Path, models: Path) -> None:
    import_ = [sys.executable, "-c", "from bedplate.cli import main; main()", "import", "--from"]
    process = subprocess.Popen(
        [*import_, str(models / "classifier"), "--name", "stopped"], env=environment(home), stderr=subprocess.PIPE
    )
    wait_for(lambda: processes_of(home, "bedplate.workers.import_model"), seconds=30)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"cancelled" in messages
    assert b"Traceback" not in messages
    assert not processes_of(home, "bedplate.workers.import_model")
    assert "cancelled" in run_cli("jobs", "list", home=home).stdout


def test_an_idle_private_server_leaves(home: Path) -> None:
    run_cli("stop", home=home)
    run_cli("models", "list", home=home, BEDPLATE_IDLE_SECONDS="1")
    started = time.monotonic()
    wait_for(lambda: not processes_of(home, "bedplate.control_plane"), seconds=15)
    assert time.monotonic() - started < 15
