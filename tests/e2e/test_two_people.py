"""Two people on one server, over HTTP with a key each: what they see, what a crash does, what the record tells."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import bedplate_home, run_cli, wait_for, write_messages
from killable_server import Server

TRAINING = {"max_steps": 40, "logging_steps": 5, "save_steps": 20, "eval_strategy": "no", "learning_rate": 1e-3}


class Person:
    """Somebody who has a key and nothing else."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def __call__(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        answer = self._client.request(method, path, **options)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def submit(self, kind: str, **request: Any) -> str:
        return str(self("POST", "/api/v1/jobs", status=202, json={"kind": kind, **request})["id"])

    def job(self, job: str) -> dict[str, Any]:
        return dict(self("GET", f"/api/v1/jobs/{job}"))

    def download(self, path: str) -> str:
        return self._client.get(path).raise_for_status().text

    def upload(self, path: Path) -> dict[str, str]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self("PUT", f"/api/v1/uploads/{digest}", status=201, content=path.read_bytes())
        return {"upload": digest, "filename": path.name}

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def home(stock: Path) -> Iterator[Path]:
    with bedplate_home(stock) as folder:
        yield folder


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    started = Server(home, BEDPLATE_MAX_JOBS="1")
    yield started
    started.stop()


@pytest.fixture
def people(server: Server) -> Iterator[dict[str, Person]]:
    """Made by the admin, who sits at the machine and uses its token."""
    url = f"http://127.0.0.1:{server.port}"
    found = {"admin": Person(url, (server.home / "run" / "token").read_text())}
    for name, role in (("ana", "user"), ("bo", "user"), ("olga", "operator"), ("vic", "viewer")):
        found["admin"]("POST", "/api/v1/users", status=201, json={"name": name, "role": role})
        body = {"name": f"{name}'s laptop", "scopes": ["admin"], "user": name}
        found[name] = Person(url, found["admin"]("POST", "/api/v1/keys", status=201, json=body)["key"])
    yield found
    for person in found.values():
        person.close()


def test_two_people_share_a_server_through_a_crash_and_the_record_tells_it(
    server: Server, people: dict[str, Person], tmp_path: Path
) -> None:
    ana, bo, olga, admin = (people[name] for name in ("ana", "bo", "olga", "admin"))
    trains = submit_training(ana, tmp_path)
    wait_for(lambda: ana.job(trains)["state"] == "running")
    scores, dropped = (submit_batch(bo, tmp_path, name) for name in ("scored.csv", "dropped.csv"))

    wait_for(lambda: bo.job(scores)["waiting_for"] is not None)
    queued = bo.job(scores)
    assert (queued["state"], queued["position"]) == ("queued", 1)
    assert queued["waiting_for"] in ("jobs", "cores", "memory")
    assert "position 1 of 2" in queued["waiting"]
    check_what_each_sees(people, trains, scores, dropped)

    assert bo("POST", f"/api/v1/jobs/{dropped}/cancel", status=202)["state"] == "cancelled"
    server.kill("control plane")
    wait_for(lambda: ana.job(trains)["is_final"] and bo.job(scores)["is_final"], seconds=300, every_seconds=0.2)
    ends = {job["id"]: (job["state"], job["attempt"]) for job in olga("GET", "/api/v1/jobs")["items"]}
    assert ends == {trains: ("succeeded", 1), scores: ("succeeded", 1), dropped: ("cancelled", 0)}
    assert ana("GET", "/api/v1/models/ana/support")["ref"] == "ana/support:1"
    assert len(bo.download(f"/api/v1/jobs/{scores}/outputs/scored.csv").splitlines()) == 31

    check_the_record(admin, server, [trains, scores, dropped])
    admin("PATCH", "/api/v1/users/bo", json={"disabled": True})
    bo("GET", "/api/v1/models", status=401)
    assert olga("GET", f"/api/v1/jobs/{scores}")["owner"] == "bo"


