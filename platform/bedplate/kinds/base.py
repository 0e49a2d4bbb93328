"""What a kind of job is: how its request is checked and resolved, which worker does it, what its end means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from bedplate.compute import GIB, Demand, Lease
from bedplate.data_refs import check_one_line
from bedplate.home import Home
from bedplate.jobs import Job
from bedplate.kinds.requests import JobRequest
from bedplate.machine import Machine
from bedplate.model_needs import config_of
from bedplate.row_files import open_rows, rows_file
from bedplate.settings import Settings
from bedplate_registry.errors import Conflict, Refused, nearest
from bedplate_registry.estimates import PRECISION_BYTES, cache_bytes, precision_for, serving_bytes
from bedplate_registry.models import ModelVersion
from bedplate_registry.registry import Registry

__all__ = [
    "Command",
    "Context",
    "Kind",
    "Step",
    "check_can_score",
    "check_keys",
    "choose_device",
    "columns_given",
    "host_cores",
    "keep_report",
    "lay_out",
    "mapping_of",
    "replica_demand",
    "rows_left",
    "scoring_demand",
    "worker",
]


MANY_CORES = 8


class EndpointLookup(Protocol):
    def model_of(self, name: str) -> str | None:
        """The model version that holds most of an endpoint's traffic."""


class JobLookup(Protocol):
    def get(self, job_id: str) -> Job:
        """The job of that id, which is there."""


@dataclass(frozen=True)
class Context:
    """What kinds may use of the server."""

    settings: Settings
    home: Home
    registry: Registry
    endpoints: EndpointLookup
    machine: Machine
    jobs: JobLookup
    is_shared: bool = False  # others than this machine's own programs may call


@dataclass(frozen=True)
class Command:
    """How to start the worker of one attempt."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    visible: tuple[Path, ...] = ()  # folders of the home that it may read, besides the registry


@dataclass(frozen=True)
class Step:
    """What a job without a worker does next: submit others, queue some of them again, cancel some, or end."""

    submit: tuple[tuple[str, dict[str, Any]], ...] = ()  # (kind, request), each once: their place is their client key
    resume: tuple[str, ...] = ()
    cancel: tuple[tuple[str, dict[str, Any]], ...] = ()  # (job, why), which becomes the error of the job
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def _nothing_to_finish(
    context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    return result


@dataclass(frozen=True)
class Kind:
    """One kind of job: all that the rest of the platform knows of it.

    scope    the scope that a caller's key needs
    request  how REST describes its requests; None for a kind that is not described, such as one of the server's own
    prepare  checks a request (REST body) and resolves it into the spec that is kept; raises Refused, NotFound, Conflict
    demand   what an attempt at a spec needs of the machine; memory is an estimate
    command  the worker of one attempt; None for a kind that has `advance` instead
    advance  what a job that only submits other jobs does next, given those it has submitted, oldest first
    finish   what the owner does with a worker's result, such as publishing; its answer is what the user sees. It may
             run twice after a crash, so it must be idempotent.
    """

    name: str
    scope: str
    prepare: Callable[[Context, Mapping[str, Any]], dict[str, Any]]
    request: type[JobRequest] | None = None
    demand: Callable[[Context, Mapping[str, Any]], Demand] = lambda context, spec: Demand()
    command: Callable[[Context, Mapping[str, Any], Path, int, Lease], Command] | None = None
    advance: Callable[[Context, Job, Sequence[Job]], Step] | None = None
    finish: Callable[[Context, str, Mapping[str, Any], dict[str, Any]], dict[str, Any]] = _nothing_to_finish
    network: bool = False  # the worker may go out
    stores_blobs: bool = False  # the worker adds files to the registry's store, which others only read
    preemptible: bool = False  # may make room for an endpoint unless its request says otherwise
    secrets: Callable[[Context, Mapping[str, Any]], dict[str, str]] = lambda context, spec: {}


def worker(module: str, context: Context, folder: Path, epoch: int, visible: Iterable[Path] = ()) -> Command:
    """A plain worker: `python -m MODULE FOLDER EPOCH` with the home in its environment."""
    argv = [sys.executable, "-m", module, str(folder), str(epoch)]
    return Command(argv, {"BEDPLATE_HOME": str(context.home.path)}, tuple(visible))


def lay_out(context: Context, versions: Iterable[ModelVersion]) -> list[Path]:
    """Sees to it that a worker finds these models, which it may only read. What was derived of them, to be visible."""
    derived = []
    for version in versions:
        context.registry.models.files_dir(version)
        derived.append(context.home.derived_of(version.digest))
    return [folder for folder in derived if folder.is_dir()]


def check_keys(kind: str, request: Mapping[str, Any], *, required: set[str], optional: set[str]) -> None:
    """Refuse what is missing and what is unknown, by name, and a `name` that is not of one line."""
    for name in sorted(set(request) - required - optional):
        raise Refused(
            f"{kind} has no setting {name!r}.", hint=nearest(name, required | optional), code="unknown-setting"
        )
    for name in sorted(required - {key for key, value in request.items() if value not in (None, "")}):
        raise Refused(f"{kind} needs {name!r}.", hint=f"Give {name}.", code="missing-setting")
    check_one_line("name", str(request.get("name") or ""))


def check_can_score(version: ModelVersion) -> str:
    """The task that a model answers requests for. Raises Conflict for a base."""
    task = version.facts.task
    if task is not None:
        return task
    raise Conflict(
        f"{version.ref} is a base without a head: it cannot be deployed, and scores nothing.",
        hint=f"Fine-tune it first: bedplate finetune {version.ref} --task TASK --train FILE --output NAME",
        code="base-model",
    )


def rows_left(context: Context, job_id: str) -> Path:
    """Where the worker of a job's last attempt leaves what a model said of each row."""
    return rows_file(context.home.jobs / job_id, context.jobs.get(job_id).epoch)


