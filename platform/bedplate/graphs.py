"""The graphs of text encoders: has each made once, by a job, and clears away those of models that are gone."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bedplate.endpoints import EndpointStore
from bedplate.jobs import Job, JobStore
from bedplate.kinds import Context
from bedplate.kinds.graph import KIND, PRIORITY, spec_of
from bedplate_registry.models import ModelVersion
from bedplate_serving.predictors.encoders.graph_folder import (
    MAX_BYTES,
    clear,
    holds_graph,
    key_of,
    put_reason,
    reason_for_none,
)

__all__ = ["OWNER", "Graphs"]

log = logging.getLogger(__name__)

OWNER = "server"  # no user can have this name
TASKS = ("text-classification", "token-classification", "question-answering", "fill-mask")  # what encoders answer


class Graphs:
    """What is in `derived/`. The workspace's loop calls it, and what deletes a model calls `drop`."""

    def __init__(self, context: Context, jobs: JobStore, endpoints: EndpointStore) -> None:
        self._context, self._jobs, self._endpoints = context, jobs, endpoints

    def ask_for(self, version: ModelVersion) -> None:
        """Have the graph of a version made, once, unless it is there or known that there can be none."""
        task = version.facts.task
        if task not in TASKS:
            return
        derived, key = self._context.home.derived_of(version.digest), key_of(version.digest, task)
        if holds_graph(derived, key) or reason_for_none(derived, key) is not None:
            return
        if 4 * version.facts.parameters > MAX_BYTES:
            put_reason(derived, key, f"it has more than {MAX_BYTES / 1e9} GB of weights")
            return
        self._submit(version, key)

    def _submit(self, version: ModelVersion, key: dict[str, Any]) -> None:
        """The job of this key, once. One that failed is its owner's to retry; where what one made is lost again, or one
        was cancelled, perhaps with all others by `stop --all`, another one takes its place.
        """
        name = f"graph/{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()}"
        job = self._queue(version, name)
        while job.state in ("succeeded", "cancelled"):
            job = self._queue(version, f"{name}/{job.id}")

    def _queue(self, version: ModelVersion, client_key: str) -> Job:
        spec = spec_of(version)
        return self._jobs.submit(
            KIND.name,
            spec,
            demand=KIND.demand(self._context, spec),
            priority=PRIORITY,
            preemptible=KIND.preemptible,
            client_key=client_key,
            owner=OWNER,
            fingerprint=client_key,
        )

    def drop(self, ref: str, digest: str | None) -> None:
        """After a version was deleted, which nothing used any more. Of a damaged one the digest is not known."""
        for job in self._jobs.unfinished():
            if job.kind == KIND.name and job.spec["model"] == ref:
                self._jobs.ask_cancel(job.id)
        if digest is not None:
            shutil.rmtree(self._context.home.derived_of(digest), ignore_errors=True)

    def clear(self) -> None:
        """Remove what killed processes left half done. To be called while nothing is made or moved."""
        with _logged():
            for folder in self._found():
                clear(folder)

    def clean(self) -> None:
        """Remove what was derived of versions that are not registered any more. It reads every manifest."""
        with _logged():
            self._clean()

    def _clean(self) -> None:
        found = self._found()
        registered = self._registered() if found else set()  # read after `found`: no version of this moment is missed
        for folder in found:
            if folder.name not in registered:
                shutil.rmtree(folder, ignore_errors=True)
                log.info("removed what was derived of a model that is not registered: %s", folder.name)

    def _found(self) -> list[Path]:
        return [folder for folder in self._context.home.derived.iterdir() if folder.is_dir()]

    def _registered(self) -> set[str]:
        """The digests of all versions. Raises NotFound where one is deployed that is gone: a replica may still live."""
        for deployment in self._endpoints.deployments():
            self._context.registry.models.get(deployment.model)
        digests = set()
        for manifest in (self._context.home.registry / "models").glob("*/*/*/manifest.json"):
            with suppress(FileNotFoundError):  # it was deleted in this moment
                digests.add(hashlib.sha256(manifest.read_bytes()).hexdigest())
        return digests


@contextmanager
def _logged() -> Iterator[None]:
    """Around what nothing depends on, and the next start tries again."""
    try:
        yield
    except Exception:  # a deployed version that is gone, for one
        log.exception("what is derived of models cannot be cleaned")
