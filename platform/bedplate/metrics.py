"""What Prometheus is told at /metrics: requests to the control plane, and how things stand at the moment of a scrape.

What the gateway counts of scoring is asked of it over its own socket and follows. Labels are bounded: methods of HTTP,
templates of routes, kinds and states of ours, and names of endpoints that there are. Seconds, bytes and ratios.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import sqlalchemy as sa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

import bedplate
from bedplate.compute import Gpu, Holder
from bedplate.database import jobs as table
from bedplate.home import Home
from bedplate.workspace import Workspace
from bedplate_registry.errors import Unavailable
from bedplate_registry.registry import Registry
from bedplate_registry.store import VersionStore
from bedplate_serving.unix_sockets import is_listening, no_tls, short_path

__all__ = ["CONTENT_TYPE", "Metrics", "ask_gateway"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GATEWAY_SECONDS = 1.0
STORE_SECONDS = 60.0  # between two walks through the registry: it is as large as it is


class Metrics:
    """All that one server tells. Any thread may call it."""

    def __init__(self, workspace: Workspace) -> None:
        # A time beside each counter doubles their number and is of no use here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._home = workspace.home
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "bedplate_http_requests_total",
            "Requests that the control plane answered, by the template of their route; empty where there is none.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "bedplate_http_request_seconds",
            "From the head of a request to the control plane to the head of its answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._gateway_up = Gauge(
            "bedplate_gateway_up", "Whether the gateway told what it counts.", registry=self._registry
        )
        self._registry.register(_State(workspace))
        ProcessCollector(registry=self._registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format, what the gateway counts included."""
        gateway = ask_gateway(self._home)
        self._gateway_up.set(gateway is not None)
        return generate_latest(self._registry) + (gateway or b"")


def ask_gateway(home: Home) -> bytes | None:
    """What the gateway counts, as Prometheus reads it; None where it does not answer."""
    if not is_listening(home.scoring_socket):
        return None
    try:
        transport = httpx.HTTPTransport(uds=short_path(home.scoring_socket), verify=no_tls())
        with httpx.Client(transport=transport, timeout=GATEWAY_SECONDS) as client:
            return client.get("http://gateway/gateway/metrics").raise_for_status().content
    except httpx.HTTPError:
        return None


