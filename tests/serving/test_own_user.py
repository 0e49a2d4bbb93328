"""The gateway's own socket, for this machine's user: scoring without a key, and what the gateway has counted."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def house(floor: Any, tiny: Path) -> Any:
    blue, green = floor.pair(tiny)
    floor.control()
    floor.gateway.route({"blue": (100, [blue]), "green": (0, [green])})
    return floor.gateway


def numbers(house: Any) -> dict[str, float]:
    lines = [line for line in house.own_user("/gateway/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_this_machines_user_scores_without_a_key_by_the_same_routes(house: Any) -> None:
    answer = house.own_user("/endpoints/support", "POST", json={"inputs": "hi"})
    assert answer.status_code == 200
    assert answer.headers["x-bedplate-deployment"] == "blue"
    other = house.own_user(
        "/endpoints/support/score", "POST", json={"inputs": ["hi"]}, headers={"X-Bedplate-Deployment": "green"}
    )
    assert other.headers["x-bedplate-deployment"] == "green"
    assert house.own_user("/endpoints/support/info").json()["endpoint"] == "support"
    unknown = house.own_user("/endpoints/nothing", "POST", json={"inputs": "hi"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no-endpoint")


def test_the_socket_is_for_its_owner_alone(house: Any) -> None:
    path = house.folder / "scoring.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == os.getuid()


def test_the_control_plane_is_not_reached_by_it_and_metrics_not_by_the_network(house: Any) -> None:
    for path in ("/", "/api/v1/jobs", "/livez", "/endpoints", "/gateway/other"):
        answer = house.own_user(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "no-route")
    passed_on = httpx.get(f"{house.url}/gateway/metrics")
    assert passed_on.json()["raw_path"] == "/gateway/metrics"  # the stand-in's answer, not the gateway's


def test_what_is_counted_is_what_was_asked(house: Any, floor: Any) -> None:
    before = numbers(house)
    url = f"{house.url}/endpoints/support"
    for _ in range(3):
        assert httpx.post(url, headers=floor.authorization, json={"inputs": "hi"}).status_code == 200
    assert httpx.post(url, json={"inputs": "hi"}).status_code == 401
    assert httpx.post(f"{house.url}/endpoints/other", headers=floor.authorization, json={}).status_code == 404
    assert httpx.get(f"{house.url}/x", headers={"Host": "evil.example"}).status_code == 400
    after = numbers(house)
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    requests = {name: value for name, value in grown.items() if "requests_total" in name}
    assert requests == {
        'bedplate_scoring_requests_total{endpoint="support",status="200"}': 3,
        'bedplate_scoring_requests_total{endpoint="support",status="401"}': 1,
        'bedplate_scoring_requests_total{endpoint="",status="404"}': 1,
    }
    assert {name: value for name, value in grown.items() if "refused_total" in name} == {
        'bedplate_gateway_refused_total{reason="unauthorized"}': 1,
        'bedplate_gateway_refused_total{reason="no-endpoint"}': 1,
        'bedplate_gateway_refused_total{reason="bad-host"}': 1,
    }
    assert grown['bedplate_scoring_seconds_count{endpoint="support"}'] == 4
    assert after['bedplate_scoring_open{endpoint="support"}'] == 0


def test_no_counter_has_the_time_of_its_making_beside_it(house: Any, floor: Any) -> None:
    assert httpx.post(f"{house.url}/endpoints/support", json={}).status_code == 401
    assert not [name for name in numbers(house) if "_created" in name]


def test_each_request_is_a_line_of_the_log_once_the_snapshot_says_so(house: Any, floor: Any) -> None:
    replicas = {"blue": (100, floor.pair(None)[:1])}
    house.route(replicas, access_log=True)
    headers = floor.authorization | {"X-Request-Id": "line-1"}
    httpx.post(f"{house.url}/endpoints/support?secret=1", headers=headers, json={"inputs": "hi"})
    line = floor.until(lambda: next((one for one in house.process.text.splitlines() if "line-1" in one), None), 5)
    assert '"status": 200' in line and '"key": "k1"' in line and '"endpoint": "support"' in line
    assert "secret" not in line and floor.key not in house.process.text
    house.route(replicas)
