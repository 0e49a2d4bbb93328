"""Make the ONNX graph of a text encoder, on which it answers faster on a CPU. graphs.py submits these jobs.

The worker loads a stranger's model, so it writes to its own folder only; `finish` looks at what it made and moves it to
where replicas read it. That there can be no graph is nobody's failure: it is kept with its reason, as a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bedplate.compute import Demand, Lease
from bedplate.kinds.base import Command, Context, Kind, lay_out, worker
from bedplate_registry.errors import Refused
from bedplate_registry.models import ModelVersion
from bedplate_serving.predictors.encoders.graph_folder import holds_graph, key_of, put_graph, put_reason

__all__ = ["KIND", "MADE", "PRIORITY", "spec_of"]

MADE = "graph"  # in the job's folder: what its worker makes
PRIORITY = -50  # endpoints answer without it: whatever users submit goes first, unless they say otherwise
BASE_BYTES = 600_000_000  # of torch and transformers
WEIGHT_BYTES = 12  # in float32, and held three times over: as the model, as the traced graph, as the optimized one
MAX_REASON = 300  # characters


def spec_of(version: ModelVersion) -> dict[str, Any]:
    return {"model": version.ref, "digest": version.digest, "task": version.facts.task}


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    raise Refused(
        "A job of the kind 'graph' is the server's own: it is submitted when a text encoder is deployed on the CPU.",
        hint="Deploy the model with: bedplate deploy MODEL --endpoint NAME --device cpu",
        code="server-only",
    )


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    parameters = context.registry.models.get(spec["model"]).facts.parameters
    # No core of its own: endpoints answer without it, and a niced process holds up nobody's job.
    return Demand(memory_bytes=BASE_BYTES + WEIGHT_BYTES * parameters)


def _command(context: Context, spec: Mapping[str, Any], folder: Path, epoch: int, lease: Lease) -> Command:
    lay_out(context, [context.registry.models.get(spec["model"])])
    return worker("bedplate.workers.graph", context, folder, epoch)


def _finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    derived, key = context.home.derived_of(spec["digest"]), key_of(spec["digest"], spec["task"])
    made = context.home.jobs / job_id / MADE
    if "reason" in result:
        reason = str(result["reason"])[:MAX_REASON]
        put_reason(derived, key, reason)
        return {"model": spec["model"], "engine": "torch", "reason": reason}
    if made.exists() or not holds_graph(derived, key):  # else it was moved before a crash
        put_graph(made, derived, key)
    return {"model": spec["model"], "engine": "onnxruntime"}


KIND = Kind(
    "graph",
    scope="train",
    prepare=_prepare,
    demand=_demand,
    command=_command,
    finish=_finish,
    preemptible=True,
)
