"""A sample of the campaign (run.py) for every run of the tests, and what the campaign itself is worth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.defects import DEFECTS, find
from faults.observed import ObservedDatabase
from faults.real import run_real
from faults.run import run_virtual
from faults.simulated import Attempt, Script
from faults.world import World

SCHEDULES, REAL = 120, 3


@pytest.fixture(scope="module")
def database() -> Iterator[ObservedDatabase]:
    opened = ObservedDatabase()
    yield opened
    opened.close()


def test_no_random_schedule_breaks_a_rule() -> None:
    figures = run_virtual(0, SCHEDULES, processes=2)
    assert figures["violations"] == {}
    assert all(figures[name] for name in ("jobs", "crashes", "freezes", "clock steps", "errors"))


def test_no_schedule_with_real_processes_breaks_a_rule() -> None:
    figures = run_real(0, REAL, at_once=REAL)
    assert figures["violations"] == {}
    assert figures["SIGSTOP"] + figures["SIGKILL"] > 0


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_that_is_sown_is_found(name: str, database: ObservedDatabase) -> None:
    found = find(DEFECTS[name], database)
    assert found is not None, f"not within {DEFECTS[name].within} schedules"


def test_a_schedule_is_a_function_of_its_seed(database: ObservedDatabase) -> None:
    worlds = [World(7, database) for _ in "12"]
    for world in worlds:
        database.enter(world)
        world.run()
    assert worlds[0].describe() == worlds[1].describe()


def test_a_frozen_attempt_stands_still_and_then_goes_on() -> None:
    attempt = Attempt("x", 1, 0.0, Script(delay=1.0, duration=10.0, end="success", freezes=[(3.0, 103.0)]))
    beats = []
    for now in (0.5, 3.0, 50.0, 103.0, 105.0):
        attempt.advance(now)
        beats.append(attempt.beat)
    assert beats == [None, 2, 2, 2, 4]
    attempt.advance(112.0)
    assert (attempt.returncode, attempt.result) == (0, {"epoch": 1})
