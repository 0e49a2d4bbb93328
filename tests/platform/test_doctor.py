"""What `bedplate doctor` finds in a home, each with a remedy; nothing is changed by a look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import trustme

from bedplate.audit import AuditLog
from bedplate.database import Database, audit
from bedplate.doctor import _audit, _secrets, _tls
from bedplate.home import Home
from bedplate.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """With a database of two audit entries."""
    made = Home(tmp_path / "home")
    made.prepare()
    database = Database(made.database)
    for number in range(2):
        AuditLog(database).record("ana", "POST /api/v1/jobs", {"number": number})
    database.close()
    return made


def settings_of(home: Home) -> Settings:
    return Settings.from_environment({"BEDPLATE_HOME": str(home.path)})


def test_a_whole_audit_log_is_well_and_a_changed_line_is_found(home: Home) -> None:
    [found] = _audit(home, settings_of(home))
    assert (found["status"], found["detail"]) == ("ok", "2 entries, each bound to the one before")
    database = Database(home.database)
    with database.begin() as connection:
        connection.execute(sa.update(audit).where(audit.c.seq == 1).values(who="eve"))
    database.close()
    [found] = _audit(home, settings_of(home))
    assert (found["status"], found["detail"]) == ("fail", "Entry 1 was changed after it was written.")
    assert found["remedy"]


def test_a_home_without_a_database_gets_none_by_a_look(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert [*_audit(home, settings_of(home)), *_secrets(home), *_tls(settings_of(home))] == []
    assert not home.path.exists()


@pytest.mark.parametrize("name", ["run", "run/token", "jobs", "bedplate.db"])
def test_a_secret_that_others_may_read_is_named_with_the_command_that_closes_it(home: Home, name: str) -> None:
    assert [found["status"] for found in _secrets(home)] == ["ok"]
    (home.path / name).chmod(0o755)
    [found] = _secrets(home)
    assert found["status"] == "fail"
    assert found["remedy"] == f"chmod go= {home.path / name}"


def test_a_home_that_others_may_look_into_is_told(home: Home) -> None:
    home.path.chmod(0o755)
    [found] = _secrets(home)
    assert (found["status"], found["remedy"]) == ("warn", f"chmod go= {home.path}")


def test_a_pair_for_tls_is_tried(home: Home, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    given = replace(settings_of(home), tls_cert=cert, tls_key=key)
    assert [found["status"] for found in _tls(given)] == ["ok"]
    assert [found["status"] for found in _tls(replace(given, tls_key=None))] == ["fail"]
    key.chmod(0o644)
    [found] = _tls(given)
    assert (found["status"], "chmod" in found["remedy"]) == ("fail", True)
