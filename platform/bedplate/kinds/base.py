"""What a kind of job is: how its request is checked and resolved, which worker does it, what its end means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bedplate.home import Home
from bedplate.settings import Settings
from bedplate_registry.errors import Conflict, Refused, nearest
from bedplate_registry.models import ModelVersion
from bedplate_registry.registry import Registry
from bedplate_serving.predictors import can_serve

__all__ = [
    "Command",
    "Context",
    "Kind",
    "check_can_score",
    "check_keys",
    "choose_device",
    "columns_given",
    "keep_report",
    "mapping_of",
    "worker",
]


class EndpointLookup(Protocol):
    def model_of(self, name: str) -> str | None:
        """The model version that holds most of an endpoint's traffic."""


@dataclass(frozen=True)
class Context:
    """What kinds may use of the server."""

    settings: Settings
    home: Home
    registry: Registry
    endpoints: EndpointLookup


@dataclass(frozen=True)
class Command:
    """How to start the worker of one attempt."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    prepare  checks a request (REST body) and resolves it into the spec that is kept; raises Refused, NotFound, Conflict
    command  the worker of one attempt
    finish   what the owner does with a worker's result, such as publishing; its answer is what the user sees. It may
             run twice after a crash, so it must be idempotent.
    """

    name: str
    prepare: Callable[[Context, Mapping[str, Any]], dict[str, Any]]
    command: Callable[[Context, Mapping[str, Any], Path, int], Command]
    finish: Callable[[Context, str, Mapping[str, Any], dict[str, Any]], dict[str, Any]]
    network: bool = False
    secrets: Callable[[Context], dict[str, str]] = lambda context: {}


def worker(module: str, context: Context, folder: Path, epoch: int) -> Command:
    """A plain worker: `python -m MODULE FOLDER EPOCH` with the home in its environment."""
    return Command([sys.executable, "-m", module, str(folder), str(epoch)], {"BEDPLATE_HOME": str(context.home.path)})


def check_keys(kind: str, request: Mapping[str, Any], *, required: set[str], optional: set[str]) -> None:
    """Refuse what is missing and what is unknown, by name."""
    for name in sorted(set(request) - required - optional):
        raise Refused(
            f"{kind} has no setting {name!r}.", hint=nearest(name, required | optional), code="unknown-setting"
        )
    for name in sorted(required - {key for key, value in request.items() if value not in (None, "")}):
        raise Refused(f"{kind} needs {name!r}.", hint=f"Give {name}.", code="missing-setting")


def check_can_score(version: ModelVersion) -> str:
    """The task that a model answers requests for. Raises Conflict for a base, and for a task that is not served yet."""
    task = version.facts.task
    if task is not None and can_serve(task):
        return task
    what = "is a base without a head" if task is None else f"does {task}, which this release does not serve yet"
    raise Conflict(
        f"{version.ref} {what}: it cannot be deployed, and scores nothing.",
        hint=f"Fine-tune it first: bedplate finetune {version.ref} --task TASK --train FILE --output NAME",
        code="base-model" if task is None else "not-served",
    )


def keep_report(context: Context, job_id: str, report: Mapping[str, Any]) -> str:
    """Keep the evaluation report of a job, once, however often the job is finished; its id."""
    for kept in context.registry.evaluations.list(report["model"]):
        if kept.get("job") == job_id:
            return str(kept["id"])
    return context.registry.evaluations.add({**report, "job": job_id})


def mapping_of(request: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A setting that is an object, empty where it is not given. Raises Refused."""
    value = request.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(f"{name}={value!r} is not an object.", hint=f'Give {name} as {{"name": value, …}}.')
    return {str(key): item for key, item in value.items()}


def columns_given(request: Mapping[str, Any]) -> dict[str, str]:
    """The column mapping of a request: key -> column. Raises Refused."""
    columns = mapping_of(request, "columns")
    for key, column in columns.items():
        if not isinstance(column, str):
            raise Refused(f"columns: {key}={column!r} is not the name of a column.", hint="Give it as a string.")
    return columns


def choose_device(value: object) -> str:
    """`auto`, `cpu` or `cuda`; whether a card is there is the worker's to find out."""
    device = "auto" if value in (None, "") else str(value)
    if device not in ("auto", "cpu", "cuda"):
        raise Refused(f"There is no device {device!r}.", hint="Use auto, cpu or cuda.", code="bad-device")
    return device
