"""Score a file of rows with a model version, in a worker of its own and never through live replicas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

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
    lay_out,
    mapping_of,
    scoring_demand,
    worker,
)
from bedplate.kinds.requests import Columns, Data, Device, JobRequest, names_of
from bedplate_registry.errors import Refused
from bedplate_registry.models import ModelVersion
from bedplate_registry.tables import format_of
from bedplate_serving.batch import check_output_format

__all__ = ["EXAMPLE", "KIND", "BatchSettings"]

EXAMPLE: dict[str, Any] = {"input": "tickets", "output": "scored.parquet", "columns": {"sentence1": "text"}}


class BatchSettings(JobRequest):
    """What is scored, and where the rows go."""

    input: Data
    output: Annotated[str, Field(description="The name of the file that is written; its ending tells the format.")]
    columns: Columns = None
    parameters: Annotated[dict[str, Any] | None, Field(description="Of the task, as in scoring.")] = None
    error_threshold: Annotated[
        int | None, Field(ge=-1, description="So many bad rows fail the job; -1: any number is kept beside its row.")
    ] = -1
    device: Device = None


class BatchRequest(BatchSettings):
    """Score a file of rows with a model version."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "batch", "model": "support-intent:1", **EXAMPLE, "priority": 10}]}
    )

    kind: Literal["batch"]
    model: Annotated[
        str, Field(description="A model, or an endpoint: then the version that holds most of its traffic.")
    ]


REQUIRED, OPTIONAL = names_of(BatchRequest)


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    check_keys("batch", request, required=REQUIRED, optional=OPTIONAL)
    version = _version(context, str(request["model"]))
    task = check_can_score(version)
    data = DataRef.resolve(context.registry, request["input"], "input")
    columns = columns_given(request)
    data.check_columns(context.registry, task, columns, need_label=False, what="input")
    if task == "image-classification":
        data.check_holds_images(context.registry, columns.get("image", "image"), "input")
    output = Path(str(request["output"])).name
    check_output_format(task, format_of(output))
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
    DataRef.from_json(spec["input"]).images(context.registry)  # laid out for a worker, which only reads
    derived = lay_out(context, [context.registry.models.get(spec["model"])])
    return worker("bedplate.workers.batch", context, folder, epoch, derived)


KIND = Kind(
    "batch",
    scope="batch",
    request=BatchRequest,
    prepare=_prepare,
    demand=_demand,
    command=_command,
    preemptible=True,
)
