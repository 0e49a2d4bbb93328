"""What is told of an endpoint's requests: sums of the gateway, and the pace between two looks at them."""

from __future__ import annotations

import pytest

from bedplate.endpoint_statistics import Counted, counted_of, pace
from bedplate_serving.gateway_metrics import GatewayMetrics


def counted(metrics: GatewayMetrics, endpoint: str) -> Counted:
    return counted_of(metrics.text().decode(), endpoint)


def answer(metrics: GatewayMetrics, endpoint: str, status: int | None, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        metrics.begin(endpoint)
        metrics.end(endpoint, status, seconds)


def test_an_endpoint_has_its_own_sums_and_not_those_of_its_neighbor() -> None:
    metrics = GatewayMetrics()
    answer(metrics, "support", 200, 0.004, 8)
    answer(metrics, "support", 422, 0.001)
    answer(metrics, "support", 503, 0.001)
    answer(metrics, "support-two", 200, 30, 5)
    metrics.begin("support")
    found = counted(metrics, "support")
    assert (found.requests, found.refused, found.failed, found.open) == (10, 1, 1, 1)
    assert found.quantile(0.95) is not None
    assert 0.0025 < found.quantile(0.95) <= 0.005


def test_one_that_nobody_asked_anything_has_no_latency() -> None:
    found = counted(GatewayMetrics(), "support")
    assert (found.requests, found.quantile(0.5)) == (0, None)


def test_the_pace_is_of_what_came_between_two_looks() -> None:
    metrics = GatewayMetrics()
    answer(metrics, "support", 200, 20, 100)
    before = counted(metrics, "support")
    answer(metrics, "support", 200, 0.002, 9)
    answer(metrics, "support", 500, 0.002)
    found = pace(counted(metrics, "support"), before, seconds=2.0)
    assert (found.requests_per_second, found.failed_per_second) == (5.0, 0.5)
    assert found.p95 is not None
    assert found.p95 <= 0.0025


def test_a_gateway_that_was_started_anew_counts_from_nothing() -> None:
    old, new = GatewayMetrics(), GatewayMetrics()
    answer(old, "support", 200, 1, 50)
    answer(new, "support", 200, 1, 2)
    assert pace(counted(new, "support"), counted(old, "support"), seconds=1.0).requests_per_second == 2


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_an_answer_slower_than_all_bounds_is_told_by_the_last_of_them(share: float) -> None:
    metrics = GatewayMetrics()
    answer(metrics, "support", 200, 1e6)
    assert counted(metrics, "support").quantile(share) == 300


def test_sums_survive_the_way_through_json() -> None:
    metrics = GatewayMetrics()
    answer(metrics, "support", 200, 0.004, 3)
    found = counted(metrics, "support")
    assert Counted.of_json(found.to_json()) == found
