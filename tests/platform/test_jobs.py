"""Job rows: legal moves, one conditional update, one job for one client key; on both databases."""

from __future__ import annotations

import threading

import pytest

from bedplate.compute import Demand, Lease
from bedplate.database import Database
from bedplate.jobs import FINAL, LEGAL_MOVES, Job, JobStore
from bedplate_registry.errors import Conflict, NotFound, Refused

LEASE = Lease(cores=1, memory_bytes=0)


@pytest.fixture
def store(database: Database) -> JobStore:
    """Over SQLite and over PostgreSQL (conftest.py)."""
    return JobStore(database)


def start(store: JobStore, job: Job) -> Job:
    claimed = store.claim(job, LEASE)
    assert claimed is not None
    return claimed


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


def test_an_id_that_is_taken_is_drawn_again(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["1a", "1a", "2b", "2b", "3c"])
    monkeypatch.setattr("bedplate.jobs.secrets.token_hex", lambda size: next(drawn))
    ids = [store.submit("x", {}).id, store.submit("x", {}).id, store.submit("x", {}, client_key="k").id]
    assert ids == ["x-1a", "x-2b", "x-3c"]


def test_a_job_is_claimed_once_though_many_try(store: JobStore) -> None:
    job = store.submit("x", {})
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(store.claim(job, LEASE) is not None)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_stale_epoch_moves_nothing(store: JobStore) -> None:
    job = store.submit("x", {})
    first = start(store, job)
    store.move(first, "queued")
    start(store, store.get(job.id))
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


def test_the_higher_priority_goes_first_and_then_the_earlier_submission_whatever_the_clock_says(
    database: Database,
) -> None:
    times = iter([5e9, 4e9, 3e9, 2e9, 1e9])  # each submission a day earlier than the one before it, by the clock
    store = JobStore(database, clock=lambda: next(times))
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        store.submit("x", {"name": name}, priority=priority)
    queue = store.queue()
    assert [job.spec["name"] for job in queue] == ["b", "d", "a", "c"]
    places = {job.id: (place, 4) for place, job in enumerate(queue, start=1)}
    assert store.positions(store.find()) == places
    assert [store.positions([job]) for job in queue] == [{job: place} for job, place in places.items()]
    assert [job.spec["name"] for job in store.find()] == ["d", "c", "b", "a"]
    assert [job.spec["name"] for job in store.queue(2)] == ["b", "d"]
    store.ask_cancel(queue[1].id)
    assert store.positions([queue[1], queue[2]]) == {queue[2].id: (2, 3)}


def test_what_a_job_leased_is_given_back_in_the_moment_it_ends(store: JobStore) -> None:
    job = start(store, store.submit("x", {}, demand=Demand(cores=2)))
    assert (job.lease, job.epoch, job.demand) == (LEASE, 1, Demand(cores=2))
    assert job.leased is not None
    store.move(job, "failed", error={"code": "no"})
    ended = store.get(job.id)
    assert (ended.lease, ended.leased) == (None, None)
    assert ended.finished is not None


def test_a_client_key_is_its_owners_and_makes_no_second_job_of_another_kind(store: JobStore) -> None:
    mine = store.submit("x", {"a": 1}, client_key="k", owner="ann")
    assert store.submit("x", {"a": 1}, client_key="k", owner="ann").id == mine.id
    assert store.submit("x", {"a": 2}, client_key="k", owner="bob").id != mine.id
    with pytest.raises(Refused) as caught:
        store.submit("x", {"a": 2}, client_key="k", owner="ann")
    assert caught.value.code == "idempotency-mismatch"
    assert mine.id in caught.value.message


def test_a_retried_job_starts_over_and_a_resumed_one_does_not(store: JobStore) -> None:
    job = store.submit("x", {})
    store.ask_cancel(job.id)
    assert not store.resume(job.id).fresh
    store.ask_cancel(job.id)
    again = store.retry(job.id)
    assert again.fresh
    assert not start(store, again).fresh


def test_only_a_job_that_has_ended_is_archived_and_then_it_is_not_listed(store: JobStore) -> None:
    job, other = store.submit("x", {}), store.submit("x", {})
    with pytest.raises(Conflict):
        store.archive(job.id)
    store.ask_cancel(job.id)
    store.archive(job.id)
    assert [row.id for row in store.find()] == [other.id]
    assert [row.id for row in store.find(archived=True)] == [job.id]
    assert len(store.find(archived=None)) == 2
    store.archive(job.id, archived=False)
    assert len(store.find()) == 2


def test_a_job_that_is_resumed_while_it_is_archived_is_not_hidden(store: JobStore, database: Database) -> None:
    class Slow(JobStore):
        def get(self, job_id: str) -> Job:
            job = super().get(job_id)
            if job.is_final:
                JobStore(database).resume(job_id)  # by another thread, in between
            return job

    job = store.submit("x", {})
    store.ask_cancel(job.id)
    assert Slow(database).archive(job.id).archived is None


def test_a_page_begins_where_the_last_one_ended(store: JobStore) -> None:
    ids = [store.submit("x", {}).id for _ in range(5)]
    first = store.find(limit=2)
    second = store.find(limit=2, before=first[-1].seq)
    assert [job.id for job in first + second] == ids[::-1][:4]


def test_a_queued_job_says_what_it_waits_for_until_it_is_started(store: JobStore) -> None:
    job = store.submit("x", {})
    store.note_waiting([(job, "gpus", "1 GPU")])
    job = store.get(job.id)
    assert (job.waiting_for, job.waiting) == ("gpus", "1 GPU")
    running = start(store, job)
    assert (running.waiting_for, running.waiting) == (None, None)
    store.note_waiting([(job, "gpus", "2 GPUs")])  # by a round that still saw it queued
    assert store.get(job.id).waiting is None


def test_a_job_that_was_asked_to_make_room_is_queued_again_and_asked_no_more(store: JobStore) -> None:
    job = start(store, store.submit("x", {}, preemptible=True))
    store.ask_preempt(job.id)
    assert store.get(job.id).preempt
    store.move(store.get(job.id), "queued")
    assert not store.get(job.id).preempt
