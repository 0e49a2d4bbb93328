"""An import that waits for the Hub of slow_hub.py, and the process that waits: what has to live through a restart."""

from __future__ import annotations

import json
from pathlib import Path

from bedplate.client import Job, RemoteWorkspace
from harness import wait_for

__all__ = ["start_held_import"]


def start_held_import(ws: RemoteWorkspace, home: Path, hub: str) -> tuple[Job, int]:
    """The job and its worker's pid, from the job's folder: who is about to become another is not taken for it."""
    job = ws.submit_import("acme/tiny", hub=hub)
    started = home / "jobs" / job.id / "started-1.json"
    wait_for(started.exists, seconds=120)
    return job, int(json.loads(started.read_text())["worker"])
