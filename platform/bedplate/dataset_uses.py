"""What uses a version of a dataset now: jobs that have not ended, and gates of models that ask for figures on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedplate.jobs import JobStore
from bedplate_registry.models import Models

__all__ = ["datasets_in", "uses_of_dataset"]


def uses_of_dataset(ref: str, models: Models, jobs: JobStore) -> list[str]:
    """One phrase for each use of a version."""
    open_jobs = [f"job {job.id} is {job.state} with it" for job in jobs.unfinished() if ref in datasets_in(job.spec)]
    names = sorted({model.name for model in models.refs()}, key=str)
    gates = [
        f"the gate of {gate.alias!r} of {name} asks for it"
        for name in names
        for gate in models.gates.all(name)
        if any(rule.dataset == ref for rule in gate.rules)
    ]
    return open_jobs + gates


def datasets_in(spec: Any) -> Iterator[str]:
    """The versions that a spec names, at any depth: each stands in what a DataRef is kept as."""
    if isinstance(spec, dict):
        if isinstance(spec.get("sha256"), str) and isinstance(spec.get("dataset"), str):
            yield spec["dataset"]
        spec = list(spec.values())
    for value in spec if isinstance(spec, list) else ():
        yield from datasets_in(value)
