"""The client against real servers: what it sends, what it refuses to send, and how it lives through a restart."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import bedplate
from bedplate.caller import files_of, hub_of_caller
from bedplate.wire import model_path, url_path
from bedplate_registry.errors import BedplateError, NotFound, Refused, Unavailable
from bedplate_serving.unix_sockets import is_listening
from harness import bedplate_home, free_port, processes_of, run_cli, serving, wait_for, write_messages


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with bedplate_home() as folder:
        yield folder


class _Stranger(BaseHTTPRequestHandler):
    """Another program's server: a page for people, and a redirect to it."""

    def do_GET(self) -> None:
        moved = self.path.startswith("/api/v1/jobs")
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "/login")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def _silent_hub() -> Iterator[str]:
    """A Hub that takes calls and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_every_part_of_a_path_is_quoted() -> None:
    assert url_path("jobs", "a/b?c#d e", "log") == "/api/v1/jobs/a%2Fb%3Fc%23d%20e/log"
    assert model_path("acme/tiny:3", "card") == "/api/v1/models/acme/tiny%3A3/card"
    assert model_path("tiny@production") == "/api/v1/models/_/tiny%40production"


@pytest.mark.parametrize("part", ["", ".", "..", "a\nb", "\udc80"])
def test_a_part_that_leads_to_another_route_is_refused_before_the_call(part: str) -> None:
    with pytest.raises(Refused):
        url_path("jobs", part)


def test_an_empty_id_does_not_list_everything(home: Path) -> None:
    with bedplate.connect(home=home) as ws:
        for look in (ws.jobs.get, ws.endpoints.get, ws.datasets.get, ws.models.get):
            with pytest.raises(Refused):
                look("")


def test_an_id_with_a_slash_is_looked_up_as_it_is(home: Path) -> None:
    with bedplate.connect(home=home) as ws, pytest.raises(NotFound):
        ws.jobs.get("../models")


def test_a_page_for_people_is_no_bedplate_server(stranger: str) -> None:
    with bedplate.connect(stranger) as ws:
        with pytest.raises(Unavailable, match="is not a Bedplate server"):
            ws.models.list()
        with pytest.raises(Unavailable, match="/login"):
            ws.jobs.list()


@pytest.mark.parametrize("url", ["gpu01:8686", "http://", "ftp://gpu01", "http://gpu01:port", "http://a\x00b"])
def test_a_server_that_is_no_url_is_refused_by_value(url: str) -> None:
    with pytest.raises(Refused) as refused:
        bedplate.connect(url)
    assert repr(url) in refused.value.message


def test_a_token_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(Refused) as refused:
        bedplate.connect("http://127.0.0.1:1", token="secret\n")
    assert "secret" not in refused.value.message + refused.value.hint


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    file = write_messages(tmp_path / "rows.csv", 3)
    with bedplate.connect(f"http://127.0.0.1:{free_port()}") as ws:
        for call in (ws.models.list, lambda: ws.upload(file), lambda: ws.connection.download("/x", tmp_path / "out")):
            with pytest.raises(Unavailable, match="does not answer"):
                call()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_file_that_cannot_be_read_or_written_is_one_sentence(home: Path, tmp_path: Path) -> None:
    with bedplate.connect(home=home) as ws:
        with pytest.raises(Refused, match="cannot be read"):
            ws.connection.upload(tmp_path)
        with pytest.raises(Refused, match="cannot be written"):
            ws.connection.download("/api/v1/server", tmp_path / "missing" / "file")


def test_a_value_that_json_cannot_carry_is_refused(home: Path) -> None:
    with bedplate.connect(home=home) as ws, pytest.raises(Refused, match="JSON"):
        ws.submit("finetune", {"settings": {"learning_rate": float("inf")}})


def test_datasets_with_an_organization_work_over_the_socket_and_over_tcp(tmp_path: Path) -> None:
    file = write_messages(tmp_path / "rows.csv", 3)
    with bedplate_home() as served, serving(served, port := free_port()):
        token = (served / "run" / "token").read_text()
        for ws in (bedplate.connect(home=served), bedplate.connect(f"http://127.0.0.1:{port}", token=token)):
            with ws:
                assert ws.datasets.add("acme/tickets", file).rows == 3
                assert ws.datasets.get("acme/tickets:1").ref == "acme/tickets:1"
                assert len(ws.datasets.preview("acme/tickets", 2)) == 2


def test_a_call_outlives_an_idle_exit_and_a_killed_server(home: Path) -> None:
    with bedplate.connect(home=home) as ws:
        run_cli("stop", home=home)
        assert ws.models.list() == []
        for pid in processes_of(home, "bedplate.control_plane"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_listening(home / "run" / "bedplate.sock"))
        with pytest.raises(BedplateError, match="needs"):
            ws.submit("import", {})  # nothing was sent to the dead one, so even this goes to the next
        assert ws.connection.token


def test_reading_goes_on_where_the_server_is_stopped_meanwhile(home: Path) -> None:
    with bedplate.connect(home=home) as ws:
        stopping = threading.Thread(target=run_cli, args=("stop",), kwargs={"home": home})
        stopping.start()
        deadline = time.monotonic() + 30
        while stopping.is_alive() and time.monotonic() < deadline:
            assert ws.jobs.list() == []
        stopping.join()
        assert ws.jobs.list() == []


@pytest.mark.parametrize("door", ["socket", "tcp"])
def test_following_a_log_outlives_the_control_plane_and_repeats_and_misses_nothing(door: str) -> None:
    with bedplate_home() as served, serving(served, port := free_port()), _silent_hub() as hub:
        token = (served / "run" / "token").read_text()
        where = {"socket": {"home": served}, "tcp": {"url": f"http://127.0.0.1:{port}", "token": token}}[door]
        with bedplate.connect(**where) as ws:
            # Each needs the whole machine, so the last one stays in line, and its log is ours to write.
            request = {"model_id": "acme/tiny", "hub": hub, "needs": {"memory_gb": 100_000}}
            *ahead, job = [ws.submit("import", request) for _ in range(5)]
            log = served / "jobs" / job.id / "worker.log"
            log.parent.mkdir()
            lines = job.logs(follow=True)
            number = 0
            for kill in (False, True):
                for pid in processes_of(served, "bedplate.control_plane") if kill else ():
                    os.kill(pid, signal.SIGKILL)
                for _ in range(2):
                    with log.open("a") as file:
                        file.write(f"line {number} é\n")
                    assert next(lines) == f"line {number} é"
                    number += 1
            for other in (job, *reversed(ahead)):
                other.cancel()
            assert list(lines) == []


def test_hidden_files_stay_here_and_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / ".git").mkdir(parents=True)
    for name in ("config.json", ".env", ".git/config"):
        (folder / name).write_text("{}")
    (folder / "same.json").symlink_to("config.json")
    assert [name for name, _ in files_of(folder)] == ["config.json", "same.json"]
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "notes.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(Refused, match="leads out"):
        files_of(folder)


def test_the_callers_environment_says_which_hub_and_whether_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEDPLATE_HUB_URL", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub_of_caller(None) is None, "the server has one of its own"
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror:80/")
    assert hub_of_caller(None) == "http://mirror:80"
    assert hub_of_caller("http://other") == "http://other"
    monkeypatch.setenv("BEDPLATE_OFFLINE", "1")
    with pytest.raises(Unavailable) as refused:
        hub_of_caller(None)
    assert refused.value.code == "offline"
    assert hub_of_caller("http://127.0.0.1:9") == "http://127.0.0.1:9"
