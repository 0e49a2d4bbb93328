"""Logs: one JSON object a line, whatever is in it; a request's id in the gateway, the job and its worker; no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate.server_process import socket_client
from bedplate.workspace import Workspace
from bedplate_serving.log_lines import event_of, last_event, make_line, parse_line, readable
from canary import HF_TOKEN, check_no_secrets
from harness import bedplate_home, environment, free_port, run_cli, serving, wait_for
from light_server import light_server

HOSTILE = "two\nlines\r\x1b[31mred\u2028\ud800 \x00"


def logged(code: str, **env: str) -> list[dict[str, Any]]:
    """The lines of a process that logs."""
    head = "import logging\nfrom bedplate_serving.logs import bound, configure_logs\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=False, env=environment(Path(), **env)
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_says_when_how_bad_who_and_what() -> None:
    [line] = logged("configure_logs(process='x'); logging.getLogger('bedplate.y').info('job %s', 7, extra={'ms': 3})")
    assert list(line)[:4] == ["time", "level", "logger", "event"]
    assert line["time"].endswith("Z")
    assert [line[name] for name in ("level", "logger", "event", "process", "ms")] == [
        "info",
        "bedplate.y",
        "job 7",
        "x",
        3,
    ]


def test_whatever_is_logged_stays_one_line() -> None:
    [line] = logged(
        f"configure_logs(); logging.getLogger('bedplate').error('%s', {HOSTILE!a}, extra={{'x': object()}})"
    )
    assert line["event"] == HOSTILE


def test_what_is_bound_is_in_each_line_of_the_block_and_of_its_threads_and_in_no_other() -> None:
    lines = logged(
        "import asyncio\nconfigure_logs()\nlog = logging.getLogger('bedplate')\n"
        "async def main():\n"
        "    with bound(request_id='r1'):\n        await asyncio.to_thread(log.info, 'inside')\n"
        "    log.info('outside')\n"
        "asyncio.run(main())"
    )
    assert [(line["event"], line.get("request_id")) for line in lines] == [("inside", "r1"), ("outside", None)]


def test_warnings_and_what_nobody_caught_are_lines_too() -> None:
    lines = logged(
        "import threading, warnings\nconfigure_logs()\nwarnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='t')\nthread.start()\nthread.join()\nint('x')"
    )
    assert [line["level"] for line in lines] == ["warning", "error", "critical"]
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert event_of(json.dumps(lines[2])).startswith("this process ends: ValueError")


def test_other_libraries_are_heard_when_something_is_wrong() -> None:
    code = "configure_logs()\nlog = logging.getLogger('httpx')\nlog.info('GET http://x?token=y')\nlog.warning('odd')"
    assert [line["event"] for line in logged(code)] == ["odd"]


@pytest.mark.parametrize("program", ["bedplate_serving.logs", "bedplate_serving.gateway", "bedplate.control_plane"])
def test_what_writes_logs_alone_loads_no_terminal_library(program: str) -> None:
    """It would cost a process 45 ms at its start. structlog would load it, and httpx for its command line."""
    code = f"import sys, {program}; sys.exit(bool({{'rich', 'pygments'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_logs_load_none_where_it_is_loaded_already() -> None:
    code = (
        "import sys, rich, bedplate_serving.logs; sys.exit('rich.traceback' in sys.modules or not sys.modules['rich'])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lines_of_ours_are_read_beside_those_of_others() -> None:
    line = make_line("bedplate", "it waits", job="j1")
    assert parse_line(line) is not None
    assert event_of(line) == "it waits"
    assert readable(line).endswith("warning it waits")
    for other in ("plain words", '{"time": 3', '{"time": "x"}', '{"a": 1}', "[1]"):
        assert (event_of(other), readable(other)) == (other, other)
    assert last_event([line, "", " "]) == "it waits"
    assert last_event([]) == "nothing"


# --- a server ---


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


def test_a_job_keeps_the_id_of_the_call_that_submitted_it_and_its_worker_gets_it(server: Workspace) -> None:
    code = "import os; print('seen', os.environ['BEDPLATE_REQUEST_ID'])"
    with socket_client(server.home) as client:
        answer = client.post(
            "/api/v1/jobs", json={"kind": "script", "code": code}, headers={"X-Request-ID": "request-1"}
        )
    assert answer.headers["x-request-id"] == "request-1"
    job = answer.json()
    wait_for(lambda: server.jobs.get(job["id"]).is_final)
    assert server.jobs.get(job["id"]).request_id == "request-1"
    assert "seen request-1" in server.job_folder(job["id"]).log_tail()


def test_each_request_is_a_line_by_its_route_and_probes_are_not(
    server: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "bedplate.access"), socket_client(server.home) as client:
        for path in ("/livez", "/readyz", "/metrics", "/api/v1/jobs/no-such", "/no/such/path"):
            client.get(path)
        wait_for(lambda: len(caplog.records) >= 2)
    told = [(record.__dict__["route"], record.__dict__["status"], record.__dict__["user"]) for record in caplog.records]
    assert told == [("/api/v1/jobs/{job_id}", 404, "local"), ("", 404, None)]


def test_a_request_is_found_in_every_log_by_its_id_and_no_log_holds_its_key() -> None:
    """Gateway, control plane and worker of a real server, each line of whose own processes is JSON."""
    with bedplate_home() as home:
        port = free_port()
        with serving(home, port):
            key = json.loads(run_cli("keys", "create", "ci", "--scope", "admin", "--format", "json", home=home).stdout)
            headers = {"Authorization": f"Bearer {key['key']}", "X-Request-ID": "find-me"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
                body = {"kind": "import", "model_id": "acme/tiny", "hub": "http://127.0.0.1:9"}
                job = client.post("/api/v1/jobs", json=body).raise_for_status().json()
                worker_log = home / "jobs" / job["id"] / "worker.log"
                wait_for(lambda: worker_log.exists() and "find-me" in worker_log.read_text())
                assert job["request_id"] == "find-me"
            wait_for(lambda: "find-me" in (home / "logs" / "server.log").read_text())
        for log in ("server.log", "gateway.log"):
            for line in (home / "logs" / log).read_text().splitlines():
                assert parse_line(line) is not None, line
        ours = [parsed for line in worker_log.read_text().splitlines() if (parsed := parse_line(line))]
        assert {line["request_id"] for line in ours} == {"find-me"}
        assert key["key"] not in "".join(path.read_text() for path in home.rglob("*.log"))


def test_the_canary_finds_what_it_is_there_for(tmp_path: Path) -> None:
    for name, text in {"run/token": "loopback-token", "logs/a.log": f"x bp_{'k' * 43} y", "jobs/j/b": HF_TOKEN}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "run" / "routes.json").write_text("loopback-token")
    with pytest.raises(AssertionError) as found:
        check_no_secrets(tmp_path)
    for word in ("logs/a.log holds a key", "jobs/j/b holds HF_TOKEN", "run/routes.json holds the loopback token"):
        assert word in str(found.value)
    assert "run/token" not in str(found.value)
    for name in ("jobs/j/b", "logs/a.log", "run/routes.json"):
        (tmp_path / name).unlink()
