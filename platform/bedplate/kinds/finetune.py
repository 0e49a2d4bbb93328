"""Fine-tune a model of the registry on data, and register the result with its lineage."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from bedplate.compute import GIB, Demand, Lease
from bedplate.data_refs import DataRef
from bedplate.kinds.base import (
    Command,
    Context,
    Kind,
    check_keys,
    choose_device,
    columns_given,
    host_cores,
    keep_report,
    mapping_of,
    rows_left,
)
from bedplate.kinds.requests import Columns, Data, Device, JobRequest, SettingValues, names_of
from bedplate.row_files import drop_rows
from bedplate_registry.errors import Conflict, Refused
from bedplate_registry.models import ModelDraft, ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.plans import ADAPTER_FILES
from bedplate_registry.tables import count_rows
from bedplate_registry.tasks import get_task, joins_for
from bedplate_trainers.launch import launch_command, launch_environment
from bedplate_trainers.settings import FinetuneSettings, resolve
from bedplate_trainers.sharding import write_accelerate_config

__all__ = ["EXAMPLE", "KIND", "TrainingRequest", "drop_weights", "register"]

SETTINGS = f"Any of: {', '.join(field.name for field in fields(FinetuneSettings))}."
Part = Annotated[Data | None, Field(description="A dataset, an upload, or `auto`: split off the training rows.")]
EXAMPLE: dict[str, Any] = {
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "task": "text-classification",
    "train": "tickets",
    "columns": {"sentence1": "text", "label": "intent"},
    "output": "support-intent",
    "settings": {"num_train_epochs": 3},
}


class TrainingRequest(JobRequest):
    """What a fine-tune and a sweep of them have in common."""

    model: Annotated[str, Field(description="The model to begin with.")]
    task: str
    train: Data
    output: Annotated[str, Field(description="The name of the model that is made.")]
    validation: Part = None
    test: Part = None
    columns: Columns = None
    settings: Annotated[SettingValues, Field(description=SETTINGS)] = None
    device: Device = None
    processes: Annotated[int | None, Field(ge=1, le=64, description="GPUs, or processes on the CPU.")] = None


class FinetuneRequest(TrainingRequest):
    """Fine-tune a model on a table."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "finetune", **EXAMPLE, "priority": 10, "needs": {"cores": 4, "memory_gb": 8}}]
        }
    )

    kind: Literal["finetune"]


REQUIRED, OPTIONAL = names_of(FinetuneRequest)
# What a sweep says of one of its fine-tunes, {"sweep": its id, "number": from 1, "rows": as it counted them}.
OPTIONAL |= {"trial"}


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    check_keys("finetune", request, required=REQUIRED, optional=OPTIONAL)
    task = get_task(str(request["task"])).name
    model = context.registry.models.get(str(request["model"]))
    _check_finetunable(model, task)
    given = mapping_of(request, "settings")
    settings = FinetuneSettings.from_mapping(given, task)
    _check_adapter(model, settings)
    data = {part: _data(context, request.get(part), part) for part in ("train", "validation", "test")}
    columns = columns_given(request)
    for part, ref in data.items():
        if isinstance(ref, DataRef):
            ref.check_columns(context.registry, task, columns, need_label=True, what=part)
    train = data["train"]
    assert isinstance(train, DataRef)
    device = choose_device(context.machine, request.get("device"))
    trial = mapping_of(request, "trial")
    counted = trial.get("rows")
    rows = counted if isinstance(counted, int) else count_rows(train.path(context.registry), train.format)
    processes = _processes(request.get("processes"))
    forecast = resolve(settings, model.facts, rows, device, task=task, processes=processes)
    return {
        "task": task,
        "model": model.ref,
        "model_digest": model.digest,
        **{part: ref.to_json() if isinstance(ref, DataRef) else ref for part, ref in data.items()},
        "columns": columns,
        "settings": settings.to_json(task),
        # The worker resolves again, knowing the split and the labels.
        "forecast": {**forecast.to_json(), "sources": forecast.sources(given)},
        "output": str(_output(context, str(request["output"]))),
        "device": device,
        "processes": processes,
        "rows": rows,
        **({"trial": trial} if trial else {}),
    }


def _check_finetunable(model: ModelVersion, task: str) -> None:
    model.check_active()
    if task not in model.facts.finetunable_tasks and not joins_for(model.facts.model_type, task):
        able = ", ".join(model.facts.finetunable_tasks) or "nothing"
        raise Conflict(
            f"{model.ref} cannot be fine-tuned for {task}.",
            hint=f"It can be fine-tuned for: {able}.",
            code="not-finetunable",
        )


