"""The audit log: a chain in which a changed, removed or added entry is found, and without which nothing is changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from bedplate.audit import START, AuditLog
from bedplate.database import Database
from bedplate.database import audit as table
from bedplate_registry.errors import Unavailable


@pytest.fixture
def log(database: Database) -> AuditLog:
    made = AuditLog(database)
    for number in range(6):
        made.record("ana", "POST /api/v1/jobs", {"status": 202, "job": f"job-{number}", "Ω\ud800": [1.5, None]})
    return made


def change(database: Database, statement: sa.Update | sa.Delete | sa.Insert) -> None:
    with database.begin() as connection:
        connection.execute(statement)


def test_an_untouched_log_is_intact_and_tells_its_last_hash(log: AuditLog) -> None:
    verdict = log.verify()
    assert (verdict.problem, verdict.entries, verdict.seq) == (None, 6, 6)
    assert verdict.hash == log.entries(limit=1)[0].hash
    assert log.entries(limit=10)[-1].previous == START


@pytest.mark.parametrize("column", ["time", "who", "action", "detail"])
def test_a_changed_field_of_an_entry_is_found_and_named(database: Database, log: AuditLog, column: str) -> None:
    new = {"time": 1.0, "who": "bo", "action": "GET /", "detail": {"status": 200}}[column]
    change(database, table.update().where(table.c.seq == 3).values({column: new}))
    verdict = log.verify()
    assert (verdict.seq, verdict.entries, verdict.problem) == (2, 6, "Entry 3 was changed after it was written.")


def test_an_entry_changed_with_a_right_hash_of_its_own_breaks_the_one_behind_it(
    database: Database, log: AuditLog
) -> None:
    behind = log.entries(limit=3)  # 6, 5, 4
    change(database, table.delete().where(table.c.seq >= 3))
    AuditLog(database).record("ana", "POST /api/v1/jobs", {"status": 202, "job": "another"})
    for entry in behind:
        change(database, table.insert().values(**entry.to_json()))
    verdict = log.verify()
    assert verdict.seq == 3
    assert "Entry 4 is not bound to the one before it" in str(verdict.problem)


def test_a_removed_entry_is_found(database: Database, log: AuditLog) -> None:
    change(database, table.delete().where(table.c.seq == 4))
    assert log.verify().problem == "Entry 4 is missing: the next one is 5."


def test_a_cut_off_end_shows_against_a_hash_noted_before(database: Database, log: AuditLog) -> None:
    noted = log.verify()
    change(database, table.delete().where(table.c.seq > 4))
    assert log.verify().problem is None
    assert (log.verify().seq, log.verify().hash) != (noted.seq, noted.hash)


def test_another_server_goes_on_with_the_chain(database: Database, log: AuditLog) -> None:
    entry = AuditLog(database).record("bo", "DELETE /api/v1/endpoints/{name}", {})
    assert entry.previous == log.entries(limit=2)[1].hash
    assert log.verify().problem is None


def test_threads_that_record_at_once_make_one_chain(database: Database) -> None:
    log = AuditLog(database)
    threads = [
        threading.Thread(target=lambda who: [log.record(who, "x", {}) for _ in range(10)], args=(f"user{number}",))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (log.verify().problem, log.verify().seq) == (None, 60)


def test_pages_and_the_entries_of_one_user(log: AuditLog) -> None:
    log.record("bo", "x", {})
    first = log.entries(limit=3)
    assert [entry.seq for entry in first] == [7, 6, 5]
    assert [entry.seq for entry in log.entries(limit=3, before=5)] == [4, 3, 2]
    assert [entry.seq for entry in log.entries(limit=9, who="bo")] == [7]


def test_where_it_cannot_be_written_it_says_so_until_it_can_again(
    database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin: Callable[[], object] = database.begin
    monkeypatch.setattr(database, "begin", _full)
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            log.record("ana", "x", {})
        assert caught.value.code == "audit-unavailable"
    with pytest.raises(Unavailable):
        log.check()
    monkeypatch.setattr(database, "begin", begin)
    log.check()
    log.check()  # nothing is written while all is well
    assert log.count() == 8
    assert not log.is_broken
    assert log.verify().problem is None


def test_what_could_not_be_kept_is_kept_late_in_its_order_before_anything_else(
    database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "begin", _full)
    for name in ("first", "second"):
        with pytest.raises(Unavailable):
            log.record("ana", name, {"status": 202})
    monkeypatch.undo()
    log.record("bo", "third", {})
    newest = log.entries(limit=3)[::-1]
    assert [(entry.action, entry.detail) for entry in newest] == [
        ("first", {"status": 202, "recorded": "late"}),
        ("second", {"status": 202, "recorded": "late"}),
        ("third", {}),
    ]


def _full() -> object:
    raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))
