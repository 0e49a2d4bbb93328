"""Where jobs come in: a request is checked and resolved by its kind, and told what it may need, before it is queued.

Two keys are every kind's: `priority`, and `needs`, which overrides what the kind works out.

    {"kind": "batch", …, "priority": 10, "needs": {"cores": 4, "memory_gb": 8, "preemptible": false}}
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bedplate.compute import GIB, Demand, impossible
from bedplate.dataset_uses import datasets_in
from bedplate.jobs import PRIORITIES, Job, JobStore
from bedplate.kinds import KINDS, Context, Kind
from bedplate.kinds.base import mapping_of
from bedplate.model_uses import models_in
from bedplate_registry.errors import BedplateError, Conflict, Refused, Unavailable, nearest

__all__ = ["Intake", "Plan"]

NEEDS = ("cores", "memory_gb", "gpu_memory_gb", "preemptible")
CHILD = "\x1f"  # begins the client keys of jobs that jobs submit: no header can carry it
TRIAL = "trial"  # what a sweep tells its children, and nobody else may say
MOST = {"cores": 4096, "memory_gb": 1 << 20, "gpu_memory_gb": 1 << 20}


@dataclass(frozen=True)
class Plan:
    """A job that is checked and not yet queued."""

    kind: str
    spec: dict[str, Any]
    demand: Demand
    priority: int
    preemptible: bool

    def to_json(self) -> dict[str, Any]:
        """What `--dry-run` shows."""
        return {
            "kind": self.kind,
            "spec": self.spec,
            "demand": self.demand.to_json(),
            "priority": self.priority,
            "preemptible": self.preemptible,
        }


class Intake:
    """Checks requests and queues jobs."""

    def __init__(self, context: Context, store: JobStore, deletions: threading.Lock) -> None:
        """`deletions` is held by whoever deletes a model or a dataset."""
        self._context, self._store, self._deletions = context, store, deletions

    def prepare(self, kind_name: str, request: Mapping[str, Any], *, parent: str | None = None) -> Plan:
        """Raises Refused, NotFound or Conflict, which name what is wrong, before anything is started."""
        kind = find_kind(kind_name)
        if TRIAL in request and parent is None:
            raise Refused(f"{kind_name} has no setting {TRIAL!r}.", hint="See: bedplate sweep", code="unknown-setting")
        own = {key: value for key, value in request.items() if key not in ("priority", "needs")}
        needs = _needs(request)
        spec = {**kind.prepare(self._context, own), **({"needs": needs} if needs else {})}
        demand = _with(kind.demand(self._context, spec), needs)
        never = impossible(self._context.machine.inventory(), demand)
        if never is not None:
            raise Refused(
                f"This machine cannot run it: it needs {never.message}.",
                hint="See what is here with: bedplate compute",
                code="does-not-fit",
            )
        preemptible = bool(needs.get("preemptible", kind.preemptible))
        return Plan(kind.name, spec, demand, _priority(request.get("priority")), preemptible)

    def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        client_key: str | None = None,
        owner: str = "",
        parent: str | None = None,
        request_id: str | None = None,
    ) -> Job:
        """Check and queue a job, or find the one that this owner's key already made, whatever has become of what its
        request names."""
        fingerprint = None if parent or not client_key else _fingerprint(kind, request)
        if client_key and fingerprint and (made := self._store.made_by(owner, client_key, fingerprint)):
            return made
        plan = self.prepare(kind, request, parent=parent)
        return self._queue(
            plan.kind,
            plan.spec,
            demand=plan.demand,
            priority=plan.priority,
            preemptible=plan.preemptible,
            client_key=client_key,
            parent=parent,
            owner=owner,
            fingerprint=fingerprint,
            request_id=request_id,
        )

    def rerun(
        self, job_id: str, *, owner: str = "", client_key: str | None = None, request_id: str | None = None
    ) -> Job:
        """A new job from the stored spec of another one: the same versions, the same bytes, the same settings."""
        fingerprint = _fingerprint("rerun", {"job": job_id})
        if client_key and (made := self._store.made_by(owner, client_key, fingerprint)):
            return made
        old = self._store.get(job_id)
        return self._queue(
            old.kind,
            {key: value for key, value in old.spec.items() if key != TRIAL},  # on its own it registers its model
            demand=old.demand,
            priority=old.priority,
            preemptible=old.preemptible,
            client_key=client_key,
            owner=owner,
            fingerprint=fingerprint,
            request_id=request_id,
        )

    def _queue(self, kind: str, spec: dict[str, Any], **row: Any) -> Job:
        """Raises NotFound where a version that the job names was deleted since that was looked at."""
        with self._deletions:
            for ref in models_in(spec):
                self._context.registry.models.get(ref)
            for ref in datasets_in(spec):
                self._context.registry.datasets.locate(ref)
            return self._store.submit(kind, spec, **row)

    def advance(self, job: Job) -> None:
        """Move a job on that only submits others: their number is their client key, so none is submitted twice."""
        children = self._children(job)
        if job.cancel:
            self._cancel(job, children)
            return
        try:
            self._step(job, children)
        except Unavailable:  # the database, for one: the next round tries again
            raise
        except BedplateError as exc:  # what it submits is refused, and will be in every round
            self._end_children(self._children(job))  # those of this round too
            self._store.move(job, "failed", error=exc.to_json())

    def _children(self, job: Job) -> list[Job]:
        return self._store.find(parent=job.id, archived=None, limit=MANY)[::-1]

    def _step(self, job: Job, children: list[Job]) -> None:
        kind = KINDS[job.kind]
        assert kind.advance is not None
        step = kind.advance(self._context, job, children)
        for number, (name, request) in enumerate(step.submit, start=len(children)):
            request = {"priority": job.priority, **request}
            key = f"{CHILD}{job.id}#{number}"
            self.submit(name, request, client_key=key, owner=job.owner, parent=job.id, request_id=job.request_id)
        for child in step.resume:
            with suppress(Conflict):  # its owner was faster
                self._store.resume(child)
        for child, why in step.cancel:
            with suppress(Conflict):  # it ended in this moment
                self._store.ask_cancel(child, why=why)
        if step.error is not None:
            self._store.move(job, "failed", error=step.error)
        elif step.result is not None:
            self._store.move(job, "succeeded", result=kind.finish(self._context, job.id, job.spec, step.result))

    def _cancel(self, job: Job, children: list[Job]) -> None:
        open_ones = self._end_children(children)
        if not open_ones:
            self._store.move(job, "cancelled")

    def _end_children(self, children: list[Job]) -> list[Job]:
        """Cancel those that have not ended, which they are."""
        open_ones = [child for child in children if not child.is_final]
        for child in open_ones:
            if not child.cancel:
                with suppress(Conflict):  # it ended in this moment
                    self._store.ask_cancel(child.id)
        return open_ones


MANY = 10_000  # more jobs than one job submits


def _fingerprint(kind: str, request: Mapping[str, Any]) -> str:
    """What tells one request from another, whatever the order of its names."""
    return hashlib.sha256(json.dumps([kind, request], sort_keys=True).encode()).hexdigest()


def find_kind(name: str) -> Kind:
    """Raises Refused with the nearest kind."""
    if name not in KINDS:
        raise Refused(f"There is no kind of job {name!r}.", hint=nearest(name, KINDS), code="unknown-kind")
    return KINDS[name]


def _priority(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value not in PRIORITIES:
        low, high = PRIORITIES[0], PRIORITIES[-1]
        raise Refused(f"priority={value!r} is not accepted.", hint=f"Give a whole number from {low} to {high}.")
    return value


def _needs(request: Mapping[str, Any]) -> dict[str, Any]:
    needs = mapping_of(request, "needs")
    for name, value in needs.items():
        if name not in NEEDS:
            raise Refused(f"needs has no {name!r}.", hint=nearest(name, NEEDS), code="unknown-setting")
        if name == "preemptible":
            if not isinstance(value, bool):
                raise Refused(f"needs.preemptible={value!r} is not accepted.", hint="Give true or false.")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST[name]:
            raise Refused(f"needs.{name}={value!r} is not accepted.", hint=f"Give more than 0, at most {MOST[name]}.")
    if "cores" in needs and int(needs["cores"]) != needs["cores"]:
        raise Refused(f"needs.cores={needs['cores']!r} is not accepted.", hint="Give a whole number.")
    return needs


def _with(demand: Demand, needs: Mapping[str, Any]) -> Demand:
    """What the request says, over what the kind worked out."""
    if "cores" in needs:
        demand = replace(demand, cores=int(needs["cores"]))
    if "memory_gb" in needs:
        demand = replace(demand, memory_bytes=int(needs["memory_gb"] * GIB))
    if "gpu_memory_gb" in needs:
        if demand.gpus == 0:
            raise Refused("needs.gpu_memory_gb is given, and the job runs on the CPU.", hint="Add --device cuda.")
        demand = replace(demand, gpu_memory_bytes=int(needs["gpu_memory_gb"] * GIB))
    return demand
