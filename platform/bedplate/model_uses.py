"""What uses a version of a model now, besides the registry itself: deployments, and jobs that have not ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedplate.endpoints import Deployment, EndpointStore
from bedplate.jobs import JobStore
from bedplate.kinds.graph import KIND as GRAPH

__all__ = ["deployments_of", "models_in", "uses_of"]


def uses_of(ref: str, endpoints: EndpointStore, jobs: JobStore) -> list[str]:
    """One phrase for each use of a version. What the server makes of it by itself holds nobody up."""
    serving = [
        f"deployment {row.name!r} of endpoint {row.endpoint!r} serves it" for row in deployments_of(ref, endpoints)
    ]
    open_jobs = [job for job in jobs.unfinished() if job.kind != GRAPH.name]
    return serving + [f"job {job.id} is {job.state} with it" for job in open_jobs if ref in models_in(job.spec)]


def deployments_of(ref: str, endpoints: EndpointStore) -> list[Deployment]:
    """The deployments of a version, at endpoints of either kind."""
    return [row for row in endpoints.deployments() if row.model == ref]


def models_in(spec: Any) -> Iterator[str]:
    """The versions that a spec names, at any depth: a sweep holds the spec of its fine-tunes."""
    for key, value in spec.items() if isinstance(spec, dict) else ():
        if key in ("model", "against") and isinstance(value, str):
            yield value
        else:
            yield from models_in(value)
