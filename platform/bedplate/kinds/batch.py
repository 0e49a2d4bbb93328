"""Score a file of rows with a model version, in a worker of its own and never through live replicas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bedplate.compute import Demand, Lease
from bedplate.data_refs import DataRef
from bedplate.kinds.base import (
    Command,
    Context,
    Kind,
    check_can_score,
    check_keys,
    choose_device,
    columns_given,
    mapping_of,
    scoring_demand,
    worker,
)
from bedplate_registry.errors import Refused
from bedplate_registry.models import ModelVersion
from bedplate_registry.tables import format_of

__all__ = ["KIND"]

REQUIRED = {"model", "input", "output"}
OPTIONAL = {"columns", "parameters", "error_threshold", "device"}


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    check_keys("batch", request, required=REQUIRED, optional=OPTIONAL)
    version = _version(context, str(request["model"]))
    task = check_can_score(version)
    data = DataRef.resolve(context.registry, request["input"], "input")
    columns = columns_given(request)
    data.check_columns(context.registry, task, columns, need_label=False, what="input")
    output = Path(str(request["output"])).name
    threshold = request.get("error_threshold", -1)
    if not isinstance(threshold, int) or isinstance(threshold, bool) or threshold < -1:
        raise Refused(
            f"error_threshold={threshold!r} is not accepted.", hint="Give -1 (any number of bad rows) or more."
        )
    return {
        "model": version.ref,
        "task": task,
        "input": data.to_json(),
        "output": output,
        "output_format": format_of(output),
        "columns": columns,
        "parameters": mapping_of(request, "parameters"),
        "error_threshold": threshold,
        "device": choose_device(context.machine, request.get("device")),
    }


def _version(context: Context, name: str) -> ModelVersion:
    """A model of that name, or the version that holds most traffic of the endpoint of that name."""
    served = context.endpoints.model_of(name) if "/" not in name else None
    return context.registry.models.get(served or name)


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    return scoring_demand(context, context.registry.models.get(spec["model"]), spec["device"])


def _command(context: Context, spec: Mapping[str, Any], folder: Path, epoch: int, lease: Lease) -> Command:
    models = context.registry.models
    models.files_dir(models.get(spec["model"]))  # the worker may only read it
    return worker("bedplate.workers.batch", context, folder, epoch)


KIND = Kind("batch", scope="batch", prepare=_prepare, demand=_demand, command=_command, preemptible=True)
