"""What callers see when processes are killed: a replica, the control plane. Real processes, real SIGKILL."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def house(floor: Any, tiny: Path) -> Any:
    """One deployment with two replicas."""
    replicas = floor.pair(tiny)
    floor.gateway.route({"blue": (100, replicas)})
    floor.gateway.replicas = replicas
    return floor.gateway


class Callers:
    """Threads that score in a loop and keep what they were answered."""

    def __init__(self, url: str, headers: dict[str, str], count: int = 4) -> None:
        self.url, self.headers = url, headers
        self.answers: list[tuple[int, str]] = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._loop) for _ in range(count)]

    def __enter__(self) -> Callers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def _loop(self) -> None:
        with httpx.Client(headers=self.headers, timeout=30) as client:
            while not self.stopping.is_set():
                response = client.post(self.url, json={"inputs": ["where is my card"] * 8})
                self.answers.append((response.status_code, "" if response.is_success else response.json()["code"]))


def test_scoring_goes_on_undisturbed_while_the_control_plane_dies_and_comes_back(house: Any, floor: Any) -> None:
    control = floor.control()  # in place of the one that other tests have used
    assert httpx.get(f"{house.url}/x").status_code == 200
    with Callers(f"{house.url}/endpoints/support", floor.authorization) as callers:
        time.sleep(0.3)
        stuck: list[httpx.Response] = []
        slow = threading.Thread(target=lambda: stuck.append(httpx.post(f"{house.url}/slow", timeout=20)))
        slow.start()
        time.sleep(0.3)
        control.kill()
        slow.join(20)
        waiting: list[httpx.Response] = []
        patient = threading.Thread(target=lambda: waiting.append(httpx.get(f"{house.url}/x", timeout=20)))
        patient.start()
        time.sleep(0.5)
        floor.control()
        patient.join(20)
        time.sleep(0.3)
    assert (stuck[0].status_code, stuck[0].json()["code"]) == (503, "control-unavailable")
    assert stuck[0].headers["retry-after"]
    assert waiting[0].status_code == 200, "a request that comes while nobody listens waits for the new process"
    assert len(callers.answers) > 10
    assert set(callers.answers) == {(200, "")}


def test_a_killed_replica_costs_only_the_requests_inside_it(house: Any, floor: Any) -> None:
    """Last in this file: one replica of the house is gone afterwards."""
    victim, survivor = house.replicas
    url = f"{house.url}/endpoints/support"
    inside: list[httpx.Response] = []

    def long_request() -> None:
        body = {"inputs": ["please help " * 20] * 4000}
        inside.append(httpx.post(url, json=body, headers=floor.authorization, timeout=60))

    threads = [threading.Thread(target=long_request) for _ in range(2)]  # least outstanding: one goes to each
    for thread in threads:
        thread.start()
    with victim.client() as client:
        floor.until(lambda: client.get("/info").json()["waiting"] > 0, 10, "work inside the victim")
    victim.process.kill()
    for thread in threads:
        thread.join(60)
    assert sorted(response.status_code for response in inside) == [200, 503]
    died = next(response for response in inside if response.status_code == 503)
    assert died.json()["code"] == "replica-died"
    assert died.headers["content-type"] == "application/problem+json"
    assert died.headers["retry-after"]
    with Callers(url, floor.authorization) as callers:
        time.sleep(1.5)
    assert set(callers.answers) == {(200, "")}, "the dead replica refuses connections and is passed over"
    survivor.process.kill()
    alone = httpx.post(url, json={"inputs": "a"}, headers=floor.authorization)
    assert (alone.status_code, alone.json()["code"]) == (503, "no-replica")
