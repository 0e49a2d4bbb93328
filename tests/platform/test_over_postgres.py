"""The whole server on PostgreSQL: jobs run, a second home is kept out, a restarted server goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from harness import bedplate_home, processes_of, run_cli
from postgres_cluster import Cluster


@pytest.fixture
def home() -> Iterator[Path]:
    with bedplate_home() as folder:
        yield folder


def test_a_model_is_imported_and_its_job_is_found_after_the_server_was_killed(
    home: Path, models: Path, postgres: Cluster
) -> None:
    url = postgres.create_database()
    run_cli("import", "--from", str(models / "classifier"), "--name", "intents", home=home, BEDPLATE_DATABASE_URL=url)
    for pid in processes_of(home, "bedplate.control_plane"):
        os.kill(pid, signal.SIGKILL)
    listed = run_cli("jobs", "list", "--format", "json", home=home, BEDPLATE_DATABASE_URL=url).stdout
    (job,) = json.loads(listed)
    assert (job["kind"], job["state"], job["result"]["model"]) == ("import", "succeeded", "intents:1")
    assert not (home / "bedplate.db").exists()
    run_cli("stop", "--all", home=home, BEDPLATE_DATABASE_URL=url)
    assert not processes_of(home, "bedplate.")


def test_another_home_is_kept_out_of_the_database_of_this_one(tmp_path: Path, postgres: Cluster) -> None:
    url = postgres.create_database()
    settings = [
        Settings.from_environment({"BEDPLATE_HOME": str(tmp_path / name), "BEDPLATE_DATABASE_URL": url})
        for name in ("one", "two")
    ]
    one = Workspace(settings[0], address=None)
    with pytest.raises(Refused) as caught:
        Workspace(settings[1], address=None)
    assert caught.value.code == "database-of-another-home"
    one.database.close()
