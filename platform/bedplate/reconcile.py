"""Make the endpoints that are wished for real: replicas started, watched, replaced, stopped; routes handed down.

A replica gets traffic only after it answered its own smoke request (its /health says so). One that is to go leaves
the routes first and is stopped after the gateway has read them. `tick()` is called over and over by one thread.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from bedplate import spawn
from bedplate.compute import Shortage
from bedplate.endpoints import MAX_STARTS, REAL_TIME, Deployment, EndpointStore, Replica
from bedplate.graphs import Graphs
from bedplate.home import Home
from bedplate.leases import Leases
from bedplate_registry.durable import write_json
from bedplate_registry.errors import BedplateError
from bedplate_registry.registry import Registry
from bedplate_serving.log_lines import last_event
from bedplate_serving.unix_sockets import is_listening, no_tls, short_path

__all__ = ["Reconciler"]

log = logging.getLogger(__name__)

EPOCH = 1  # a replica is started once; its successor is another replica
HEALTH_SECONDS = 2.0  # between two looks at a ready replica
HEALTH_FAILURES = 5  # looks without an answer before a replica counts as frozen
START_SECONDS = 600.0  # a large model may take minutes to load
LEASE_SECONDS = 30.0  # without a beat of its supervisor
DRAIN_SECONDS = 1.0  # the gateway reads new routes within a fifth of that
MAX_BODY_BYTES = 8 << 20


class Reconciler:
    """Replicas of all deployments, and routes.json."""

    def __init__(
        self,
        home: Home,
        registry: Registry,
        store: EndpointStore,
        handed_down: Callable[[], dict[str, Any]],
        leases: Leases,
        graphs: Graphs,
    ) -> None:
        """`handed_down` is what the routing snapshot holds besides endpoints: the valid keys, and gateway_settings."""
        self._home, self._registry, self._store, self._leases = home, registry, store, leases
        self._handed_down, self._graphs = handed_down, graphs
        self._silence = spawn.Silence()
        self._healthy: dict[str, Replica] = {}
        self._failures: dict[str, int] = {}
        self._first_seen: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._stopping: dict[str, float] = {}
        self._routes: dict[str, Any] | None = None
        self._writing = Lock()

    def tick(self) -> bool:
        """One round; says whether replicas come or go.

        Whatever is wrong with one of them, the others are looked after, and a revoked key leaves the routes.
        """
        wished = {(row.endpoint, row.name): row for row in self._store.deployments()}
        replicas = self._store.replicas()
        for replica in replicas:
            with _logged(f"replica {replica.id} of {replica.endpoint}"):
                self._watch(replica, wished.get((replica.endpoint, replica.deployment)))
        for deployment in wished.values():
            with _logged(f"deployment {deployment.endpoint}/{deployment.name}"):
                self._scale(deployment)
        with self._writing:
            self._write_routes()
            for replica in self._healthy.values():  # said to be ready only now that the gateway can find them
                self._store.move_replica(replica, "ready")
            self._healthy.clear()
        return any(replica.state != "ready" for replica in replicas)

    def folder(self, replica_id: str) -> Path:
        return self._home.run / "r" / replica_id

    def log_file(self, endpoint: str, deployment: str) -> Path:
        return self._home.logs / f"{endpoint}-{deployment}.log"

    # --- one replica ---

    def _watch(self, replica: Replica, deployment: Deployment | None) -> None:
        held = spawn.Held(self.folder(replica.id), EPOCH)
        if held.exit is not None:
            self._gone(replica, deployment)
        elif held.has_died or self._is_silent(replica, held):
            if held.kill():  # else something of it is left, and holds its place
                self._gone(replica, deployment)
        elif replica.state == "stopping":
            self._stop(replica, held)
        elif deployment is None:
            self._store.move_replica(replica, "stopping")
        elif replica.state == "starting":
            self._await_ready(replica, deployment, held)
        else:
            self._look(replica, deployment, held)

    def _is_silent(self, replica: Replica, held: spawn.Held) -> bool:
        beat = held.beat
        return self._silence.seconds(replica.id, beat) > (spawn.HELD_SECONDS if beat is None else LEASE_SECONDS)

    def _await_ready(self, replica: Replica, deployment: Deployment, held: spawn.Held) -> None:
        if self._is_healthy(replica):
            self._keep_sample(replica, deployment)
            self._healthy[replica.id] = replica
        elif time.monotonic() - self._first_seen.setdefault(replica.id, time.monotonic()) > START_SECONDS:
            held.kill()

    def _look(self, replica: Replica, deployment: Deployment, held: spawn.Held) -> None:
        if time.monotonic() - self._looked.get(replica.id, float("-inf")) < HEALTH_SECONDS:
            return
        self._looked[replica.id] = time.monotonic()
        failures = 0 if self._is_healthy(replica) else self._failures.get(replica.id, 0) + 1
        self._failures[replica.id] = failures
        if not failures:
            self._keep_sample(replica, deployment)  # where it did not say it in time, or was there before samples were
        if failures >= HEALTH_FAILURES:
            log.warning("replica %s of %s answers no more; it is replaced", replica.id, replica.endpoint)
            held.kill()

    def _keep_sample(self, replica: Replica, deployment: Deployment) -> None:
        """What the first replica was tried with, and what it answered, is shown with the deployment from then on."""
        wished = deployment.sample or {}
        if wished.get("answer") is not None:
            return
        info = self._ask(replica, "/info")
        sample = info.json().get("sample") if info is not None else None
        if sample and wished.get("request") in (None, sample["request"]):
            self._store.keep_sample(deployment, sample)

    def _is_healthy(self, replica: Replica) -> bool:
        answer = self._ask(replica, "/health")
        return answer is not None and answer.status_code == 200

    def _ask(self, replica: Replica, path: str) -> httpx.Response | None:
        socket = self.folder(replica.id) / "s"
        if not is_listening(socket):
            return None
        try:
            transport = httpx.HTTPTransport(uds=short_path(socket), verify=no_tls())
            with httpx.Client(transport=transport, timeout=1.0) as client:
                return client.get(f"http://replica{path}")
        except httpx.HTTPError:
            return None

    def _stop(self, replica: Replica, held: spawn.Held) -> None:
        since = self._stopping.setdefault(replica.id, time.monotonic())
        if time.monotonic() - since > DRAIN_SECONDS:
            held.stop()

    def _gone(self, replica: Replica, deployment: Deployment | None) -> None:
        """Its process has ended: forget it, and count a start that failed."""
        log.info("replica %s of %s/%s has ended", replica.id, replica.endpoint, replica.deployment)
        if replica.state == "starting" and deployment is not None:
            self._count_failed_start(deployment)
        self._store.drop_replica(replica)
        shutil.rmtree(self.folder(replica.id), ignore_errors=True)
        self._silence.forget(replica.id)
        for memory in (self._failures, self._first_seen, self._looked, self._stopping):
            memory.pop(replica.id, None)

    def _count_failed_start(self, deployment: Deployment) -> None:
        starts = (deployment.error or {}).get("starts", 0) + 1
        log_file = self.log_file(deployment.endpoint, deployment.name)
        lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
        self._store.set_error(
            deployment,
            {
                "code": "replica-failed",
                "starts": starts,
                "message": f"A replica of {deployment.model} did not start. Its last line: {last_event(lines)}",
                "hint": f"Read more with: bedplate endpoints logs {deployment.endpoint}",
            },
        )

    # --- one deployment ---

    def _scale(self, deployment: Deployment) -> None:
        alive = [row for row in self._store.replicas(deployment.endpoint, deployment.name) if row.state != "stopping"]
        for replica in alive[deployment.instances :]:
            self._store.move_replica(replica, "stopping")
        if deployment.is_broken:
            return
        for _ in range(deployment.instances - len(alive)):
            self._start(deployment)
        if deployment.error and sum(row.state == "ready" for row in alive) >= deployment.instances:
            self._store.set_error(deployment, None)

    def _start(self, deployment: Deployment) -> None:
        try:
            version = self._registry.models.get(deployment.model)
            files = self._registry.models.files_dir(version)
        except BedplateError as exc:
            self._store.set_error(deployment, {**exc.to_json(), "starts": MAX_STARTS})
            return
        lease = self._leases.for_replica(deployment.endpoint, deployment.demand)
        if isinstance(lease, Shortage):
            self._store.note_waiting(deployment, lease.message)
            return
        replica = self._store.add_replica(deployment, lease)
        if replica is None:  # deleted a moment ago
            return
        folder = self.folder(replica.id)
        folder.mkdir(parents=True, exist_ok=True)
        derived = self._home.derived_of(version.digest)
        derived.mkdir(parents=True, exist_ok=True)  # what is put there later is seen in the cage, too
        spec = {
            "socket": str(folder / "s"),
            "model_dir": str(files),
            "model_ref": version.ref,
            "task": version.facts.task,
            "endpoint": deployment.endpoint,
            "deployment": deployment.name,
            "device": deployment.device,
            "threads": os.cpu_count() or 1,
            "derived_dir": str(derived),
            "sample": (deployment.sample or {}).get("request"),
        }
        write_json(folder / "replica.json", spec)
        spawn.start(
            folder,
            EPOCH,
            [sys.executable, "-m", "bedplate_serving.replica", str(folder / "replica.json")],
            log=self.log_file(deployment.endpoint, deployment.name),
            env=lease.environment(),
            read_only=[self._home.registry, derived],
            hidden=self._home.private_folders,
            visible=[self._home.registry, derived],
        )
        if deployment.device == "cpu":
            with _logged(f"the graph of {version.ref}"):  # the replica answers without it
                self._graphs.ask_for(version)

    # --- the gateway's snapshot ---

    def write_routes(self) -> None:
        """Hand down what is in force. Any thread may call it: a revoked key does not wait for a round of the loop."""
        with self._writing:
            self._write_routes()

    def _write_routes(self) -> None:
        routes = {"max_body_bytes": MAX_BODY_BYTES, **self._handed_down(), "endpoints": self._endpoint_table()}
        if routes != self._routes:
            generation = int(time.time() * 1000)
            write_json(self._home.routes, {"generation": generation, **routes})
            self._routes = json.loads(json.dumps(routes))

    def _endpoint_table(self) -> dict[str, Any]:
        ready: dict[tuple[str, str], list[dict[str, str]]] = {}
        for replica in self._store.replicas():
            if replica.state == "ready" or (replica.state == "starting" and replica.id in self._healthy):
                entry = {"id": replica.id, "socket": str(self.folder(replica.id) / "s")}
                ready.setdefault((replica.endpoint, replica.deployment), []).append(entry)
        table: dict[str, Any] = {row.name: {"task": row.task, "deployments": {}} for row in self._store.all(REAL_TIME)}
        for row in self._store.deployments():
            if row.endpoint in table:
                table[row.endpoint]["deployments"][row.name] = {
                    "model": row.model,
                    "traffic": row.traffic,
                    "replicas": ready.get((row.endpoint, row.name), []),
                }
        return table


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:  # one damaged replica must not stop the others, nor keep a revoked key in the routes
        log.exception("%s cannot be looked after", what)
