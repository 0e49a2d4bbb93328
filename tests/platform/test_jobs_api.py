"""Jobs over REST and the Python client, at a real control plane with light jobs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

import bedplate
from bedplate.client import Job, RemoteWorkspace
from bedplate.job_folder import CHUNK_BYTES, JobFolder, LogReader
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict, Forbidden, NotFound, Refused
from harness import free_port, wait_for
from light_server import light_server

SLEEP = "import time; time.sleep(60)"
FAIL = """
import json, sys
json.dump({'code': 'no', 'message': 'No.', 'hint': ''}, open(f'error-{sys.argv[1]}.json', 'w'))
sys.exit(1)
"""
MESSAGE = """
import json
print(json.dumps({'seq': 1, 'epoch': 1, 'type': 'message'}), file=open('events.jsonl', 'a'))
"""
# Prints a line for each file step-N that appears in the job's folder, and ends with `end`.
STEPS = """
import os, time
number = 0
while not os.path.exists('end'):
    if os.path.exists(f'step-{number}'):
        print('step', number)
        number += 1
    else:
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(port=free_port()) as workspace:
        yield workspace


@pytest.fixture
def ws(server: Workspace) -> Iterator[RemoteWorkspace]:
    with bedplate.connect(home=server.home.path) as connected:
        yield connected
        for state in ("queued", "running"):
            for job in connected.jobs.list(state=state, archived=None):
                job.cancel()
    wait_for(lambda: not any(server.jobs.counts().values()), seconds=60)


@pytest.fixture
def gateway(server: Workspace) -> Iterator[RemoteWorkspace]:
    """The same server over TCP, with the loopback token."""
    url = server.address.url
    wait_for(lambda: _answers(f"{url}/livez"))
    with bedplate.connect(url, token=server.home.token()) as connected:
        yield connected


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def script(ws: RemoteWorkspace, code: str, **request: Any) -> Job:
    return ws.submit("script", {"code": code, **request})


def wait_until(job: Job, what: Callable[[Job], object]) -> Job:
    wait_for(lambda: what(job.refresh()), seconds=60)
    return job


def test_priority_and_needs_are_taken_with_any_kind(ws: RemoteWorkspace) -> None:
    job = script(ws, SLEEP, priority=7, needs={"cores": 2, "memory_gb": 1.5, "preemptible": True})
    assert (job.data["priority"], job.data["preemptible"]) == (7, True)
    assert job.data["demand"]["cores"] == 2
    assert job.data["demand"]["memory_bytes"] == 3 << 29
    wait_until(job, lambda job: job.state == "running")
    assert job.data["lease"]["cores"] == 2
    assert job.data["lease"]["since"] <= time.time()


def test_a_dry_run_tells_the_spec_and_the_demand_and_queues_nothing(ws: RemoteWorkspace) -> None:
    before = len(ws.jobs.list(archived=None))
    plan = ws.plan("script", {"code": SLEEP, "demand": {"cores": 3}, "priority": -5})
    assert plan["spec"]["code"] == SLEEP
    assert (plan["kind"], plan["demand"]["cores"], plan["priority"]) == ("script", 3, -5)
    assert len(ws.jobs.list(archived=None)) == before


def test_a_list_comes_in_pages_that_neither_repeat_nor_miss_a_job(ws: RemoteWorkspace) -> None:
    blocker = script(ws, SLEEP, demand={"cores": 4}, priority=100)
    made = [script(ws, SLEEP, demand={"cores": 4}, priority=number % 3).id for number in range(7)]
    path, seen, after = "/api/v1/jobs", [], None
    while True:
        page = ws.connection.get(path, state="queued", limit=3, after=after)
        seen += [item["id"] for item in page["items"]]
        assert len(page["items"]) <= 3
        if (after := page.get("next")) is None:
            break
    assert seen == made[::-1]
    assert [job.id for job in ws.jobs.list(state="queued", limit=5)] == made[::-1][:5]
    in_line = sorted(ws.jobs.list(state="queued"), key=lambda job: job.position or 0)
    assert [job.id for job in in_line] == [made[n] for n in (2, 5, 1, 4, 0, 3, 6)]
    assert {job.position for job in in_line} == set(range(1, 8))
    wait_until(blocker, lambda job: job.state == "running")


def test_a_page_that_is_asked_for_by_no_cursor_is_refused(ws: RemoteWorkspace) -> None:
    for after in ("x", "-1", "9" * 30, "²"):
        with pytest.raises(Refused, match="after"):
            ws.connection.get("/api/v1/jobs", after=after)


