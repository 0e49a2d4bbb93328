"""Endpoints as desired state: deployments of model versions, their instances and share of the traffic."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bedplate.compute import Demand, Lease
from bedplate.database import Database, deployments, endpoints, replicas
from bedplate_registry.errors import Changed, Conflict, NotFound, Refused

__all__ = [
    "BATCH",
    "MAX_INSTANCES",
    "MAX_STARTS",
    "REAL_TIME",
    "Deployment",
    "Endpoint",
    "EndpointStore",
    "Replica",
    "Wished",
    "check_sample",
]

REAL_TIME, BATCH = "real-time", "batch"  # kinds of endpoints, under one set of names

NAME = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
MAX_INSTANCES = 16
MAX_STARTS = 3  # failed starts in a row before a deployment is said to be broken
MAX_SAMPLE_BYTES = 64 << 10  # it is shown wherever the endpoint is
NEW_NAME = "Give the new deployment a name of its own (--deployment NAME), then shift traffic to it."


@dataclass(frozen=True)
class Wished:
    """What comes of a wish for a deployment: whether its endpoint is made for it, and the endpoint's shares then."""

    is_new: bool
    traffic: dict[str, int]  # in percent, by deployment


@dataclass(frozen=True)
class Deployment:
    """One model version behind an endpoint. `traffic` is in percent."""

    endpoint: str
    name: str
    model: str
    instances: int
    device: str
    traffic: int
    demand: Demand  # of each replica
    waiting: str | None  # what a replica that is not there waits for
    created: float
    error: dict[str, Any] | None
    sample: dict[str, Any] | None  # {"request": a body of the Hub's dialect, "answer": None until a replica gave it}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Deployment:
        return cls(**{**row, "demand": Demand.from_json(row["demand"])})

    @property
    def is_broken(self) -> bool:
        """Its replicas failed to start too often: none is started until it is deployed again."""
        return bool((self.error or {}).get("starts", 0) >= MAX_STARTS)


@dataclass(frozen=True)
class Endpoint:
    """A name that is scored at /endpoints/NAME; or of kind `batch`, whose jobs score with its model."""

    name: str
    task: str
    created: float
    kind: str  # real-time or batch
    revision: int  # counts the changes of what is wished
    owner: str


@dataclass(frozen=True)
class Replica:
    """One process of a deployment. States: starting, ready, stopping, failed."""

    id: str
    endpoint: str
    deployment: str
    state: str
    lease: Lease | None
    leased: float | None
    created: float

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Replica:
        return cls(**{**row, "lease": Lease.from_json(row["lease"]) if row["lease"] else None})