class _State(Collector):
    """How things stand, asked at each scrape."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._store = _Store(workspace.registry)

    def describe(self) -> Iterable[Metric]:
        return []  # or registering would ask the database

    def collect(self) -> Iterator[Metric]:
        version = GaugeMetricFamily("bedplate_build_info", "Always 1: what runs.", labels=["version", "python"])
        version.add_metric([bedplate.__version__, platform.python_version()], 1)
        yield version
        round_age = time.monotonic() - self._workspace.last_round
        yield GaugeMetricFamily(
            "bedplate_loop_age_seconds", "Since the loop that works on jobs and endpoints ended a round.", round_age
        )
        free = shutil.disk_usage(self._workspace.home.path).free
        yield GaugeMetricFamily("bedplate_disk_free_bytes", "Free for us where the home is.", free)
        yield from self._store.families()
        try:
            known = [*self._jobs(), *self._compute(), *self._replicas(), self._audit()]
        except Unavailable:
            known = []
        yield GaugeMetricFamily("bedplate_database_up", "Whether the metadata database answered.", int(bool(known)))
        yield from known

    def _jobs(self) -> Iterator[Metric]:
        kind, state = table.c.kind, table.c.state
        counted = sa.select(kind, state, sa.func.count().label("jobs")).group_by(kind, state)
        jobs = GaugeMetricFamily("bedplate_jobs", "Jobs by kind and state.", labels=["kind", "state"])
        for row in self._workspace.database.rows(counted):
            jobs.add_metric([row["kind"], row["state"]], row["jobs"])
        yield jobs
        oldest = self._workspace.database.row(
            sa.select(sa.func.min(table.c.created).label("created")).where(state == "queued")
        )
        age = max(0.0, time.time() - oldest["created"]) if oldest and oldest["created"] else 0.0
        text = "Since the oldest queued job was submitted; 0 where none waits."
        yield GaugeMetricFamily("bedplate_queue_age_seconds", text, age)

    def _compute(self) -> Iterator[Metric]:
        inventory, holders = self._workspace.machine.inventory(), self._workspace.leases.holders()
        shown = self._workspace.leases.describe()
        yield GaugeMetricFamily("bedplate_cores", "Cores of this machine.", inventory.cores)
        yield GaugeMetricFamily("bedplate_cores_free", "Cores that nobody leases.", shown["free"]["cores"])
        yield GaugeMetricFamily("bedplate_memory_bytes", "Memory of this machine.", inventory.memory_bytes)
        yield GaugeMetricFamily(
            "bedplate_memory_free_bytes", "Memory that nobody leases.", shown["free"]["memory_bytes"]
        )
        yield from _gpus(inventory.gpus, holders)

    def _replicas(self) -> Iterator[Metric]:
        counted: dict[tuple[str, str], int] = {}
        for replica in self._workspace.endpoints.replicas():
            key = (replica.endpoint, replica.state)
            counted[key] = counted.get(key, 0) + 1
        replicas = GaugeMetricFamily("bedplate_replicas", "Replicas of endpoints.", labels=["endpoint", "state"])
        for key, number in counted.items():
            replicas.add_metric(key, number)
        yield replicas
        wished = GaugeMetricFamily("bedplate_replicas_wished", "Replicas that are to be.", labels=["endpoint"])
        instances: dict[str, int] = {}
        for row in self._workspace.endpoints.deployments():
            instances[row.endpoint] = instances.get(row.endpoint, 0) + row.instances
        for endpoint, number in instances.items():
            wished.add_metric([endpoint], number)
        yield wished

    def _audit(self) -> Metric:
        return CounterMetricFamily("bedplate_audit_entries", "Entries of the audit log.", self._workspace.audit.count())


def _gpus(gpus: Iterable[Gpu], holders: Iterable[Holder]) -> Iterator[Metric]:
    labels = ["gpu", "uuid", "name"]
    memory = GaugeMetricFamily("bedplate_gpu_memory_bytes", "Memory of each card.", labels=labels)
    leased = GaugeMetricFamily("bedplate_gpu_memory_leased_bytes", "What jobs and replicas lease of it.", labels=labels)
    others = GaugeMetricFamily("bedplate_gpu_memory_others_bytes", "What other programs use of it.", labels=labels)
    busy = GaugeMetricFamily("bedplate_gpu_utilization_ratio", "How busy the card is, from 0 to 1.", labels=labels)
    usable = GaugeMetricFamily("bedplate_gpu_usable", "Whether it can be leased at all.", labels=labels)
    holders = tuple(holders)
    for gpu in gpus:
        card = [str(gpu.index), gpu.uuid, gpu.name]
        shares = [held.lease.gpu_memory_bytes for held in holders if gpu.uuid in held.lease.gpus]
        memory.add_metric(card, gpu.memory_bytes)
        leased.add_metric(card, sum(gpu.memory_bytes if share is None else share for share in shares))
        others.add_metric(card, gpu.others_bytes)
        usable.add_metric(card, int(gpu.is_usable))
        if gpu.utilization is not None:
            busy.add_metric(card, gpu.utilization / 100)
    yield from (memory, leased, others, busy, usable)


class _Store:
    """How large the registry is, counted once a minute at most."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._counted = float("-inf")
        self._families: list[Metric] = []

    def families(self) -> list[Metric]:
        if time.monotonic() - self._counted > STORE_SECONDS:
            self._families = list(self._count())
            self._counted = time.monotonic()
        return self._families

    def _count(self) -> Iterator[Metric]:
        sizes = [entry.stat().st_size for entry in _files(self._registry.blobs.root / "sha256")]
        yield GaugeMetricFamily("bedplate_store_bytes", "Bytes of the registry's files, each once.", sum(sizes))
        yield GaugeMetricFamily("bedplate_store_files", "Files of the registry, each once.", len(sizes))
        versions = GaugeMetricFamily("bedplate_store_versions", "Versions in the registry.", labels=["kind"])
        for kind in ("model", "dataset"):
            store = VersionStore(self._registry.root / f"{kind}s", kind, "")
            versions.add_metric([kind], sum(len(store.numbers(name)) for name in store.names()))
        yield versions


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The plain files of a folder of folders; one that is taken away meanwhile is not there."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))