@pytest.mark.parametrize(
    ("query", "near"),
    [({"state": "qeued"}, "queued"), ({"kind": "finetun"}, "finetune"), ({"archived": "yes"}, "true")],
)
def test_an_unknown_value_of_a_query_is_refused_with_the_nearest_one(
    ws: RemoteWorkspace, query: dict[str, str], near: str
) -> None:
    with pytest.raises(Refused) as refused:
        ws.connection.get("/api/v1/jobs", **query)
    assert next(iter(query.values())) in refused.value.message
    assert near in refused.value.hint


def test_a_job_that_ended_is_archived_and_shown_again_and_one_that_runs_is_not(ws: RemoteWorkspace) -> None:
    job = script(ws, "").wait()
    assert job.archive().data["archived"]
    assert job.id not in [found.id for found in ws.jobs.list(kind="script")]
    assert job.id in [found.id for found in ws.jobs.list(kind="script", archived=True)]
    assert job.id in [found.id for found in ws.jobs.list(kind="script", archived=None)]
    assert job.archive(archived=False).data["archived"] is None
    assert job.id in [found.id for found in ws.jobs.list()]
    running = script(ws, SLEEP)
    with pytest.raises(Conflict):
        running.archive()
    with pytest.raises(Refused, match="archived"):
        ws.connection.post(f"/api/v1/jobs/{job.id}/archive", {"archived": "no"})


def test_a_failed_job_is_resumed_or_started_over_and_one_that_succeeded_is_not(ws: RemoteWorkspace) -> None:
    job = script(ws, FAIL, bare=True)
    for again in (job.resume, job.retry):
        wait_until(job, lambda job: job.is_final)
        assert job.state == "failed"
        assert again().state in ("queued", "running")
    done = script(ws, "").wait()
    with pytest.raises(Conflict) as refused:
        done.retry()
    assert f"bedplate jobs rerun {done.id}" in refused.value.hint


def test_a_rerun_is_another_job_and_one_key_makes_one(ws: RemoteWorkspace) -> None:
    job = script(ws, "", priority=3).wait()
    again = job.rerun(client_key="twice")
    assert again.id != job.id
    assert (again.data["spec"], again.data["priority"]) == (job.data["spec"], 3)
    assert job.rerun(client_key="twice").id == again.id
    assert again.wait().result == {"value": 0}


def test_asking_a_job_for_a_model_that_it_did_not_register_is_one_sentence(ws: RemoteWorkspace) -> None:
    job = script(ws, "").wait()
    with pytest.raises(Conflict, match="has left no model"):
        _ = job.model
    with pytest.raises(Conflict, match="has left no evaluation"):
        _ = job.report


def test_a_queued_job_tells_its_place_and_what_it_waits_for(ws: RemoteWorkspace) -> None:
    first = script(ws, SLEEP, demand={"cores": 4})
    wait_until(first, lambda job: job.state == "running")
    second = script(ws, "", demand={"cores": 2})
    wait_until(second, lambda job: job.data["waiting_for"] == "cores")
    assert second.position == 1
    assert second.waiting is not None
    assert first.id in second.waiting
    first.cancel()
    assert second.wait(timeout_seconds=60).position is None


# --- the log


