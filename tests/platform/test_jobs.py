"""Job rows: legal moves, one conditional update, one job for one client key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate.database import Database
from bedplate.jobs import FINAL, LEGAL_MOVES, JobStore
from bedplate_registry.errors import Conflict, NotFound


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    database = Database(tmp_path / "bedplate.db")
    yield JobStore(database)
    database.close()


def test_a_submitted_job_is_queued_with_its_spec(store: JobStore) -> None:
    job = store.submit("import", {"model_id": "a/b"})
    assert (job.state, job.epoch, job.spec) == ("queued", 0, {"model_id": "a/b"})
    assert store.queue() == [job]


def test_one_client_key_makes_one_job_even_from_many_threads(store: JobStore) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(store.submit("x", {}, client_key="k").id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_a_job_is_claimed_once_though_many_try(store: JobStore) -> None:
    job = store.submit("x", {})
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda: won.append(store.move(job, "running", epoch=job.epoch + 1))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_stale_epoch_moves_nothing(store: JobStore) -> None:
    job = store.submit("x", {})
    store.move(job, "running", epoch=1)
    first = store.get(job.id)
    store.move(first, "queued")
    store.move(store.get(job.id), "running", epoch=2)
    assert not store.move(first, "succeeded")
    assert store.get(job.id).state == "running"


@pytest.mark.parametrize("state", sorted(LEGAL_MOVES))
def test_a_move_that_is_not_in_the_table_is_refused(store: JobStore, state: str) -> None:
    job = store.submit("x", {})
    path = {"queued": [], "running": ["running"], "succeeded": ["running", "succeeded"]}.get(state, ["running", state])
    for step in path:
        store.move(store.get(job.id), step)
    for illegal in set(LEGAL_MOVES) - LEGAL_MOVES[state]:
        with pytest.raises(Conflict):
            store.move(store.get(job.id), illegal)
    assert store.get(job.id).state == state


def test_a_queued_job_is_cancelled_at_once_and_a_final_one_not_at_all(store: JobStore) -> None:
    job = store.submit("x", {})
    assert store.ask_cancel(job.id).state == "cancelled"
    with pytest.raises(Conflict):
        store.ask_cancel(job.id)


def test_only_a_failed_or_cancelled_job_is_resumed(store: JobStore) -> None:
    job = store.submit("x", {})
    with pytest.raises(Conflict):
        store.resume(job.id)
    store.ask_cancel(job.id)
    assert store.resume(job.id).state == "queued"


def test_a_missing_job_says_how_to_list_them(store: JobStore) -> None:
    with pytest.raises(NotFound) as caught:
        store.get("nope")
    assert "bedplate jobs list" in caught.value.hint


def test_final_states_are_those_that_lead_nowhere_by_themselves() -> None:
    assert all(LEGAL_MOVES[state] <= {"queued"} for state in FINAL)
