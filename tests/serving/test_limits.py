"""Limits of keys: the counting alone, on a clock of the test's own, and a gateway that holds to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from bedplate_serving.limits import KeyLimits
from bedplate_serving.problems import Problem
from bedplate_serving.routes import Key


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def key(rate: float = 0, concurrency: int = 0, id: str = "k") -> Key:
    return Key(id, frozenset({"infer"}), None, None, rate, concurrency)


def passes(limits: KeyLimits, one: Key) -> int:
    """How many requests pass at this moment, one after the other."""
    count = 0
    while count < 1000:
        try:
            with limits.hold(one):
                count += 1
        except Problem:
            break
    return count


def test_a_rate_lets_a_burst_of_two_seconds_through_and_then_so_many_a_second() -> None:
    clock = Clock()
    limits, fast = KeyLimits(clock), key(rate=5)
    assert passes(limits, fast) == 10
    clock.now += 1
    assert passes(limits, fast) == 5
    clock.now += 3600
    assert passes(limits, fast) == 10
    assert passes(limits, key(rate=5, id="another")) == 10


def test_a_rate_below_one_lets_one_through_and_says_when_the_next_may_come() -> None:
    clock = Clock()
    limits, slow = KeyLimits(clock), key(rate=0.1)
    assert passes(limits, slow) == 1
    with pytest.raises(Problem) as caught, limits.hold(slow):
        pass
    assert (caught.value.status, caught.value.code, caught.value.retry_after_seconds) == (429, "rate-limited", 10)
    clock.now += 10
    assert passes(limits, slow) == 1


@pytest.mark.parametrize("rate", [1e-3, 1e-9, 1e-300, 1e-320])
def test_nobody_is_told_to_wait_for_more_than_an_hour(rate: float) -> None:
    limits, slow = KeyLimits(Clock()), key(rate=rate)
    assert passes(limits, slow) == 1
    with pytest.raises(Problem) as caught, limits.hold(slow):
        pass
    assert caught.value.retry_after_seconds == min(3600, round(1 / max(rate, 1e-9)))


def test_open_requests_are_counted_and_what_is_refused_uses_nothing_up() -> None:
    limits, narrow = KeyLimits(Clock()), key(rate=2, concurrency=2)
    with limits.hold(narrow), limits.hold(narrow):
        for _ in range(5):
            with pytest.raises(Problem) as caught, limits.hold(narrow):
                pass
            assert caught.value.code == "too-many-requests-open"
    assert passes(limits, narrow) == 2  # of the burst of four
    with pytest.raises(RuntimeError), limits.hold(key(concurrency=1, id="b")):
        raise RuntimeError
    assert passes(limits, key(concurrency=1, id="b")) == 1000


def test_keys_without_limits_and_callers_without_keys_pass() -> None:
    limits = KeyLimits(Clock())
    assert passes(limits, key()) == 1000
    with limits.hold(None):
        pass


def test_keys_that_are_no_more_are_forgotten_unless_they_have_a_request_open() -> None:
    limits = KeyLimits(Clock())
    with limits.hold(key(rate=1, id="gone")), limits.hold(key(rate=1, id="open")):
        pass
    with limits.hold(key(concurrency=1, id="open")):
        limits.forget_idle(set())
        with pytest.raises(Problem), limits.hold(key(concurrency=1, id="open")):
            pass
    assert passes(limits, key(rate=1, id="gone")) == 2


@pytest.fixture(scope="module")
def house(floor: Any) -> Any:
    floor.control()
    floor.gateway.deployments = {"blue": (100, [SimpleNamespace(socket=floor.folder / "gone.sock")])}
    return floor.gateway


def test_a_key_that_asks_too_often_gets_429_for_scoring_and_for_the_rest_together(house: Any, floor: Any) -> None:
    keys = {floor.digest("slow"): floor.key_entry(id="slow", rate=0.01)}
    house.route(house.deployments, keys=keys)
    headers = {"Authorization": "Bearer slow"}
    assert httpx.get(f"{house.url}/x", headers=headers).status_code == 200
    for ask in (
        lambda: httpx.get(f"{house.url}/x", headers=headers),
        lambda: httpx.post(f"{house.url}/endpoints/support", headers=headers, json={"inputs": "a"}),
    ):
        answer = ask()
        assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited")
        assert 0 < int(answer.headers["retry-after"]) <= 100
    assert httpx.get(f"{house.url}/x", headers={"Authorization": "Bearer unknown"}).status_code == 200
    house.route(house.deployments)


def test_keys_that_name_no_limit_have_the_one_of_all(house: Any, floor: Any) -> None:
    keys = {floor.digest("a"): floor.key_entry(id="a"), floor.digest("b"): floor.key_entry(id="b", rate=0)}
    house.route(house.deployments, keys=keys, key_rate=0.01)
    got = [
        [httpx.get(f"{house.url}/x", headers={"Authorization": f"Bearer {name}"}).status_code for _ in range(3)]
        for name in ("a", "b")
    ]
    assert got == [[200, 429, 429], [200, 200, 200]]
    house.route(house.deployments)


def test_a_key_with_a_request_open_is_refused_the_next_until_it_is_done(house: Any, floor: Any) -> None:
    house.route(house.deployments, keys={floor.digest("one"): floor.key_entry(id="one", concurrency=1)})
    headers = {"Authorization": "Bearer one"}
    with httpx.stream("GET", f"{house.url}/events", headers=headers, timeout=10) as stream:
        lines = stream.iter_lines()  # kept: with it would go the connection
        next(lines)
        answer = httpx.get(f"{house.url}/x", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "too-many-requests-open")
        assert answer.headers["retry-after"] == "1"
    floor.until(lambda: httpx.get(f"{house.url}/x", headers=headers).status_code == 200, 5)
    house.route(house.deployments)
