"""Where each dialect is spoken: one table, read by the replica and by the gateway in front of it.

    below /endpoints/{name}, and in a replica          at the server's root
    /                         the Hub's                 –
    /score                    both of Azure's           –
    /openapi.json             what this endpoint takes  –
    /v1/chat/completions, …   OpenAI's                  the same; the endpoint is the body's `model`
    /v2/models/{model}/…      Open Inference Protocol   the same; the endpoint is the path's `model`

Below an endpoint the address says who is meant, and a model's name in a path or body has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bedplate_serving.asgi import Scope
from bedplate_serving.problems import ErrorShape, Problem

__all__ = ["OF_THE_REPLICA", "Dialect", "Found", "ScoringPath", "error_shape", "find", "no_route"]

Dialect = Literal[
    "hub",
    "azure",
    "document",
    "chat",
    "completions",
    "models",
    "model",
    "v2-server",
    "v2-live",
    "v2-ready",
    "v2-model",
    "v2-model-ready",
    "v2-infer",
]

OF_THE_REPLICA = frozenset({("GET", "/health"), ("GET", "/info")})  # known to no dialect
EXACT: Mapping[tuple[str, str], Dialect] = {
    ("POST", "/"): "hub",
    ("POST", "/score"): "azure",
    ("GET", "/openapi.json"): "document",
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/completions"): "completions",
    ("GET", "/v1/models"): "models",
    ("GET", "/v2"): "v2-server",
    ("GET", "/v2/"): "v2-server",
    ("GET", "/v2/health/live"): "v2-live",
    ("GET", "/v2/health/ready"): "v2-ready",
}
MODEL = r"/v2/models/(?P<model>[^/]{1,200})(?:/versions/(?P<version>[\w.-]{1,64}))?"
NAMED: tuple[tuple[str, re.Pattern[str], Dialect], ...] = (
    ("POST", re.compile(rf"{MODEL}/infer"), "v2-infer"),
    ("GET", re.compile(MODEL), "v2-model"),
    ("GET", re.compile(rf"{MODEL}/ready"), "v2-model-ready"),
    ("GET", re.compile(r"/v1/models/(?P<model>[^/]{1,200})"), "model"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A dialect, and what the path names."""

    dialect: Dialect
    model: str | None = None
    version: str | None = None


def find(method: str, path: str) -> Found | None:
    """What is spoken there; None where nothing is."""
    exact = EXACT.get((method, path))
    if exact is not None:
        return Found(exact)
    if not path.startswith(("/v1/models/", "/v2/models/")):
        return None
    for wanted, pattern, dialect in NAMED:
        match = pattern.fullmatch(path) if wanted == method else None
        if match is not None:
            return Found(dialect, **match.groupdict())
    return None


def no_route(method: str, path: str, below: str = "") -> Problem:
    """Where nothing is spoken: 405 where another method is right, else 404. `below` is where the path begins."""
    right = {known for known, exact in (*EXACT, *OF_THE_REPLICA) if exact == path}
    right |= {known for known, pattern, _ in NAMED if pattern.fullmatch(path)}
    detail = f"There is no {method[:20]} {(below + path)[:200]}."
    if not right:
        return Problem(404, "no-route", detail, "GET /endpoints/NAME/openapi.json says what an endpoint takes.")
    allowed = ", ".join(sorted(right))
    return Problem(405, "wrong-method", detail, f"Send it as {allowed}.", headers=(("allow", allowed),))


def error_shape(path: str) -> ErrorShape:
    """How an error is written where a path is known to be one of scoring."""
    return "openai" if path == "/v1" or path.startswith("/v1/") else "scoring"


@dataclass(frozen=True, slots=True)
class ScoringPath:
    """Which endpoint is asked, and the path that its replica knows."""

    method: str
    target: str
    endpoint: str | None = None  # None: the body says, or no endpoint is asked
    found: Found | None = None  # None: the replica's own, or nothing at all

    @classmethod
    def of(cls, scope: Scope) -> ScoringPath | None:
        """None for what is no scoring request. A path below one is, though nothing may be spoken there."""
        method, path = scope.get("method", ""), scope["path"]
        if scope["type"] != "http":
            return None
        if path.startswith("/endpoints/"):
            name, _, rest = path.removeprefix("/endpoints/").partition("/")
            return cls(method, f"/{rest}", name, find(method, f"/{rest}")) if name else None
        if not path.startswith(("/v1/", "/v2/")) and path not in ("/v1", "/v2"):
            return None
        found = find(method, path)
        of_model = found is not None and found.dialect.startswith("v2-")
        return cls(method, path, found.model if found is not None and of_model else None, found)

    @property
    def is_spoken(self) -> bool:
        """Whether a dialect or the replica itself answers there."""
        return self.found is not None or (self.method, self.target) in OF_THE_REPLICA

    @property
    def no_route(self) -> Problem:
        """Why nothing does."""
        return no_route(self.method, self.target, "" if self.endpoint is None else f"/endpoints/{self.endpoint}")

    @property
    def is_named_by_its_body(self) -> bool:
        return self.endpoint is None and self.found is not None and self.found.dialect in ("chat", "completions")

    @property
    def error_shape(self) -> ErrorShape:
        return error_shape(self.target)
