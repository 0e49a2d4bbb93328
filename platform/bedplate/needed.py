"""Files of the registry that jobs name: no manifest does, or not yet, and a collection leaves them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from bedplate.home import Home
from bedplate.job_folder import JobFolder
from bedplate.jobs import Job, JobStore

__all__ = ["needed_by_jobs"]

PAGE = 500
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def needed_by_jobs(jobs: JobStore, home: Home) -> set[str]:
    """The digests in the specs of jobs that have not succeeded (they may go on), and in drafts not yet published."""
    found: set[str] = set()
    for job in _all(jobs):
        if job.state != "succeeded":
            result = JobFolder(home.jobs / job.id).result(job.epoch) if job.epoch else None
            found.update(_DIGEST.findall(json.dumps([job.spec, result])))
    return found


def _all(jobs: JobStore) -> Iterator[Job]:
    """Each job once, whatever becomes of it meanwhile."""
    page = jobs.find(archived=None, limit=PAGE)
    while page:
        yield from page
        page = jobs.find(archived=None, before=page[-1].seq, limit=PAGE)