class EndpointStore:
    """All reading and writing of endpoint rows. It changes what is wished; reconcile.py makes it so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, kind: str | None = None) -> list[Endpoint]:
        """Those of one kind, or all, by name."""
        query = sa.select(endpoints).order_by(endpoints.c.name)
        if kind is not None:
            query = query.where(endpoints.c.kind == kind)
        return [Endpoint(**row) for row in self._database.rows(query)]

    def get(self, name: str, kind: str | None = None) -> Endpoint:
        """Raises NotFound, for one of another kind too."""
        row = self._database.row(sa.select(endpoints).where(endpoints.c.name == name))
        if row is None or kind not in (None, row["kind"]):
            raise _unknown(name, None if row is None else row["kind"])
        return Endpoint(**row)

    def deployments(self, endpoint: str | None = None) -> list[Deployment]:
        query = sa.select(deployments).order_by(deployments.c.created)
        if endpoint is not None:
            query = query.where(deployments.c.endpoint == endpoint)
        return [Deployment.from_row(row) for row in self._database.rows(query)]

    def replicas(self, endpoint: str | None = None, deployment: str | None = None) -> list[Replica]:
        query = sa.select(replicas).order_by(replicas.c.created)
        if endpoint is not None:
            query = query.where(replicas.c.endpoint == endpoint)
        if deployment is not None:
            query = query.where(replicas.c.deployment == deployment)
        return [Replica.from_row(row) for row in self._database.rows(query)]

    def model_of(self, name: str) -> str | None:
        """The model version that holds most of the endpoint's traffic; None where there is no such endpoint."""
        found = self.deployments(name)
        return max(found, key=lambda deployment: deployment.traffic).model if found else None

    def deploy(
        self,
        endpoint: str,
        model: str,
        task: str,
        *,
        deployment: str = "main",
        instances: int = 1,
        device: str = "cpu",
        traffic: int | None = None,
        demand: Demand | None = None,
        kind: str = REAL_TIME,
        owner: str = "local",
        sample: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Wished:
        """Wish for a deployment; a new endpoint is made for it. With `dry_run` all is checked, and nothing is kept.

        A deployment's model never changes under its name while it is there: give the new version another name. Nor
        does its `sample`, {"inputs", "parameters"}, once a replica has answered it; without one it is the task's own.
        A replica that was started without this sample is replaced: each must answer it before it gets traffic.
        Without `traffic` the first deployment gets 100 %, later ones 0 %, and one that is there keeps its share. A
        batch endpoint has no replicas.
        """
        _check_name(endpoint)
        _check_name(deployment)
        instances = 0 if kind == BATCH else _check_instances(instances)
        if traffic is not None and not 0 <= traffic <= 100:
            raise Refused(f"traffic={traffic} is not accepted.", hint="Give a percentage from 0 to 100.")
        now = time.time()
        values: dict[str, Any] = {"model": model, "instances": instances, "device": device, "error": None}
        values |= {"demand": (demand or Demand()).to_json(), "waiting": None}
        with _first_come(endpoint), self._database.begin() as connection:
            known = connection.execute(_count(endpoint).returning(endpoints)).mappings().first()
            if known is None:
                made = {"name": endpoint, "task": task, "created": now, "kind": kind, "owner": owner}
                connection.execute(endpoints.insert().values(**made))
            else:
                _check_same(known, task, kind)
            existing = _shares(connection, endpoint)
            _check_model(connection, endpoint, deployment, model)
            if sample is not None:
                values |= _new_sample(connection, endpoint, deployment, check_sample(sample))
            share = existing.get(deployment, 0 if existing else 100) if traffic is None else traffic
            values["traffic"] = share
            if deployment in existing:
                connection.execute(_of(deployments, endpoint, deployment).values(**values))
                if "sample" in values:  # after the row is locked: add_replica comes before all this, or sees it
                    connection.execute(_leave(endpoint).where(replicas.c.deployment == deployment))
            else:
                row = {"endpoint": endpoint, "name": deployment, "created": now, **values}
                connection.execute(deployments.insert().values(**row))
            if traffic is not None:
                _share_rest(connection, endpoint, deployment, 100 - share, existing)
            wished = Wished(is_new=known is None, traffic=_shares(connection, endpoint))
            if dry_run:
                connection.rollback()
        return wished

    def update(
        self,
        endpoint: str,
        *,
        traffic: Mapping[str, int] | None = None,
        instances: Mapping[str, int] | None = None,
        revision: int | None = None,
    ) -> None:
        """Change all shares at once, which add up to 100 (one that is not named gets 0), and numbers of replicas.

        Raises Changed where the endpoint is not at that revision any more, NotFound, Refused.
        """
        with self._database.begin() as connection:
            _begin_change(connection, endpoint, revision)
            names = sorted(_shares(connection, endpoint))
            for name in (*(traffic or ()), *(instances or ())):
                if name not in names:
                    raise _no_deployment(endpoint, name, names)
            if traffic is not None:
                if sum(traffic.values()) != 100 or min(traffic.values(), default=0) < 0:
                    raise Refused(
                        f"Traffic {dict(traffic)} does not add up to 100.", hint="Give percentages that add up to 100."
                    )
                for name in names:
                    connection.execute(_of(deployments, endpoint, name).values(traffic=traffic.get(name, 0)))
            for name, count in (instances or {}).items():
                connection.execute(_of(deployments, endpoint, name).values(instances=_check_instances(count)))

    def delete(self, endpoint: str, *, revision: int | None = None) -> None:
        """Forget the wish; reconcile.py then stops the replicas. Raises Changed, NotFound."""
        with self._database.begin() as connection:
            _begin_change(connection, endpoint, revision)
            connection.execute(_leave(endpoint))
            connection.execute(deployments.delete().where(deployments.c.endpoint == endpoint))
            connection.execute(endpoints.delete().where(endpoints.c.name == endpoint))

    def delete_deployment(self, endpoint: str, deployment: str, *, revision: int | None = None) -> None:
        """Forget one deployment. Raises Conflict where it holds traffic that others could take, Changed, NotFound."""
        with self._database.begin() as connection:
            _begin_change(connection, endpoint, revision)
            shares = _shares(connection, endpoint)
            if deployment not in shares:
                raise _no_deployment(endpoint, deployment, sorted(shares))
            if shares[deployment] and len(shares) > 1:
                raise Conflict(
                    f"Deployment {deployment!r} of {endpoint!r} holds {shares[deployment]} % of the traffic.",
                    hint="Shift it to the others first.",
                    code="has-traffic",
                )
            connection.execute(_leave(endpoint).where(replicas.c.deployment == deployment))
            mine = (deployments.c.endpoint == endpoint, deployments.c.name == deployment)
            connection.execute(deployments.delete().where(*mine))

    # --- for reconcile.py ---

    def missing(self) -> list[Deployment]:
        """The deployments that want another replica, once for each."""
        there = Counter((row.endpoint, row.deployment) for row in self.replicas() if row.state != "stopping")
        wished = [row for row in self.deployments() if not row.is_broken]
        return [row for row in wished for _ in range(row.instances - there[row.endpoint, row.name])]

    def add_replica(self, deployment: Deployment, lease: Lease) -> Replica | None:
        """None where that very deployment is gone, whoever has its name by now, or has got another sample."""
        now = time.time()
        row: dict[str, Any] = {"id": secrets.token_hex(4), "state": "starting", "created": now}
        row |= {"endpoint": deployment.endpoint, "deployment": deployment.name}
        row |= {"lease": lease.to_json(), "leased": now}
        with self._database.begin() as connection:
            mine = _of(deployments, deployment.endpoint, deployment.name).values(waiting=None)
            mine = mine.where(deployments.c.created == deployment.created)
            found = connection.execute(mine.returning(deployments.c.sample)).first()
            if found is None or _request(found.sample) != _request(deployment.sample):
                return None
            connection.execute(replicas.insert().values(**row))
        return Replica.from_row(row)

    def keep_sample(self, deployment: Deployment, sample: Mapping[str, Any]) -> None:
        """Its request with the answer of a replica. Nothing is written where that very deployment is gone, or has got
        another sample since.
        """
        with self._database.begin() as connection:
            mine = (deployments.c.endpoint == deployment.endpoint, deployments.c.name == deployment.name)
            same = sa.and_(*mine, deployments.c.created == deployment.created)
            kept = connection.scalar(sa.select(deployments.c.sample).where(same).with_for_update())
            if _request(kept) == _request(deployment.sample):
                connection.execute(deployments.update().where(same).values(sample=dict(sample)))

    def note_waiting(self, deployment: Deployment, why: str) -> None:
        """Say why a replica is not started; nothing is written where that is known."""
        if deployment.waiting != why:
            with self._database.begin() as connection:
                connection.execute(_of(deployments, deployment.endpoint, deployment.name).values(waiting=why))

    def move_replica(self, replica: Replica, state: str) -> None:
        """Move it if it is still in the state that `replica` shows: a deletion meanwhile stands."""
        with self._database.begin() as connection:
            update = replicas.update().where(replicas.c.id == replica.id, replicas.c.state == replica.state)
            connection.execute(update.values(state=state))

    def drop_replica(self, replica: Replica) -> None:
        with self._database.begin() as connection:
            connection.execute(replicas.delete().where(replicas.c.id == replica.id))

    def set_error(self, deployment: Deployment, error: dict[str, Any] | None) -> None:
        with self._database.begin() as connection:
            connection.execute(_of(deployments, deployment.endpoint, deployment.name).values(error=error))


@contextmanager
def _first_come(endpoint: str) -> Iterator[None]:
    """Of two calls that make the same thing at once, the second is told so."""
    try:
        yield
    except sa.exc.IntegrityError as exc:
        raise Conflict(f"Endpoint {endpoint!r} is being made by another call.", hint="Try again.") from exc


def _count(endpoint: str) -> sa.Update:
    """One more change. It comes first in its transaction: who changes the same endpoint waits until that is over."""
    return endpoints.update().where(endpoints.c.name == endpoint).values(revision=endpoints.c.revision + 1)


def _begin_change(connection: sa.Connection, endpoint: str, revision: int | None) -> None:
    """Raises NotFound, and Changed where the endpoint is not at that revision any more."""
    row = connection.execute(_count(endpoint).returning(endpoints.c.revision)).first()
    if row is None:
        raise _unknown(endpoint)
    if revision is not None and row.revision != revision + 1:
        raise Changed(f"Endpoint {endpoint!r} was changed since you looked.")


def _shares(connection: sa.Connection, endpoint: str) -> dict[str, int]:
    """The traffic of each deployment."""
    query = sa.select(deployments.c.name, deployments.c.traffic).where(deployments.c.endpoint == endpoint)
    return {row.name: row.traffic for row in connection.execute(query)}


def _check_same(known: Mapping[Any, Any], task: str, kind: str) -> None:
    name = known["name"]
    if known["kind"] != kind:
        raise Conflict(
            f"{name!r} is a {known['kind']} endpoint already.", hint="Choose another endpoint name.", code="other-kind"
        )
    if known["task"] != task:
        raise Conflict(
            f"Endpoint {name!r} does {known['task']}, not {task}.",
            hint="Choose another endpoint name.",
            code="other-task",
        )


def _check_model(connection: sa.Connection, endpoint: str, deployment: str, model: str) -> None:
    mine = (deployments.c.endpoint == endpoint, deployments.c.name == deployment)
    served = connection.scalar(sa.select(deployments.c.model).where(*mine))
    if served not in (None, model):
        raise Conflict(
            f"Deployment {deployment!r} of {endpoint!r} already serves {served}.",
            hint=NEW_NAME,
            code="other-model",
        )


def check_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What of it is not empty. Raises Refused."""
    given = {name: value for name, value in sample.items() if value is not None}
    unknown = sorted(set(given) - {"inputs", "parameters"})
    if unknown or given.get("inputs", []) == []:
        what = f"has the unknown key {unknown[0]!r}" if unknown else 'has no "inputs"'
        raise Refused(f"The sample {what}.", hint='Give {"inputs": …, "parameters": {…}}.', code="bad-sample")
    try:
        size = len(json.dumps(given, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"))
    except ValueError as exc:
        raise Refused("The sample has a number that is not finite.", hint="JSON has none.", code="bad-sample") from exc
    if size > MAX_SAMPLE_BYTES:
        raise Refused(
            f"The sample has {size} bytes.", hint=f"Give a short one, of at most {MAX_SAMPLE_BYTES}.", code="bad-sample"
        )
    return given


def _new_sample(
    connection: sa.Connection, endpoint: str, deployment: str, request: Mapping[str, Any]
) -> dict[str, Any]:
    """The column to write, if it changes. Raises Conflict where its replicas have answered another one."""
    mine = (deployments.c.endpoint == endpoint, deployments.c.name == deployment)
    kept = connection.scalar(sa.select(deployments.c.sample).where(*mine).with_for_update())
    if _request(kept) == request:
        return {}
    if kept and kept["answer"] is not None:
        raise Conflict(
            f"Deployment {deployment!r} of {endpoint!r} has answered another sample.",
            hint=NEW_NAME,
            code="other-sample",
        )
    return {"sample": {"request": request, "answer": None}}


def _request(sample: Mapping[str, Any] | None) -> Any:
    return sample["request"] if sample else None


def _leave(endpoint: str) -> sa.Update:
    """Its replicas are told to stop in the same moment: a deployment that is made anew under the same names must not
    find them and take them for its own."""
    return replicas.update().where(replicas.c.endpoint == endpoint).values(state="stopping")


def _of(table: sa.Table, endpoint: str, name: str) -> sa.Update:
    return table.update().where(table.c.endpoint == endpoint, table.c.name == name)


def _share_rest(
    connection: sa.Connection, endpoint: str, deployment: str, rest: int, existing: Mapping[str, int]
) -> None:
    """What one deployment leaves goes to the largest of the others, so that shares always add up."""
    others = {name: share for name, share in existing.items() if name != deployment}
    if not others:
        connection.execute(_of(deployments, endpoint, deployment).values(traffic=100))
        return
    largest = max(others, key=lambda name: others[name])
    for name in others:
        connection.execute(_of(deployments, endpoint, name).values(traffic=rest if name == largest else 0))


def _unknown(name: str, kind: str | None = None) -> NotFound:
    hints = {
        None: f"Make it with: bedplate deploy MODEL --endpoint {name}",
        BATCH: f"{name} is a batch endpoint: see /api/v1/batch-endpoints.",
        REAL_TIME: f"{name} is a real-time endpoint: see /api/v1/endpoints.",
    }
    return NotFound(f"There is no endpoint {name!r}.", hint=hints[kind])


def _no_deployment(endpoint: str, name: str, names: list[str]) -> NotFound:
    return NotFound(f"Endpoint {endpoint!r} has no deployment {name!r}.", hint=f"It has: {', '.join(names)}.")


def _check_instances(count: int) -> int:
    if not 1 <= count <= MAX_INSTANCES:
        raise Refused(f"instances={count} is not accepted.", hint=f"Give 1 to {MAX_INSTANCES}.")
    return count


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refused(
            f"{name!r} is not a name for an endpoint or deployment.",
            hint="Use 3 to 32 lower-case letters, digits and dashes, beginning with a letter.",
            code="bad-name",
        )