def keep_report(context: Context, job_id: str, report: Mapping[str, Any], rows: Path) -> str:
    """Keep the evaluation report of a job, once, however often the job is finished; its id.

    With it the `rows` that a worker wrote, where the report tells of some. Raises DamagedFolder.
    """
    if kept := context.registry.evaluations.of_job(job_id):
        return kept
    whole = {**report, "job": job_id}
    if not report.get("predictions"):
        return context.registry.evaluations.add(whole)
    with open_rows(rows) as file:
        id = context.registry.evaluations.add(whole, file)
    rows.unlink()
    return id


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


def choose_device(machine: Machine, value: object, *, prefer: str = "cuda") -> str:
    """`cpu` or `cuda`. For `auto` it is `prefer` where a card is there; a card that cannot be used is not passed over.

    Raises Refused for another word, for `cuda` where no card can be used, and for `auto` where there are cards and none
    of them can be used: that a model then runs on the CPU is the user's to say.
    """
    device = "auto" if value in (None, "") else str(value)
    if device not in ("auto", "cpu", "cuda"):
        raise Refused(f"There is no device {device!r}.", hint="Use auto, cpu or cuda.", code="bad-device")
    if device == "cpu" or (device == "auto" and prefer == "cpu"):
        return "cpu"
    inventory = machine.inventory()
    if inventory.usable_gpus:
        return "cuda"
    if device == "auto" and not inventory.gpus:
        return "cpu"
    problem = "; ".join(f"GPU {gpu.index} ({gpu.name}): {gpu.problem}" for gpu in inventory.gpus) or "none was found"
    remedy = next((gpu.remedy for gpu in inventory.gpus if gpu.remedy), "See what is wrong with: bedplate doctor.")
    raise Refused(f"No GPU can be used here: {problem}.", hint=f"{remedy} Or take --device cpu.", code="no-gpu")


def host_cores(context: Context) -> int:
    """The cores of a job that computes on the CPU: more than eight pay little for the models that fit there."""
    cores: int = context.machine.inventory().cores
    return min(MANY_CORES, cores)


def scoring_demand(context: Context, version: ModelVersion, device: str) -> Demand:
    """What a worker needs that loads a model and runs it forward over many rows, which take a GiB."""
    if device == "cuda":
        return Demand(cores=1, memory_bytes=3 * GIB, gpus=1)
    memory_bytes = _memory_to_serve(context.registry, context.machine, version, "cpu") + GIB
    return Demand(cores=host_cores(context), memory_bytes=memory_bytes)


def replica_demand(
    registry: Registry, machine: Machine, version: ModelVersion, device: str, gpu_memory_gb: object = None
) -> Demand:
    """What one replica needs: a share of a card, or of the host's memory. It computes only while it is asked.

    `gpu_memory_gb` overrides the estimate; a model that writes texts then takes what is left of it for its cache.
    Raises Refused where it is not a size or the replica runs on the CPU.
    """
    if gpu_memory_gb is not None and (
        device == "cpu" or isinstance(gpu_memory_gb, bool) or not isinstance(gpu_memory_gb, int | float)
    ):
        raise Refused(f"gpu_memory_gb={gpu_memory_gb!r} is not accepted.", hint="Give GiB, with --device cuda.")
    if device == "cpu":
        return Demand(memory_bytes=_memory_to_serve(registry, machine, version, device))
    if gpu_memory_gb is None:
        share = _memory_to_serve(registry, machine, version, device)
    else:
        share = int(float(str(gpu_memory_gb)) * GIB)
    return Demand(memory_bytes=2 * GIB, gpus=1, gpu_memory_bytes=share)


def _memory_to_serve(registry: Registry, machine: Machine, version: ModelVersion, device: str) -> int:
    """Bytes of the device for a loaded model and, where it writes texts, the cache that it keeps."""
    facts, inventory = replace(version.facts, size_bytes=version.loaded_bytes), machine.inventory()
    on_gpu = device == "cuda"
    each = PRECISION_BYTES[precision_for(inventory.usable_gpus)] if on_gpu else 4
    loaded = serving_bytes(facts, device, each)
    if facts.task != "text-generation":
        return loaded
    cards = [gpu.memory_bytes for gpu in inventory.usable_gpus]
    device_bytes = max(cards, default=0) if on_gpu else inventory.memory_bytes
    return loaded + cache_bytes(facts, config_of(registry, version), device, each, device_bytes - loaded)