def submit_training(ana: Person, folder: Path) -> str:
    return ana.submit(
        "finetune",
        model="acme/tiny-encoder",
        task="text-classification",
        train=ana.upload(write_messages(folder / "train.csv", 120)),
        columns={"sentence1": "text", "label": "intent"},
        output="ana/support",
        device="cpu",
        settings=TRAINING,
    )


def submit_batch(bo: Person, folder: Path, output: str) -> str:
    rows = bo.upload(write_messages(folder / "rows.csv", 30))
    columns = {"sentence1": "text"}
    return bo.submit("batch", model="acme/tiny-classifier", input=rows, output=output, columns=columns, device="cpu")


def check_what_each_sees(people: dict[str, Person], trains: str, scores: str, dropped: str) -> None:
    ana, bo, olga, vic = (people[name] for name in ("ana", "bo", "olga", "vic"))
    listed = {name: [job["id"] for job in people[name]("GET", "/api/v1/jobs")["items"]] for name in people}
    assert (listed["ana"], listed["bo"], listed["vic"]) == ([trains], [dropped, scores], [])
    assert listed["olga"] == listed["admin"] == [dropped, scores, trains]
    for path in ("", "/log", "/events", "/metrics", "/outputs/scored.csv"):
        ana("GET", f"/api/v1/jobs/{scores}{path}", status=404)
    ana("POST", f"/api/v1/jobs/{scores}/cancel", status=404)
    vic("POST", "/api/v1/jobs", status=403, json={"kind": "batch"})
    for person in (ana, bo, vic):
        assert {holder["owner"] for holder in person("GET", "/api/v1/compute")["holders"]} == {"ana"}
        person("GET", "/api/v1/models")
        person("GET", "/api/v1/audit", status=403)
        person("GET", "/api/v1/users", status=403)
        person("POST", "/api/v1/server/stop", status=403)
    olga("DELETE", "/api/v1/endpoints/none", status=404)


def check_the_record(admin: Person, server: Server, jobs: list[str]) -> None:
    """It tells the story, and is whole; a line that is changed is found."""
    entries = admin("GET", "/api/v1/audit", params={"limit": 1000})["items"][::-1]
    story = [(entry["who"], entry["action"], entry["detail"].get("status")) for entry in entries]
    upload, submit, cancel = "PUT /api/v1/uploads/{sha256}", "POST /api/v1/jobs", "POST /api/v1/jobs/{job_id}/cancel"
    assert [line[1:] for line in story if line[0] == "ana"] == [
        (upload, 201),
        (submit, 202),
        (cancel, 404),
        ("POST /api/v1/server/stop", 403),
    ]
    assert [line[1:] for line in story if line[0] == "bo"] == [
        (upload, 201),
        (submit, 202),
        (upload, 201),
        (submit, 202),
        ("POST /api/v1/server/stop", 403),
        (cancel, 202),
    ]
    assert [line[1] for line in story if line[0] == "server"] == ["server.started", "server.started"]
    submitted = [entry["detail"] for entry in entries if entry["action"] == submit and entry["detail"]["status"] == 202]
    assert [detail["job"] for detail in submitted] == jobs
    verdict = admin("GET", "/api/v1/audit/verify")
    assert (verdict["intact"], verdict["entries"]) == (True, len(entries))
    seq = next(entry["seq"] for entry in entries if (entry["who"], entry["action"]) == ("bo", cancel))
    with closing(sqlite3.connect(server.home / "bedplate.db")) as database, database:
        database.execute("UPDATE audit SET who = 'ana' WHERE seq = ?", (seq,))
    verdict = admin("GET", "/api/v1/audit/verify")
    assert (verdict["intact"], verdict["seq"]) == (False, seq - 1)
    assert f"Entry {seq} was changed" in verdict["problem"]
    done = run_cli("audit", "verify", home=server.home, check=False)
    assert (done.returncode, f"Entry {seq} was changed" in done.stdout + done.stderr) == (1, True)
