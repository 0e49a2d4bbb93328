"""The metadata database: one schema by two ways, migrations that keep every row, and what is refused. Over both."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from bedplate.database import Database, jobs, metadata
from bedplate.database_engine import make_engine
from bedplate.home import Home
from bedplate.keys import KeyStore
from bedplate.migrations import HEAD, REVISIONS
from bedplate.migrations.backup import backed_up
from bedplate.migrations.upgrade import config_for
from bedplate_registry.errors import BedplateError, Conflict, Refused, Unavailable
from harness import wait_for

if TYPE_CHECKING:
    from postgres_cluster import Cluster

NOWHERE = Path("/nonexistent/bedplate.db")  # every test here names its database by a URL

# What release 0.1.0 made, as SQLite showed it; PostgreSQL understands the same words.
RELEASE_0_1_0 = """
CREATE TABLE jobs (
    id VARCHAR NOT NULL, kind VARCHAR NOT NULL, state VARCHAR NOT NULL, spec JSON NOT NULL, client_key VARCHAR,
    epoch INTEGER NOT NULL, deaths INTEGER NOT NULL, cancel BOOLEAN NOT NULL, created FLOAT NOT NULL, started FLOAT,
    finished FLOAT, waiting VARCHAR, result JSON, error JSON, owner VARCHAR, PRIMARY KEY (id), UNIQUE (client_key)
);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE TABLE endpoints (
    name VARCHAR NOT NULL, task VARCHAR NOT NULL, created FLOAT NOT NULL, PRIMARY KEY (name)
);
CREATE TABLE deployments (
    endpoint VARCHAR NOT NULL, name VARCHAR NOT NULL, model VARCHAR NOT NULL, instances INTEGER NOT NULL,
    device VARCHAR NOT NULL, traffic INTEGER NOT NULL, created FLOAT NOT NULL, error JSON, PRIMARY KEY (endpoint, name)
);
CREATE TABLE replicas (
    id VARCHAR NOT NULL, endpoint VARCHAR NOT NULL, deployment VARCHAR NOT NULL, state VARCHAR NOT NULL,
    created FLOAT NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE keys (
    id VARCHAR NOT NULL, name VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, scopes JSON NOT NULL, endpoint VARCHAR,
    created FLOAT NOT NULL, expires FLOAT, revoked FLOAT, PRIMARY KEY (id), UNIQUE (sha256)
)
"""
ROWS_0_1_0 = """
INSERT INTO jobs VALUES
('x-c', 'x', 'queued', '{"a": [1, null]}', 'k', 0, 0, FALSE, 30.5, NULL, NULL, 'why', NULL, NULL, NULL),
('x-b', 'x', 'failed', '{}', NULL, 2, 1, TRUE, 20.5, 21.5, 22.5, NULL, 'null', '{"code": "e"}', 'ann'),
('x-a', 'x', 'succeeded', '{}', 'l', 1, 0, FALSE, 10.5, 11.5, 12.5, NULL, '{"m": 0.5}', NULL, NULL);
INSERT INTO endpoints VALUES ('support', 'text-classification', 5.5);
INSERT INTO deployments VALUES ('support', 'main', 'm:1', 2, 'auto', 100, 5.5, NULL);
INSERT INTO replicas VALUES ('r1', 'support', 'main', 'ready', 6.5);
INSERT INTO keys VALUES
('k1', 'ci', 'abc', '["infer"]', 'support', 7.5, NULL, NULL),
('k2', 'ci', 'abd', '["infer"]', 'support', 8.5, NULL, NULL),
('k3', 'ci', 'abe', '["infer"]', 'support', 9.5, NULL, 10.5),
('k4', 'ci', 'abf', '["infer"]', 'support', 9.0, NULL, NULL),
('k5', 'me', 'abg', '["train", "import"]', NULL, 7.0, 8.0, NULL)
"""
# docs/operations.md gives the same words.
RESTORE = """
DROP TABLE jobs, deployments, replicas, endpoints, keys, home, users, sessions, audit, alembic_version;
ALTER TABLE {backup}.jobs SET SCHEMA public;
ALTER TABLE {backup}.deployments SET SCHEMA public;
ALTER TABLE {backup}.replicas SET SCHEMA public;
ALTER TABLE {backup}.endpoints SET SCHEMA public;
ALTER TABLE {backup}.keys SET SCHEMA public;
DROP SCHEMA {backup}
"""


def execute(url: str, script: str) -> None:
    engine = make_engine(NOWHERE, url)
    with engine.begin() as connection:
        for statement in script.split(";"):
            connection.exec_driver_sql(statement)
    engine.dispose()


def ask(url: str, question: Callable[[sa.Connection], Any]) -> Any:
    engine = make_engine(NOWHERE, url)
    with engine.begin() as connection:
        answer = question(connection)
    engine.dispose()
    return answer


def everything(connection: sa.Connection) -> dict[str, list[str]]:
    """The rows of every table."""
    names = sorted(sa.inspect(connection).get_table_names())
    return {name: [str(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")] for name in names}


def schema(connection: sa.Connection) -> list[Any]:
    """All that the database itself says of its tables: columns in order with types, indexes, keys, constraints."""
    if connection.dialect.name == "sqlite":
        texts = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").scalars()
        return sorted("".join(text.split()) for text in texts if text)
    questions = (
        "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace",
    )
    return [sorted(str(row) for row in connection.exec_driver_sql(question)) for question in questions]


def backups(url: str) -> list[str]:
    """Paths or schemas."""
    if url.startswith("sqlite"):
        return [str(path) for path in Path(url.removeprefix("sqlite:///")).parent.glob("backups/*")]
    return ask(url, lambda it: [name for name in sa.inspect(it).get_schema_names() if name.startswith("bedplate_")])


@pytest.fixture
def old_url(database_url: str) -> str:
    """A database of release 0.1.0 with rows in it."""
    execute(database_url, RELEASE_0_1_0 + ";" + ROWS_0_1_0)
    return database_url


# --- schema and migrations ---


def test_the_schema_equals_all_migrations_applied(database_url: str) -> None:
    Database(NOWHERE, database_url).close()
    made_at_once = ask(database_url, schema)
    ask(database_url, metadata.drop_all)
    execute(database_url, RELEASE_0_1_0)
    Database(NOWHERE, database_url).close()
    assert ask(database_url, schema) == made_at_once


def test_the_first_revision_is_what_release_0_1_0_made(database_url: str) -> None:
    execute(database_url, RELEASE_0_1_0)
    made_by_release = ask(database_url, schema)
    ask(database_url, metadata.drop_all)
    ask(database_url, lambda connection: command.upgrade(config_for(connection), REVISIONS[0]))
    execute(database_url, "DROP TABLE alembic_version")
    assert ask(database_url, schema) == made_by_release


def test_the_list_of_revisions_is_the_folder_of_migrations(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "unused.db", None)
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(config_for(connection))
    engine.dispose()
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS
    assert scripts.get_heads() == [HEAD]


def test_a_migration_keeps_every_row_and_numbers_jobs_in_the_order_of_submission(old_url: str) -> None:
    database = Database(NOWHERE, old_url)
    found = database.rows(sa.select(jobs).order_by(jobs.c.seq))
    assert [(row["seq"], row["id"], row["owner"]) for row in found] == [
        (1, "x-a", ""),
        (2, "x-b", "ann"),
        (3, "x-c", ""),
    ]
    assert (found[2]["spec"], found[2]["client_key"], found[2]["waiting"]) == ({"a": [1, None]}, "k", "why")
    assert (found[1]["error"], found[1]["cancel"], found[1]["deaths"]) == ({"code": "e"}, True, 1)
    assert (found[1]["started"], found[1]["finished"], found[0]["result"]) == (21.5, 22.5, {"m": 0.5})
    assert {json.dumps([row["demand"], row["priority"], row["preemptible"]]) for row in found} == {"[{}, 0, false]"}
    after = ask(old_url, everything)
    assert after["endpoints"] == ["('support', 'text-classification', 5.5, 'real-time', 1, 'local')"]
    assert [len(after[name]) for name in ("deployments", "replicas", "home")] == [1, 1, 0]
    with database.begin() as connection:
        values = {"id": "x-d", "kind": "x", "state": "queued", "spec": {}, "demand": {}, "created": 1.0}
        made = connection.execute(jobs.insert().values(**values).returning(jobs.c.seq)).scalar_one()
    assert made == 4
    database.close()


def test_keys_of_before_are_this_machine_s_users_and_the_newest_valid_ones_fill_the_slots_of_their_endpoint(
    old_url: str,
) -> None:
    database = Database(NOWHERE, old_url)
    found = {key.id: key for key in KeyStore(database).all()}
    assert {key.owner for key in found.values()} == {"local"}
    assert {id: key.slot for id, key in found.items()} == {
        "k1": None,
        "k2": "secondary",
        "k3": None,
        "k4": "primary",
        "k5": None,
    }
    assert (found["k1"].endpoints, found["k3"].revoked, found["k5"].endpoints) == (("support",), 10.5, None)
    assert (found["k5"].scopes, found["k5"].sha256, found["k5"].expires) == (("train", "import"), "abg", 8.0)
    database.close()


def test_two_owners_may_use_the_same_client_key_and_one_may_not_twice(database: Database) -> None:
    values = {"kind": "x", "state": "queued", "spec": {}, "demand": {}, "created": 1.0, "client_key": "k"}
    with database.begin() as connection:
        connection.execute(jobs.insert().values(id="1", owner="ann", **values))
        connection.execute(jobs.insert().values(id="2", owner="bob", **values))
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(jobs.insert().values(id="3", owner="ann", **values))


def test_the_backup_before_a_migration_is_named_in_the_log_and_can_be_restored(
    old_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = ask(old_url, everything)
    with caplog.at_level(logging.INFO):
        Database(NOWHERE, old_url).close()
    [backup] = backups(old_url)
    assert f"from revision 0001 to {HEAD}" in caplog.text
    assert backup in caplog.text
    if old_url.startswith("sqlite"):
        assert Path(backup).stat().st_mode & 0o777 == 0o600
        shutil.copy(backup, old_url.removeprefix("sqlite:///"))
    else:
        execute(old_url, RESTORE.format(backup=backup))
    assert ask(old_url, everything) == before
    Database(NOWHERE, old_url).close()
    assert len(ask(old_url, everything)["jobs"]) == 3


def test_a_new_database_and_one_that_is_up_to_date_need_no_backup_and_no_alembic(database_url: str) -> None:
    code = (
        "import sys; from pathlib import Path; from bedplate.database import Database\n"
        "for _ in range(2): Database(Path('unused'), sys.argv[1]).close()\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, database_url], check=True)
    assert backups(database_url) == []


def test_a_backup_does_not_hold_the_tables_in_place_that_it_was_made_of(database: Database, database_url: str) -> None:
    with database.begin() as connection, backed_up(connection, HEAD, metadata.tables.keys()):
        metadata.drop_all(connection)
    assert len(backups(database_url)) == 1
    assert ask(database_url, everything) == {}


def test_a_migration_that_fails_changes_nothing_and_goes_through_once_the_cause_is_gone(old_url: str) -> None:
    execute(old_url, "CREATE TABLE home (id VARCHAR)")  # in the way of the last step of 0002
    before = ask(old_url, schema), ask(old_url, everything)
    with pytest.raises(Unavailable, match=r"from revision 0001 to 0004, and is as it was: .*home.* already exists"):
        Database(NOWHERE, old_url)
    assert (ask(old_url, schema), ask(old_url, everything)) == before
    assert backups(old_url) == []
    execute(old_url, "DROP TABLE home")
    Database(NOWHERE, old_url).close()
    assert len(ask(old_url, everything)["jobs"]) == 3


def test_a_migration_that_is_killed_half_way_is_simply_done_again(old_url: str) -> None:
    before = ask(old_url, everything)
    code = (
        "import os, signal, sys; from pathlib import Path; import sqlalchemy as sa\n"
        "from bedplate.database import Database\n"
        "def die(connection, cursor, statement, *rest):\n"
        "    if 'CREATE TABLE home' in statement: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sa.event.listen(sa.Engine, 'before_cursor_execute', die)\n"
        "Database(Path('unused'), sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", code, old_url], check=False).returncode == -signal.SIGKILL
    assert ask(old_url, everything) == before
    Database(NOWHERE, old_url).close()
    assert len(ask(old_url, everything)["jobs"]) == 3


@pytest.mark.parametrize("rows", [0, 3])
def test_of_several_that_open_a_database_at_once_one_makes_or_migrates_it(database_url: str, rows: int) -> None:
    if rows:
        execute(database_url, RELEASE_0_1_0 + ";" + ROWS_0_1_0)
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(Database(NOWHERE, database_url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(database.rows(sa.select(jobs))) for database in opened] == [rows] * 4
    for database in opened:
        database.close()
    assert len(backups(database_url)) == (1 if rows else 0)


def test_a_newer_schema_is_refused_by_its_revision_and_left_alone(database_url: str) -> None:
    Database(NOWHERE, database_url).close()
    execute(database_url, "UPDATE alembic_version SET version_num = '0099'")
    before = ask(database_url, everything)
    with pytest.raises(Refused, match=f"revision '0099'; this release knows '{HEAD}'") as caught:
        Database(NOWHERE, database_url)
    assert caught.value.code == "newer-database"
    assert "newer release" in caught.value.hint
    assert ask(database_url, everything) == before


def test_a_database_with_tables_of_another_program_is_refused(database_url: str) -> None:
    execute(database_url, "CREATE TABLE jobs (id INTEGER)")
    with pytest.raises(Refused, match="tables of another program: jobs"):
        Database(NOWHERE, database_url)


# --- at work ---


def test_a_read_does_not_wait_for_a_writer_and_sees_nothing_half_done(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO endpoints (name, task, created) VALUES ('a', 'b', 1.0)"))
        assert database.rows(sa.select(metadata.tables["endpoints"])) == []
    row = database.row(sa.select(metadata.tables["endpoints"]))
    assert row == {"name": "a", "task": "b", "created": 1.0, "kind": "real-time", "revision": 1, "owner": "local"}


def test_a_block_that_fails_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.begin() as connection:
        connection.execute(sa.text("INSERT INTO endpoints (name, task, created) VALUES ('a', 'b', 1.0)"))
        raise ZeroDivisionError
    assert database.rows(sa.select(metadata.tables["endpoints"])) == []


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "bedplate.db").write_text("This is a letter, and it is long enough to be read as a header. " * 20)
    with pytest.raises(Unavailable, match="cannot be opened: file is not a database"):
        Database(tmp_path / "bedplate.db")


def test_postgresql_that_was_restarted_is_seen_through_and_one_that_is_down_is_named(
    postgres: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.create_database()
    database = Database(NOWHERE, url)
    database.hold()
    postgres.stop()
    try:
        for call in (lambda: database.rows(sa.select(jobs)), database.hold, lambda: database.begin().__enter__()):
            with pytest.raises(Unavailable, match="did not answer") as caught:
                call()
            assert caught.value.code == "database"
        assert "No such file or directory" in caplog.text
        with pytest.raises(Unavailable, match=r"cannot be opened: .* failed: No such file or directory"):
            Database(NOWHERE, url)
    finally:
        postgres.start()
    assert database.rows(sa.select(jobs)) == []
    database.hold()
    with pytest.raises(Conflict):
        _hold_at_once(url)
    database.close()
    postgres.drop_database(url)


# --- URL, home and owner ---


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:hidden@host/name", "kind 'mysql'"),
        ("postgresql+asyncpg://user:hidden@host/name", "kind 'postgresql\\+asyncpg'"),
        ("sqlite://", "SQLite without a file"),
        ("sqlite:///:memory:", "SQLite without a file"),
        ("hidden", "not a URL"),
        ("postgresql://user:hid@den@host/name", "not a URL"),
        ("postgresql://user:a@hidden/b@host/name", "not a URL"),
        ("postgresql://user:hidden@host:port/name", "not a URL"),
    ],
)
def test_another_url_is_refused_by_what_is_wrong_with_it(url: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        Database(NOWHERE, url)
    assert caught.value.code == "database"
    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in caught.value.hint
    assert "hid" not in _all_of(caught.value)


def test_without_the_driver_the_extra_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Refused, match="psycopg, is not installed") as caught:
        Database(NOWHERE, "postgresql://host/name")
    assert "bedplate[postgres]" in caught.value.hint


def test_a_password_is_in_no_message_and_no_log_line(postgres: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    postgres.execute("CREATE USER guarded PASSWORD 'the-right-word'")
    url = postgres.create_database()
    name = url.split("/")[3].split("?")[0]
    postgres.execute(f"GRANT ALL ON SCHEMA public TO guarded; GRANT CREATE ON DATABASE {name} TO guarded", name)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(Unavailable, match="password authentication failed for user") as caught:
            Database(NOWHERE, postgres.url(name, "guarded:the-wrong-word"))
        execute(postgres.url(name, "guarded:the-right-word"), RELEASE_0_1_0)
        database = Database(NOWHERE, postgres.url(name, "guarded:the-right-word"))
        database.hold()
    assert "the-wrong-word" not in _all_of(caught.value)
    assert "-word" not in caplog.text + repr(database.engine)
    database.close()
    postgres.drop_database(url)


def test_a_postgresql_database_belongs_to_the_first_home_that_opens_it(postgres: Cluster) -> None:
    url = postgres.create_database()
    Database(NOWHERE, url).close()  # without a home: a look from outside
    for _ in range(2):
        Database(NOWHERE, url, home_id="home-1").close()
    with pytest.raises(Refused, match=r"another home \(home-1; this one is home-2\)") as caught:
        Database(NOWHERE, url, home_id="home-2")
    assert caught.value.code == "database-of-another-home"
    assert "write home-1 into the file `id`" in caught.value.hint
    postgres.drop_database(url)


def test_another_home_does_not_migrate_a_database_before_it_is_refused(postgres: Cluster) -> None:
    url = postgres.create_database()
    Database(NOWHERE, url, home_id="home-1").close()
    execute(url, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(Refused, match="another home"):
        Database(NOWHERE, url, home_id="home-2")
    postgres.drop_database(url)


def test_one_server_holds_a_postgresql_database_until_it_closes_it_or_dies(postgres: Cluster) -> None:
    url = postgres.create_database()
    code = (
        "import sys; from pathlib import Path; from bedplate.database import Database\n"
        "database = Database(Path('unused'), sys.argv[1]); database.hold(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=rf"Another server works on .*process {first.pid} on") as caught:
            _hold_at_once(url)
        assert caught.value.code == "database-owned"
        first.kill()
    second = Database(NOWHERE, url)
    second.hold()
    second.hold()
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        _hold_at_once(url)
    second.close()
    _hold_at_once(url)
    postgres.drop_database(url)


def test_a_migration_waits_for_a_server_that_is_still_leaving(postgres: Cluster) -> None:
    url = postgres.create_database()
    running = Database(NOWHERE, url)
    running.hold()
    ask(url, metadata.drop_all)
    execute(url, RELEASE_0_1_0)
    opener = threading.Thread(target=lambda: Database(NOWHERE, url).close())
    opener.start()
    asked = "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
    wait_for(lambda: ask(url, lambda connection: connection.exec_driver_sql(asked).scalar()), seconds=60)
    assert "alembic_version" not in ask(url, everything)
    running.close()
    opener.join()
    assert ask(url, everything)["alembic_version"] == [f"('{HEAD}',)"]
    postgres.drop_database(url)


def test_a_home_keeps_its_id(tmp_path: Path) -> None:
    first = Home(tmp_path).id
    assert Home(tmp_path).id == first
    assert len(first) == 16
    assert (tmp_path / "id").stat().st_mode & 0o777 == 0o600


def test_in_a_home_that_others_may_enter_jobs_logs_copies_and_the_database_are_the_users_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    private = (home.run, home.jobs, home.logs, tmp_path / "backups")
    home.path.chmod(0o755)
    for folder in private:
        folder.mkdir(mode=0o755)
    home.prepare()
    Database(home.database).close()
    assert home.path.stat().st_mode & 0o777 == 0o755
    assert {folder.stat().st_mode & 0o777 for folder in private} == {0o700}
    assert home.database.stat().st_mode & 0o777 == 0o600
    home.database.chmod(0o644)  # as an earlier release left it
    home.prepare()
    assert home.database.stat().st_mode & 0o777 == 0o600


def test_sqlite_runs_on_the_rollback_journal_where_its_wal_can_lose_pages(tmp_path: Path) -> None:
    Database(tmp_path / "bedplate.db").close()
    with sqlite3.connect(tmp_path / "bedplate.db") as connection:
        [mode] = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == ("wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "delete")


def _hold_at_once(url: str) -> None:
    database = Database(NOWHERE, url)
    try:
        database.hold(patience_seconds=0)
    finally:
        database.close()


def _all_of(error: BedplateError) -> str:
    """Whatever a person or a log could be shown of it: messages, not source lines."""
    told = [error.message, error.hint, *traceback.format_exception_only(error)]
    seen: BaseException | None = error
    while seen is not None:
        told += [str(seen), repr(seen)]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(told)
