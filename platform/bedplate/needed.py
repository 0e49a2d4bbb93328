"""Files of the registry that jobs name: no manifest does, or not yet, and a collection leaves them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

from bedplate.home import Home
from bedplate.job_folder import DamagedFolder, JobFolder
from bedplate.jobs import Job, JobStore

__all__ = ["needed_by_jobs"]

log = logging.getLogger(__name__)
PAGE = 500
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def needed_by_jobs(jobs: JobStore, home: Home) -> set[str]:
    """The digests in the specs of jobs that have not succeeded (they may go on), and in drafts not yet published."""
    found: set[str] = set()
    for job in _all(jobs):
        if job.state != "succeeded":
            found.update(_DIGEST.findall(json.dumps([job.spec, _draft(job, home)])))
    return found


def _draft(job: Job, home: Home) -> dict[str, Any] | None:
    """What its attempt handed in. What cannot be read is no draft: nothing will be published of it."""
    try:
        return JobFolder(home.jobs / job.id).result(job.epoch) if job.epoch else None
    except (DamagedFolder, ValueError, RecursionError) as exc:
        log.warning("The result of job %s cannot be read: %s", job.id, exc)
        return None


def _all(jobs: JobStore) -> Iterator[Job]:
    """Each job once, whatever becomes of it meanwhile."""
    page = jobs.find(archived=None, limit=PAGE)
    while page:
        yield from page
        page = jobs.find(archived=None, before=page[-1].seq, limit=PAGE)