def _check_adapter(model: ModelVersion, settings: FinetuneSettings) -> None:
    """A model with an adapter is merged before it is trained, so an adapter on it would have no base here."""
    if not settings.merge_lora_weights and ADAPTER_FILES[0] in {file.path for file in model.files}:
        raise Conflict(
            f"{model.ref} is an adapter, or a model with one, and cannot be the base of another.",
            hint="Leave merge_lora_weights=false out, or begin with its base.",
            code="bad-base",
        )


def _output(context: Context, text: str) -> Name:
    """Refused now, and not after hours of training."""
    name = Name.parse(text)
    context.registry.models.check_name(name)
    return name


def _data(context: Context, value: object, part: str) -> DataRef | str | None:
    """A file or dataset; for validation and test also `auto` (split off by seed), which is the default."""
    if part != "train" and value in (None, "", "auto"):
        return "auto"
    return DataRef.resolve(context.registry, value, part)


def _processes(value: object) -> int:
    if value in (None, ""):
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 64:
        raise Refused(f"processes={value!r} is not accepted.", hint="Give a whole number from 1 to 64.")
    return value


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    """Weights, gradients and the two moments of Adam, four bytes each; on a GPU the host holds the weights only.

    With LoRA the weights, and a second time where the two are merged. Two encoders that are joined are two of them, and
    what the second looks at the first with.
    """
    facts, processes = context.registry.models.get(spec["model"]).facts, spec["processes"]
    is_joined = joins_for(facts.model_type, spec["task"])
    parameters = int(facts.parameters * 2.5) if is_joined else facts.parameters
    bytes_each = 8 if spec["settings"].get("apply_lora") is True else 16
    if spec["device"] == "cuda":
        each = parameters * 4 + 3 * GIB
        return Demand(cores=2 * processes, memory_bytes=processes * each, gpus=processes)
    return Demand(cores=host_cores(context), memory_bytes=processes * (parameters * bytes_each + 2 * GIB))


def _command(context: Context, spec: Mapping[str, Any], folder: Path, epoch: int, lease: Lease) -> Command:
    models = context.registry.models
    models.files_dir(models.get(spec["model"]))  # the worker may only read it
    each = {"device": spec["device"], "processes": spec["processes"]}
    each["threads"] = max(1, lease.cores // spec["processes"])
    config = write_accelerate_config(spec["settings"], folder)
    argv = launch_command("bedplate.workers.finetune", [str(folder), str(epoch)], config=config, **each)
    return Command(argv, {"BEDPLATE_HOME": str(context.home.path), **launch_environment(**each)})


def _finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Register the model. Of a trial only the figures are kept here: its sweep registers one of them all."""
    ref = evaluation = None
    report = None if "trial" in spec else result["report"]
    if "trial" not in spec:
        draft, rows = ModelDraft.from_json(result["draft"]), rows_left(context, job_id)
        version, evaluation = register(context, job_id, draft, report, rows)
        ref = version.ref
        drop_rows(context.home.jobs / job_id)  # those of earlier attempts
    drop_weights(context, job_id)
    return {
        "model": ref,
        "evaluation": evaluation,
        "metrics": result["metrics"],
        "test_metrics": report["metrics"] if report else None,
        "baselines": report["baselines"] if report else {},
        "rows": result["rows"],
        "steps": result["steps"],
        "best_step": result["best_step"],
        "seconds": result["seconds"],
        "samples_per_second": result["samples_per_second"],
        "changed": result.get("changed", {}),  # where memory ran out
        "forecast": result.get("forecast"),
    }


def register(
    context: Context, job_id: str, draft: ModelDraft, report: Mapping[str, Any] | None, rows: Path
) -> tuple[ModelVersion, str | None]:
    """Publish a model (once: its source is the job), keep its test report beside it, and give the report's id too.

    `rows` are what the model said of each test row.
    """
    version = context.registry.models.publish(draft)
    if report is None:
        return version, None
    return version, keep_report(context, job_id, {**report, "model": version.ref}, rows)


def drop_weights(context: Context, job_id: str) -> None:
    """Remove what a job would resume from, and its copy of a model whose files are in the store."""
    for leftover in ("checkpoints", "model"):
        shutil.rmtree(context.home.jobs / job_id / leftover, ignore_errors=True)


KIND = Kind(
    "finetune",
    request=FinetuneRequest,
    scope="train",
    prepare=_prepare,
    demand=_demand,
    command=_command,
    finish=_finish,
    stores_blobs=True,
)
