"""/metrics, /livez and /readyz: what supervises a server reads them."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bedplate.machine import simulated
from bedplate.server_process import socket_client
from bedplate.workspace import Workspace
from bedplate_registry.errors import Unavailable
from harness import free_port, wait_for
from light_server import light_server


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(simulated("2xV100-32GB", cores=4, memory_gb=8), port=free_port()) as workspace:
        yield workspace


def scrape(workspace: Workspace) -> str:
    with socket_client(workspace.home) as client:
        return client.get("/metrics").raise_for_status().text


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and labels, the labels in order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_tells_of_jobs_cards_the_store_and_itself(server: Workspace) -> None:
    demand = {"cores": 2, "memory_bytes": 1 << 30, "gpus": 1}
    running = server.submit("script", {"code": "import time; time.sleep(60)", "demand": demand})
    waiting = server.submit("script", {"demand": {"cores": 4}})
    wait_for(lambda: server.jobs.get(running.id).state == "running")
    told = samples(scrape(server))
    server.cancel_job(waiting.id)
    server.cancel_job(running.id)
    assert told["bedplate_jobs", "script", "running"] == 1
    assert told["bedplate_jobs", "script", "queued"] == 1
    assert told[("bedplate_queue_age_seconds",)] > 0
    assert (told[("bedplate_cores",)], told[("bedplate_cores_free",)]) == (4, 2)
    leased = [value for (name, *_), value in told.items() if name == "bedplate_gpu_memory_leased_bytes"]
    assert sorted(leased) == [0, 32 << 30]
    assert told["bedplate_store_versions", "model"] == 0
    assert told[("bedplate_database_up",)] == 1
    wait_for(lambda: not any(server.jobs.counts().values()), seconds=60)


def test_the_gateway_s_own_figures_follow(server: Workspace) -> None:
    server.gateway.ensure(server.address)
    wait_for(lambda: samples(scrape(server))[("bedplate_gateway_up",)] == 1)
    assert "# TYPE bedplate_scoring_seconds histogram" in scrape(server)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (Debian: apt-get install prometheus)"
)
def test_promtool_finds_nothing_to_say(server: Workspace) -> None:
    server.gateway.ensure(server.address)
    wait_for(lambda: samples(scrape(server))[("bedplate_gateway_up",)] == 1)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(server), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_random_paths_and_odd_methods_make_a_handful_of_labels(server: Workspace) -> None:
    with socket_client(server.home) as client:
        for number in range(300):
            client.get(f"/{secrets.token_urlsafe(8)}")
            client.get(f"/api/v1/jobs/{secrets.token_urlsafe(8)}")
            client.request("PURGE" if number % 2 else "LINK", "/api/v1/jobs")
    requests = {key for key in samples(scrape(server)) if key[0] == "bedplate_http_requests_total"}
    assert {key[2] for key in requests} <= {
        "",
        "/api/v1/jobs",
        "/api/v1/jobs/{job_id}",
        "/metrics",
        "/livez",
        "/readyz",
    }
    assert {key[1] for key in requests} <= {"GET", "other"}


def test_ready_is_who_works_and_else_it_says_what_does_not(server: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket_client(server.home) as client:
        assert client.get("/readyz").json() == {"status": "ok", "problems": []}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "is_stopping", True)
            patch.setattr(server.audit, "_missed", [("ana", "x", {})])
            patch.setattr(type(server.jobs), "find", _fails)
            answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["problems"]) == (503, ["database", "audit", "stopping"])
        assert client.get("/livez").status_code == 200


def test_a_loop_that_ends_no_round_is_seen(server: Workspace) -> None:
    def stuck() -> bool:
        wait_for(lambda: over, seconds=60, every_seconds=0.01)
        return False

    over: list[bool] = []
    with pytest.MonkeyPatch.context() as patch, socket_client(server.home) as client:
        patch.setattr("bedplate.api.health.ROUND_SECONDS", 0.7)
        patch.setattr(server.reconciler, "tick", stuck)
        wait_for(lambda: client.get("/readyz").json()["problems"] == ["loop"], seconds=60)
        over.append(True)
    wait_for(lambda: samples(scrape(server))[("bedplate_loop_age_seconds",)] < 5)


def test_figures_that_need_the_database_are_left_out_while_it_is_down(server: Workspace) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.database, "rows", _fails)
        told = samples(scrape(server))
    assert told[("bedplate_database_up",)] == 0
    assert ("bedplate_queue_age_seconds",) not in told
    assert ("bedplate_disk_free_bytes",) in told


def _fails(*_: object, **__: object) -> None:
    raise Unavailable("The metadata database did not answer.")
