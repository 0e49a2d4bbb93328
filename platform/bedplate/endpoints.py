"""Endpoints as desired state: deployments of model versions, their instances and share of the traffic."""

from __future__ import annotations

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
from bedplate_registry.errors import Conflict, NotFound, Refused

__all__ = ["MAX_STARTS", "Deployment", "Endpoint", "EndpointStore", "Replica"]

NAME = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
MAX_INSTANCES = 16
MAX_STARTS = 3  # failed starts in a row before a deployment is said to be broken


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

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Deployment:
        return cls(**{**row, "demand": Demand.from_json(row["demand"])})

    @property
    def is_broken(self) -> bool:
        """Its replicas failed to start too often: none is started until it is deployed again."""
        return bool((self.error or {}).get("starts", 0) >= MAX_STARTS)


@dataclass(frozen=True)
class Endpoint:
    """A name that is scored at /endpoints/NAME."""

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

    def all(self) -> list[Endpoint]:
        return [Endpoint(**row) for row in self._database.rows(sa.select(endpoints).order_by(endpoints.c.name))]

    def get(self, name: str) -> Endpoint:
        row = self._database.row(sa.select(endpoints).where(endpoints.c.name == name))
        if row is None:
            raise NotFound(
                f"There is no endpoint {name!r}.", hint=f"Make it with: bedplate deploy MODEL --endpoint {name}"
            )
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
    ) -> bool:
        """Wish for a deployment; a new endpoint is made for it. Says whether the endpoint is new.

        A deployment's model never changes under its name while it is there: give the new version another name.
        Without `traffic` the first deployment gets 100 % and later ones 0 %.
        """
        _check_name(endpoint)
        _check_name(deployment)
        if not 1 <= instances <= MAX_INSTANCES:
            raise Refused(f"instances={instances} is not accepted.", hint=f"Give 1 to {MAX_INSTANCES}.")
        if traffic is not None and not 0 <= traffic <= 100:
            raise Refused(f"traffic={traffic} is not accepted.", hint="Give a percentage from 0 to 100.")
        now = time.time()
        existing = {row.name: row for row in self.deployments(endpoint)}
        same = existing.get(deployment)
        if same is not None and same.model != model:
            raise Conflict(
                f"Deployment {deployment!r} of {endpoint!r} already serves {same.model}.",
                hint="Give the new one a name: --deployment NAME, then shift traffic to it.",
            )
        known = {row.name: row for row in self.all()}.get(endpoint)
        if known is not None and known.task != task:
            raise Conflict(
                f"Endpoint {endpoint!r} does {known.task}, not {task}.", hint="Choose another endpoint name."
            )
        share = traffic if traffic is not None else (0 if set(existing) - {deployment} else 100)
        values = {"model": model, "instances": instances, "device": device, "traffic": share, "error": None}
        values |= {"demand": (demand or Demand()).to_json(), "waiting": None}
        with _first_come(endpoint), self._database.begin() as connection:
            if known is None:
                connection.execute(endpoints.insert().values(name=endpoint, task=task, created=now))
            if same is None:
                connection.execute(
                    deployments.insert().values(endpoint=endpoint, name=deployment, created=now, **values)
                )
            else:
                connection.execute(_of(deployments, endpoint, deployment).values(**values))
            if traffic is not None:
                _share_rest(connection, endpoint, deployment, 100 - share, existing)
        return known is None

    def set_traffic(self, endpoint: str, shares: dict[str, int]) -> None:
        """Set all shares at once; they add up to 100, and a deployment that is not named gets 0."""
        self.get(endpoint)
        names = {deployment.name for deployment in self.deployments(endpoint)}
        if unknown := set(shares) - names:
            raise NotFound(
                f"Endpoint {endpoint!r} has no deployment {min(unknown)!r}.", hint=f"It has: {sorted(names)}."
            )
        if sum(shares.values()) != 100 or min(shares.values(), default=0) < 0:
            raise Refused(f"Traffic {shares} does not add up to 100.", hint="Give percentages that add up to 100.")
        with self._database.begin() as connection:
            for name in names:
                connection.execute(_of(deployments, endpoint, name).values(traffic=shares.get(name, 0)))

    def delete(self, endpoint: str, deployment: str | None = None) -> None:
        """Forget the wish; reconcile.py then stops the replicas."""
        self.get(endpoint)
        mine = deployments.c.endpoint == endpoint
        # Its replicas are told to stop in the same moment: a deployment that is made anew under the same names must
        # not find them and take them for its own.
        leave = replicas.update().where(replicas.c.endpoint == endpoint).values(state="stopping")
        with self._database.begin() as connection:
            if deployment is not None:
                connection.execute(deployments.delete().where(mine, deployments.c.name == deployment))
                connection.execute(leave.where(replicas.c.deployment == deployment))
                return
            connection.execute(leave)
            connection.execute(deployments.delete().where(mine))
            connection.execute(endpoints.delete().where(endpoints.c.name == endpoint))

    # --- for reconcile.py ---

    def missing(self) -> list[Deployment]:
        """The deployments that want another replica, once for each."""
        there = Counter((row.endpoint, row.deployment) for row in self.replicas() if row.state != "stopping")
        wished = [row for row in self.deployments() if not row.is_broken]
        return [row for row in wished for _ in range(row.instances - there[row.endpoint, row.name])]

    def add_replica(self, deployment: Deployment, lease: Lease) -> Replica | None:
        """None where that very deployment is gone, though another one may have its name by now."""
        now = time.time()
        row: dict[str, Any] = {"id": secrets.token_hex(4), "state": "starting", "created": now}
        row |= {"endpoint": deployment.endpoint, "deployment": deployment.name}
        row |= {"lease": lease.to_json(), "leased": now}
        with self._database.begin() as connection:
            mine = _of(deployments, deployment.endpoint, deployment.name).values(waiting=None)
            if connection.execute(mine.where(deployments.c.created == deployment.created)).rowcount != 1:
                return None
            connection.execute(replicas.insert().values(**row))
        return Replica.from_row(row)

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


def _of(table: sa.Table, endpoint: str, name: str) -> sa.Update:
    return table.update().where(table.c.endpoint == endpoint, table.c.name == name)


def _share_rest(
    connection: sa.Connection, endpoint: str, deployment: str, rest: int, existing: dict[str, Deployment]
) -> None:
    """What one deployment leaves goes to the largest of the others, so that shares always add up."""
    others = [row for name, row in existing.items() if name != deployment]
    if not others:
        connection.execute(_of(deployments, endpoint, deployment).values(traffic=100))
        return
    largest = max(others, key=lambda row: row.traffic)
    for row in others:
        share = rest if row is largest else 0
        connection.execute(_of(deployments, endpoint, row.name).values(traffic=share))


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refused(
            f"{name!r} is not a name for an endpoint or deployment.",
            hint="Use 3 to 32 lower-case letters, digits and dashes, beginning with a letter.",
            code="bad-name",
        )
