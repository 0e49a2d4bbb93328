"""What jobs need of the registry's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bedplate.compute import Lease
from bedplate.database import Database
from bedplate.home import Home
from bedplate.job_folder import JobFolder
from bedplate.jobs import JobStore
from bedplate.needed import needed_by_jobs

IN_SPEC, IN_DRAFT = "a" * 64, "b" * 64


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def result(jobs: JobStore, tmp_path: Path) -> Path:
    """The place for the result of the first attempt of a job that runs."""
    job = jobs.submit("import", {"files": [{"sha256": IN_SPEC}]})
    assert jobs.claim(job, Lease(1, 1 << 30))
    folder = JobFolder(Home(tmp_path).jobs / job.id)
    folder.create({})
    return folder.path / "result-1.json"


def test_a_job_needs_what_its_spec_and_its_draft_name(jobs: JobStore, result: Path, tmp_path: Path) -> None:
    assert needed_by_jobs(jobs, Home(tmp_path)) == {IN_SPEC}
    result.write_text(json.dumps({"draft": {"files": [{"sha256": IN_DRAFT}]}}))
    assert needed_by_jobs(jobs, Home(tmp_path)) == {IN_SPEC, IN_DRAFT}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text('{"dra'),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.mkdir(),
    ],
    ids=["torn", "no text", "too deep", "a link", "a folder"],
)
def test_a_result_that_cannot_be_read_is_no_draft(
    jobs: JobStore, result: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(result)
    assert needed_by_jobs(jobs, Home(tmp_path)) == {IN_SPEC}
