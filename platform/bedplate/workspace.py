"""What one server can do, as plain calls. The REST routes and Studio call these and nothing below them."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bedplate import spawn
from bedplate.attempts import JobProcesses
from bedplate.audit import AuditLog
from bedplate.compute import Demand
from bedplate.database import Database
from bedplate.dataset_uses import uses_of_dataset
from bedplate.endpoints import BATCH, MAX_STARTS, REAL_TIME, Deployment, EndpointStore, Replica, Wished, check_sample
from bedplate.gateway_process import Address, GatewayProcess
from bedplate.gateway_settings import gateway_settings
from bedplate.graphs import Graphs
from bedplate.home import Home
from bedplate.intake import Intake, Plan
from bedplate.job_folder import DamagedFolder, JobFolder
from bedplate.jobs import Job, JobStore
from bedplate.keys import KeyStore, digest
from bedplate.kinds import KINDS, Context
from bedplate.kinds.base import check_can_score, choose_device, replica_demand
from bedplate.leases import Leases, never_all
from bedplate.licensing import check_license
from bedplate.machine import LocalMachine, Machine, MachineForJobs
from bedplate.model_uses import uses_of
from bedplate.reconcile import Reconciler
from bedplate.scheduler import Scheduler
from bedplate.sessions import Links, SessionStore
from bedplate.settings import Settings
from bedplate.users import LOCAL, UserStore
from bedplate_registry.errors import Conflict, NotFound, Refused, Unavailable
from bedplate_registry.gates import Gate, parse_rules
from bedplate_registry.models import ModelVersion, in_use
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from bedplate_registry.search import Query

__all__ = ["Workspace"]

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2
REST_SECONDS = 0.05  # between two rounds, however often we are woken: a burst of submissions is not a round each
IDLE_TICK_SECONDS = 0.5  # a revoked key leaves the gateway within a second all the same
KEEP_SECONDS = 5.0  # between two looks at whether the database is still ours
STOP_SECONDS = 5.0  # for all that `stop --all` ends
LOOP_SECONDS = 10.0  # a round of the loop takes far less, unless the disk hangs


class Workspace:
    """The stores of one home, and the loop that works on them."""

    def __init__(self, settings: Settings, *, address: Address | None, machine: Machine | None = None) -> None:
        """`address` is where the gateway listens; None for a private server, whose gateway waits for an endpoint."""
        self.settings = settings
        self.home = Home(settings.home)
        self.home.prepare()
        self.database = Database(self.home.database, settings.database_url, home_id=self.home.id)
        self.database.hold()
        self.registry = Registry(self.home.registry)
        self.jobs = JobStore(self.database)
        self.users = UserStore(self.database)
        self.keys = KeyStore(self.database)
        self.sessions = SessionStore(self.database, hours=settings.session_hours)
        self.links = Links()
        self.audit = AuditLog(self.database)
        self.endpoints = EndpointStore(self.database)
        self.machine = machine or LocalMachine(self.home.path)
        for_jobs = MachineForJobs(self.machine, settings.endpoint_gpus)
        is_shared = address is not None and not address.takes_token
        self.context = Context(settings, self.home, self.registry, self.endpoints, for_jobs, self.jobs, is_shared)
        self.leases = Leases(self.machine, for_jobs, self.jobs, self.endpoints)
        self._deletions = threading.Lock()  # held where what is kept is deleted, and where something new uses it
        self.intake = Intake(self.context, self.jobs, self._deletions)
        self.attempts = JobProcesses(self.context)
        self.scheduler = Scheduler(
            self.jobs,
            self.attempts,
            self.leases,
            advance={kind.name: self.intake.advance for kind in KINDS.values() if kind.advance is not None},
            max_jobs=settings.max_jobs,
        )
        self.graphs = Graphs(self.context, self.jobs, self.endpoints)
        self.reconciler = Reconciler(
            self.home, self.registry, self.endpoints, self._for_gateway, self.leases, self.graphs
        )
        self.gateway = GatewayProcess(self.home)
        self.is_private = address is None
        # A private server leaves a gateway that is already there where it is, so that endpoints keep their URL.
        self._address = address or self.gateway.address or Address("127.0.0.1", settings.port)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._loop = threading.Thread(target=self._run, name="workspace", daemon=True)
        self.last_used = time.monotonic()
        self.open_requests = 0
        self.gateway_problem: str | None = None
        self.is_replaced = False  # another server took the database over
        self.is_stopping = False  # answers that go on as long as a job does end now
        self._database_kept = time.monotonic()
        self.last_round = time.monotonic()  # when the loop ended one

    # --- jobs ---

    def submit(self, kind: str, request: Mapping[str, Any], **call: Any) -> Job:
        """Check and queue a job. Raises Refused, NotFound or Conflict before anything is started.

        `call` is what the caller says of itself: client_key, owner, request_id.
        """
        job = self.intake.submit(kind, request, **call)
        self._wake.set()
        return job

    def plan(self, kind: str, request: Mapping[str, Any]) -> Plan:
        """A job that is checked and resolved and not submitted: what `--dry-run` shows."""
        return self.intake.prepare(kind, request)

    def rerun_job(self, job_id: str, **call: Any) -> Job:
        """A new job like another one, whatever became of that."""
        job = self.intake.rerun(job_id, **call)
        self._wake.set()
        return job

    def cancel_job(self, job_id: str) -> Job:
        """A queued job is cancelled at once, a running one within five seconds, with all its processes."""
        job = self.jobs.ask_cancel(job_id)
        self._wake.set()
        return job

    def resume_job(self, job_id: str, *, start_over: bool = False) -> Job:
        """Queue a failed or cancelled job again, from its last complete checkpoint or from the start."""
        job = self.jobs.retry(job_id) if start_over else self.jobs.resume(job_id)
        self._wake.set()
        return job

    def describe_job(self, job: Job) -> dict[str, Any]:
        """The job as REST shows it: its row and the last progress of its current attempt."""
        return self.describe_jobs([job])[0]

    def describe_jobs(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """As `describe_job`, with one look at the line for all of them."""
        places = self.jobs.positions(jobs)
        return [self._describe_job(job, places.get(job.id)) for job in jobs]

    def _describe_job(self, job: Job, place: tuple[int, int] | None) -> dict[str, Any]:
        progress = None
        if job.state == "running":
            with suppress(DamagedFolder):  # it is the scheduler's to say so
                progress = self.job_folder(job.id).last_progress(job.epoch)
        return {
            "id": job.id,
            "kind": job.kind,
            "state": job.state,
            "is_final": job.is_final,
            "attempt": job.epoch,
            "priority": job.priority,
            "preemptible": job.preemptible,
            "parent": job.parent,
            "owner": job.owner,
            "request_id": job.request_id,
            "created": job.created,
            "started": job.started,
            "finished": job.finished,
            "archived": job.archived,
            "waiting": _why_waiting(job, place),
            "waiting_for": job.waiting_for if job.state == "queued" else None,
            "position": place[0] if place else None,
            "demand": vars(job.demand),
            "lease": {**job.lease.to_json(), "since": job.leased} if job.lease else None,
            "progress": progress,
            "result": job.result,
            "error": job.error,
            "spec": job.spec,
        }

    def job_folder(self, job_id: str) -> JobFolder:
        return self.attempts.folder(job_id)

    def open_output(self, job_id: str, name: str) -> int:
        """A file in the job's outputs, open to be read; whoever takes it closes it. Raises NotFound.

        A worker writes that folder, and may put links there to what it may not read: none is followed.
        """
        outputs = self.job_folder(job_id).outputs
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with suppress(OSError, ValueError):
            folder = os.open(outputs, flags | os.O_DIRECTORY)
            try:
                number = os.open(name, flags, dir_fd=folder) if Path(name).name == name else -1
            finally:
                os.close(folder)
            if number >= 0 and stat.S_ISREG(os.fstat(number).st_mode):
                return number
            if number >= 0:
                os.close(number)
        files = () if outputs.is_symlink() else outputs.glob("*")
        have = sorted(file.name for file in files) or ["nothing yet"]
        raise NotFound(f"Job {job_id} has no output {name!r}.", hint=f"It has: {', '.join(have)}.")

    # --- endpoints ---

    def deploy(self, name: str, model: str, *, dry_run: bool = False, **options: Any) -> dict[str, Any]:
        """Wish for a deployment. A new endpoint comes with a key, shown this once.

        With `dry_run` all is checked and nothing is kept: what would come of it is returned. Raises Conflict for a
        base, which has no head to answer with, for an archived version, for a license that the policy denies or that
        nobody accepted (option `accept_license`), or where the port is taken.
        """
        version = self._deployable(name, model, options, keep=not dry_run)
        task = check_can_score(version)
        if options.get("sample") is not None:
            check_sample(options["sample"])
        device = choose_device(self.machine, options.pop("device", None))
        demand = replica_demand(self.registry, self.machine, version, device, options.pop("gpu_memory_gb", None))
        self._check_fits(version.ref, demand, int(options.get("instances", 1)))
        if self.gateway.address is None:
            self._address.check_free()
        with self._kept(version.ref):
            wished = self.endpoints.deploy(
                name, version.ref, task, device=device, demand=demand, dry_run=dry_run, **options
            )
        if dry_run:
            needs = {"instances": options.get("instances", 1), "demand": demand.to_json()}
            return {**_planned(name, version, device, wished, options), "kind": REAL_TIME, **needs}
        self._wake.set()
        self.gateway.ensure(self._address)
        described = self.describe_endpoint(name)
        if wished.is_new:
            _, described["key"] = self.keys.rotate(name, "primary")
        return described

    def deploy_batch(
        self, name: str, model: str, *, device: str | None = None, dry_run: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Have jobs of a batch endpoint score with a model. Nothing is started until one comes, and no port is opened.

        `dry_run` and what is raised are those of `deploy`.
        """
        version = self._deployable(name, model, options, keep=not dry_run)
        task = check_can_score(version)
        device = choose_device(self.context.machine, device)
        with self._kept(version.ref):
            wished = self.endpoints.deploy(
                name, version.ref, task, device=device, kind=BATCH, dry_run=dry_run, **options
            )
        if dry_run:
            return {**_planned(name, version, device, wished, options), "kind": BATCH, "instances": 0, "demand": None}
        return self.describe_endpoint(name)

    def _deployable(self, endpoint: str, model: str, options: dict[str, Any], *, keep: bool) -> ModelVersion:
        """The version to deploy; what its license asks for is taken from the options, and an acceptance kept."""
        version = self.registry.models.get(model)
        version.check_active()
        check_license(
            self.settings,
            self.registry.models,
            version,
            accepts=bool(options.pop("accept_license", False)),
            by=options.get("owner", LOCAL.name),
            where=f"endpoint {endpoint}",
            keep=keep,
        )
        return version

    @contextmanager
    def _kept(self, ref: str) -> Iterator[None]:
        """While this is held, the version is not deleted. Raises NotFound or Conflict where it was, or was archived."""
        with self._deletions:
            self.registry.models.get(ref).check_active()
            yield

    def update_endpoint(self, name: str, *, instances: Mapping[str, int], **changes: Any) -> dict[str, Any]:
        """Change shares of the traffic and numbers of replicas. Raises Changed, NotFound, Refused."""
        for row in self.endpoints.deployments(name):
            self._check_fits(row.model, row.demand, instances.get(row.name, 0))
        self.endpoints.update(name, instances=instances, **changes)
        self._wake.set()
        return self.describe_endpoint(name)

    def _check_fits(self, model: str, demand: Demand, instances: int) -> None:
        never = never_all(self.machine.inventory(), demand, instances)
        if never is not None:
            raise Refused(
                f"This machine cannot serve {model} so often: a replica needs {never.message}.",
                hint="See what is here with: bedplate compute",
                code="does-not-fit",
            )

    def describe_endpoint(self, name: str) -> dict[str, Any]:
        """The endpoint as REST shows it, by what its kind has."""
        endpoint, rows = self.endpoints.get(name), self.endpoints.deployments(name)
        is_batch = endpoint.kind == BATCH
        shown = [_batch_json(row) for row in rows] if is_batch else self._describe_deployments(name, rows)
        states = ["ready" for _ in rows] if is_batch else [_state(row) for row in shown]
        place = f"api/v1/batch-endpoints/{name}/jobs" if is_batch else f"endpoints/{name}"
        return {
            **vars(endpoint),
            "url": f"{self._address.url}/{place}",
            "state": max(states, key=("ready", "starting", "failed").index) if states else "empty",
            "deployments": shown,
        }

    def _describe_deployments(self, name: str, rows: Sequence[Deployment]) -> list[dict[str, Any]]:
        replicas, shown = self.endpoints.replicas(name), []
        for row in rows:
            mine = [replica for replica in replicas if replica.deployment == row.name]
            ready = sum(replica.state == "ready" for replica in mine)
            own = {**vars(row), "demand": row.demand.to_json()}
            shown.append({**own, "ready": ready, "replicas": [_replica_json(replica) for replica in mine]})
        return shown

    def delete_endpoint(self, name: str, *, revision: int | None = None) -> None:
        """Raises Changed where the endpoint is not at that revision any more, NotFound."""
        self.endpoints.delete(name, revision=revision)
        self.keys.drop_endpoint(name)
        self._wake.set()

    # --- models ---

    def delete_model(self, ref: str, *, by: str, why: str = "") -> None:
        """Remove a version for good, though its manifest be damaged. Raises Conflict while anything uses it."""
        ref = str(self.registry.models.locate(ref))
        try:
            digest = self.registry.models.get(ref).digest
        except Refused:  # what was derived of a damaged one is cleared away at the next start
            digest = None
        with self._deletions:
            if uses := uses_of(ref, self.endpoints, self.jobs):
                raise in_use(ref, uses)
            self.registry.models.delete(ref, by=by, why=why)
        self.graphs.drop(ref, digest)

    def set_gate(self, model: Name, alias: str, rules: Sequence[Mapping[str, Any]], **how: Any) -> Gate:
        """The gate of an alias has these rules from now on; no dataset that they name is deleted meanwhile."""
        with self._deletions:
            parsed = parse_rules(rules, self.registry.datasets)
            return self.registry.models.set_gate(model, alias, parsed, **how)

    def delete_dataset(self, ref: str, *, by: str, why: str = "") -> None:
        """As `delete_model`, of a dataset."""
        ref = str(self.registry.datasets.locate(ref))
        with self._deletions:
            if uses := uses_of_dataset(ref, self.registry.models, self.jobs):
                raise in_use(ref, uses)
            self.registry.datasets.delete(ref, by=by, why=why)

    # --- the loop ---

    def changed(self) -> None:
        """What the gateway goes by changed: it is told at once, whatever the loop is busy with."""
        self.reconciler.write_routes()
        self._wake.set()

    def _look_once(self) -> None:
        """Have the search index made, or every folder looked at, before anybody has to wait for that."""
        try:
            if any(self.registry.models.refs()):
                self.registry.search.find(Query(), limit=1)
        except Exception:  # the first search tries again, and says what is wrong
            log.exception("the search index is not ready")

    def _run(self) -> None:
        """Work until `stop()`. Endpoints go before jobs: what they need is theirs first.

        An error in one round is logged and the next round tries again. Where there is nothing to do, rounds are rare.
        """
        self.graphs.clear()
        threading.Thread(target=self.graphs.clean, name="graphs", daemon=True).start()
        threading.Thread(target=self._look_once, name="search", daemon=True).start()
        pause = TICK_SECONDS
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            spawn.reap()
            is_busy = False
            for work in (self._keep_database, self.reconciler.tick, self.scheduler.tick, self._ensure_gateway):
                if self._stop.is_set() or self.is_replaced:
                    return
                try:
                    is_busy |= bool(work())
                except Exception:  # the loop's outer edge: one bad round must not end all work
                    log.exception("%s failed; trying again", work)
            self.last_round = time.monotonic()
            pause = TICK_SECONDS if is_busy else IDLE_TICK_SECONDS
            self._stop.wait(REST_SECONDS)

    def _for_gateway(self) -> dict[str, Any]:
        """Every valid key by its digest; the loopback token too, while nobody else reaches the port."""
        keys = self.keys.for_gateway(self.users.find)
        if self._address.takes_token and (token := self.home.token()):
            entry = {"id": "loopback-token", "scopes": ["infer"], "endpoints": None, "expires": None}
            keys[digest(token)] = {**entry, "rate": 0, "concurrency": 0}
        return {**gateway_settings(self.settings, self._address), "keys": keys}

    def _keep_database(self) -> None:
        """A database that other machines reach has one server; where another one took it over, this one leaves."""
        if time.monotonic() - self._database_kept < KEEP_SECONDS:
            return
        try:
            self.database.hold(patience_seconds=0)
        except Conflict:
            log.exception("this server leaves")
            self.is_replaced = True
        self._database_kept = time.monotonic()

    def start(self) -> None:
        """Begin to work. The audit log tells since when this server did; one that cannot be written changes nothing."""
        with suppress(Unavailable):
            self.audit.record("server", "server.started", {"pid": os.getpid(), "private": self.is_private})
        self._loop.start()

    def stop(self) -> None:
        """End the loop, and wait until the round it is in is over."""
        self.is_stopping = True
        self._stop.set()
        self._wake.set()
        if self._loop.is_alive():
            self._loop.join(LOOP_SECONDS)

    @property
    def address(self) -> Address:
        return self._address

    @property
    def may_leave(self) -> bool:
        """A private server leaves when nobody has used it for a while and nothing runs, or when its home is gone.

        A request that is still worked on, such as to verify all files, is use.
        """
        if self.is_replaced:
            return True
        if self.is_private and not self.home.run.exists():
            return True
        idle = not self.open_requests and time.monotonic() - self.last_used > self.settings.idle_seconds
        return self.is_private and idle and not any(self.jobs.counts().values()) and not self.endpoints.all(REAL_TIME)

    def _ensure_gateway(self) -> None:
        if self.is_private and not self.endpoints.all(REAL_TIME):
            if self.gateway.address is not None:
                self.gateway.stop()  # the last endpoint is gone: the port is another's again
            return
        try:
            self.gateway.ensure(self._address)
            self.gateway_problem = None
        except Conflict as exc:
            if self.gateway_problem is None:
                log.error("%s %s", exc.message, exc.hint)
            self.gateway_problem = exc.message

    def stop_all(self) -> None:
        """Stop what outlives the server: jobs (they can be resumed), replicas and the gateway."""
        self.stop()
        for job in (*self.jobs.queue(), *self.jobs.running()):
            with suppress(Conflict):  # it ended in this moment
                self.jobs.ask_cancel(job.id)
        held = [spawn.Held(self.job_folder(job.id).path, job.epoch) for job in self.jobs.running()]
        held += [spawn.Held(self.reconciler.folder(replica.id), 1) for replica in self.endpoints.replicas()]
        self.gateway.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while held := [one for one in held if one.was_ordered and one.exit is None and not one.has_died]:
            for one in held:  # again and again: one that is just starting does not hear it yet
                one.stop() if time.monotonic() < deadline else one.kill()
            if time.monotonic() > deadline:
                return
            time.sleep(TICK_SECONDS)

    def status(self) -> dict[str, Any]:
        address, counts = self.gateway.address, self.jobs.counts()
        return {
            "home": str(self.home.path),
            "pid": os.getpid(),
            "private": self.is_private,
            "url": address.url if address else None,
            "gateway_problem": self.gateway_problem,
            "jobs_running": counts["running"],
            "jobs_queued": counts["queued"],
            "endpoints": len(self.endpoints.all()),
        }


def _planned(
    name: str, version: ModelVersion, device: str, wished: Wished, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What would come of a deployment, whatever the endpoint's kind."""
    deployment = options.get("deployment", "main")
    about = {"name": name, "task": version.facts.task, "deployment": deployment, "model": version.ref, "device": device}
    return {**about, **vars(wished)}


def _state(deployment: dict[str, Any]) -> str:
    if deployment["ready"] >= deployment["instances"]:
        return "ready"
    return "failed" if (deployment["error"] or {}).get("starts", 0) >= MAX_STARTS else "starting"


def _batch_json(row: Deployment) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("endpoint", "name", "model", "device", "traffic", "created")}


def _replica_json(replica: Replica) -> dict[str, Any]:
    return {**vars(replica), "lease": replica.lease.to_json() if replica.lease else None}


def _why_waiting(job: Job, place: tuple[int, int] | None) -> str | None:
    if job.state != "queued":
        return None
    why = f"waits for {job.waiting or 'its turn'}"
    return f"{why}; position {place[0]} of {place[1]}" if place else why  # without one it has just left the line
