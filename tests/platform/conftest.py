"""The metadata database in both kinds. Without PostgreSQL here its tests are skipped, or fail where CI asks for them:
BEDPLATE_TEST_POSTGRES=required.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bedplate.database import Database

if TYPE_CHECKING:
    from postgres_cluster import Cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server for the tests of this session."""
    if importlib.util.find_spec("psycopg") is None:
        _do_without("psycopg is not installed")
    from postgres_cluster import Cluster, find_binaries

    binaries = find_binaries()
    if binaries is None:
        _do_without("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    cluster = Cluster(binaries)
    yield cluster
    cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/bedplate.db"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    url = cluster.create_database()
    yield url
    cluster.drop_database(url)


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An open database at the newest schema, of each kind in turn."""
    opened = Database(tmp_path / "bedplate.db", database_url)
    yield opened
    opened.close()


def _do_without(reason: str) -> None:
    if os.environ.get("BEDPLATE_TEST_POSTGRES") == "required":
        pytest.fail(f"{reason}, and BEDPLATE_TEST_POSTGRES=required")
    pytest.skip(reason)