def test_a_log_begins_with_its_last_lines_wherever_blocks_are_cut(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert LogReader(folder, tail=5).read() == b""
    long = b"x" * (CHUNK_BYTES - 3)
    for text in (b"a\nb\nc\n", b"a\nb\nc", b"\n\n\n", b"a", long + b"\ny\nz\n", b"a\n" + long + b"\n" + long, b""):
        folder.log.write_bytes(text)
        lines = text.splitlines(keepends=True)
        for tail in range(5):
            assert LogReader(folder, tail=tail).offset == len(text) - sum(map(len, lines[-tail:] if tail else []))


def test_a_large_log_is_followed_from_its_first_byte_to_its_last(ws: RemoteWorkspace) -> None:
    code = "import sys\nfor n in range(60_000): sys.stdout.write(f'{n} é line\\n')\nsys.stdout.write('no end')"
    job = script(ws, code)
    followed = list(job.logs(1_000_000, follow=True))
    assert followed == [*(f"{n} é line" for n in range(60_000)), "no end"]
    assert job.logs(3) == "59998 é line\n59999 é line\nno end"
    assert job.refresh().is_final


@pytest.mark.parametrize("door", ["socket", "gateway"])
def test_a_log_is_followed_line_by_line_while_the_job_runs(
    server: Workspace, ws: RemoteWorkspace, gateway: RemoteWorkspace, door: str
) -> None:
    job = script(ws, STEPS)
    folder = server.job_folder(job.id).path
    wait_for(folder.joinpath("worker.log").exists)
    for number in (0, 1):
        (folder / f"step-{number}").touch()
    wait_for(lambda: job.logs() == "step 0\nstep 1\n")
    through = {"socket": ws, "gateway": gateway}[door]
    lines = through.jobs.get(job.id).logs(1, follow=True)
    assert next(lines) == "step 1"
    for number in (2, 3):  # each is seen before the next one is printed
        (folder / f"step-{number}").touch()
        assert next(lines) == f"step {number}"
    (folder / "end").touch()
    assert list(lines) == []
    assert job.refresh().state == "succeeded"


def test_a_follower_who_goes_away_leaves_the_job_and_the_server_alone(server: Workspace, ws: RemoteWorkspace) -> None:
    job = script(ws, STEPS)
    folder = server.job_folder(job.id).path
    wait_for(folder.joinpath("worker.log").exists)
    (folder / "step-0").touch()
    assert list(islice(job.logs(follow=True), 1)) == ["step 0"]
    (folder / "end").touch()
    assert job.wait(timeout_seconds=60).state == "succeeded"


def test_a_log_that_is_cut_off_goes_on_at_the_byte_it_got_to(server: Workspace, ws: RemoteWorkspace) -> None:
    job = script(ws, "print('first'); print('second')").wait()
    path = f"/api/v1/jobs/{job.id}/log"
    answer = ws.connection.request("GET", path, params={"tail": 1})
    assert (answer.headers["X-Bedplate-Offset"], answer.text) == ("6", "second\n")
    assert ws.connection.request("GET", path, params={"offset": 9}).text == "ond\n"
    with pytest.raises(Refused, match="offset"):
        ws.connection.get(path, offset=-1)


# --- events


def test_events_tell_each_change_of_state_and_reason_and_resume_by_id(server: Workspace, ws: RemoteWorkspace) -> None:
    blocker = script(ws, SLEEP, demand={"cores": 4})
    wait_until(blocker, lambda job: job.state == "running")
    job = script(ws, MESSAGE, demand={"cores": 1})
    events: list[tuple[str | None, str, Any]] = []

    def follow() -> None:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(server.home.socket)), timeout=20) as client:
            text = client.get(f"http://bedplate/api/v1/jobs/{job.id}/events").text
        for block in text.strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            events.append((fields.get("id"), fields["event"], json.loads(fields["data"])))

    thread = threading.Thread(target=follow)
    thread.start()
    wait_until(job, lambda job: job.data["waiting_for"] == "cores")
    time.sleep(0.5)  # two looks of the follower
    blocker.cancel()
    thread.join(20)
    states = [data for id, kind, data in events if kind == "state" and id is None]
    assert (states[0]["state"], states[-1]["state"]) == ("queued", "succeeded")
    assert any(data["waiting_for"] == "cores" and blocker.id in data["waiting"] for data in states)
    assert [(id, kind) for id, kind, _ in events if kind != "state"] == [("1", "message")]
    rest = ws.connection.request("GET", f"/api/v1/jobs/{job.id}/events", headers={"Last-Event-ID": "1"}).text
    assert [line for line in rest.splitlines() if not line.startswith("data")] == ["retry: 1000", "event: state", ""]


# --- who may


@pytest.mark.parametrize("action", ["cancel", "resume", "retry", "rerun", "archive"])
def test_a_key_acts_on_jobs_whose_kind_is_in_its_scope_only(
    ws: RemoteWorkspace, gateway: RemoteWorkspace, server: Workspace, action: str
) -> None:
    job = script(ws, "").wait()
    for scope, refusal in (("train", Forbidden), ("batch", Conflict)):
        _, key = server.keys.create("k", [scope])
        with bedplate.connect(server.address.url, token=key) as theirs:
            if action in ("rerun", "archive") and scope == "batch":
                theirs.connection.post(f"/api/v1/jobs/{job.id}/{action}")
                continue
            with pytest.raises(refusal):
                theirs.connection.post(f"/api/v1/jobs/{job.id}/{action}")
            with pytest.raises(NotFound):
                theirs.connection.post(f"/api/v1/jobs/none/{action}")


def test_a_new_kind_needs_no_line_here_to_be_submitted_in_its_scope(
    ws: RemoteWorkspace, gateway: RemoteWorkspace, server: Workspace
) -> None:
    _, text = server.keys.create("k", ["batch"])
    with bedplate.connect(server.address.url, token=text) as theirs:
        job = script(theirs, "")
        assert job.data["owner"] == "local"
        assert job.wait(timeout_seconds=60).logs() == ""
        with pytest.raises(Forbidden):
            theirs.submit("import", {"model_id": "a/b"})
    _, other = server.keys.create("k", ["train"])
    with bedplate.connect(server.address.url, token=other) as theirs, pytest.raises(Forbidden):
        theirs.jobs.get(job.id).logs()
