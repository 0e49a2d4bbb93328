"""The routing snapshot: what the control plane hands down to the gateway in routes.json, and its rereading.

    {"generation": 7, "max_body_bytes": 10485760,
     "hosts": ["gpu01", ...], "any_address": true, "origins": ["https://studio.lan", ...], "access_log": false,
     "key_rate": 0, "key_concurrency": 0,
     "keys": {sha256hex(key): {"id", "scopes": [...], "endpoints": [...] | null, "expires": epoch | null,
                               "rate": requests a second | null, "concurrency": open requests | null}},
     "endpoints": {name: {"task", "deployments": {name: {"model", "traffic", "request_timeout_seconds": 300,
                                                       "replicas": [{"id", "socket"}]}}}}}

The file is replaced, never edited; a reader sees the old snapshot or the new one. One that cannot be read leaves the
old one in force, and says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bedplate_serving.door import Door
from bedplate_serving.problems import Problem
from bedplate_serving.request_timeout import DEFAULT_SECONDS

__all__ = ["Deployment", "Endpoint", "Key", "ReplicaAddress", "RouteTable", "Routes"]

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
DEFAULT_MAX_BODY_BYTES = 10 * 1024 * 1024
MAY_SCORE = frozenset({"infer", "admin"})


@dataclass(frozen=True)
class Key:
    """What one API key may do. The key itself is not here, only its hash is the way to it.

    `rate` is in requests a second, `concurrency` in open requests; 0 is no limit.
    """

    id: str
    scopes: frozenset[str]
    endpoints: frozenset[str] | None
    expires: float | None
    rate: float = 0.0
    concurrency: int = 0

    def may_score(self, endpoint: str) -> bool:
        return bool(self.scopes & MAY_SCORE) and (self.endpoints is None or endpoint in self.endpoints)


@dataclass(frozen=True)
class ReplicaAddress:
    """Where one replica listens."""

    id: str
    socket: str


@dataclass(frozen=True)
class Deployment:
    """One model version behind an endpoint, and its share of the traffic."""

    name: str
    model: str
    traffic: float
    replicas: tuple[ReplicaAddress, ...]
    request_timeout_seconds: float = DEFAULT_SECONDS


@dataclass(frozen=True)
class Endpoint:
    """A name that callers score at."""

    name: str
    deployments: Mapping[str, Deployment]
    task: str = ""

    def choose(self, wanted: str | None) -> Deployment:
        """The deployment asked for, or one by traffic; one without a replica gets none while another has some."""
        if wanted is not None:
            if wanted not in self.deployments:
                detail = f"Endpoint {self.name!r} has no deployment {wanted[:100]!r}."
                known = ", ".join(sorted(self.deployments)) or "none"
                raise Problem(404, "no-deployment", detail, f"It has: {known}.")
            return self.deployments[wanted]
        open_ = [one for one in self.deployments.values() if one.traffic > 0 and one.replicas]
        if not open_:
            raise self.not_ready()
        return open_[0] if len(open_) == 1 else random.choices(open_, [one.traffic for one in open_])[0]

    def not_ready(self) -> Problem:
        detail = f"Endpoint {self.name!r} has no replica that is ready."
        return Problem(503, "no-replica", detail, "It may still be starting.", retry_after_seconds=2)


@dataclass(frozen=True)
class Routes:
    """One snapshot."""

    generation: int = 0
    keys: Mapping[str, Key] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    door: Door = field(default_factory=Door)
    access_log: bool = False

    @classmethod
    def parse(cls, text: bytes) -> Routes:
        root = orjson.loads(text)
        keys = {digest: _key(raw, root) for digest, raw in root.get("keys", {}).items()}
        endpoints = {name: _endpoint(name, raw) for name, raw in root.get("endpoints", {}).items()}
        max_body_bytes = int(root.get("max_body_bytes") or DEFAULT_MAX_BODY_BYTES)
        access_log = bool(root.get("access_log"))
        return cls(int(root["generation"]), keys, endpoints, max_body_bytes, _door(root), access_log)

    @property
    def key_ids(self) -> set[str]:
        return {key.id for key in self.keys.values()}

    @property
    def sockets(self) -> set[str]:
        deployments = (one for endpoint in self.endpoints.values() for one in endpoint.deployments.values())
        return {replica.socket for one in deployments for replica in one.replicas}

    def find_key(self, token: str) -> Key | None:
        """Looked up by its hash, so that time tells nothing of the key's characters."""
        key = self.keys.get(hashlib.sha256(token.encode()).hexdigest())
        return None if key is None or (key.expires is not None and key.expires <= time.time()) else key


def _key(raw: Mapping[str, Any], root: Mapping[str, Any]) -> Key:
    """A limit that it does not name is everybody's."""
    endpoints, expires = raw.get("endpoints"), raw.get("expires")
    rate, concurrency = raw.get("rate"), raw.get("concurrency")
    return Key(
        str(raw["id"]),
        frozenset(raw["scopes"]),
        None if endpoints is None else frozenset(endpoints),
        None if expires is None else float(expires),
        float(root.get("key_rate", 0) if rate is None else rate),
        int(root.get("key_concurrency", 0) if concurrency is None else concurrency),
    )


def _door(root: Mapping[str, Any]) -> Door:
    """Where a snapshot says nothing of hosts, the narrow default holds."""
    if "hosts" not in root:
        return Door()
    return Door(frozenset(root["hosts"]), bool(root.get("any_address")), frozenset(root.get("origins") or ()))


def _endpoint(name: str, raw: Mapping[str, Any]) -> Endpoint:
    deployments = {key: _deployment(key, value) for key, value in raw["deployments"].items()}
    return Endpoint(name, deployments, str(raw.get("task", "")))


def _deployment(name: str, raw: Mapping[str, Any]) -> Deployment:
    replicas = tuple(ReplicaAddress(str(one["id"]), str(one["socket"])) for one in raw["replicas"])
    timeout = float(raw.get("request_timeout_seconds", DEFAULT_SECONDS))
    return Deployment(name, str(raw["model"]), float(raw["traffic"]), replicas, timeout)


class RouteTable:
    """The snapshot in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._is_told = False  # that the file cannot be read, which is tried ten times a second
        self.current = Routes()

    async def follow(self) -> None:
        """Rereads the file whenever it was replaced; until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """A file that cannot be read now, for want of file descriptors say, is tried again: it may revoke a key. One
        that is malformed stays so until it is replaced."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        try:
            self.current = await asyncio.to_thread(lambda: Routes.parse(self._path.read_bytes()))
        except OSError as error:
            if not self._is_told:
                log.warning("the new snapshot cannot be read yet, keeping the old: %r", error)
            self._is_told = True
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the new snapshot is unreadable, keeping the old: %r", error)
        self._seen, self._is_told = stamp, False

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
