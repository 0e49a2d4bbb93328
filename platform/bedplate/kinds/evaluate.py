"""Evaluate a model on data, alone or against another one; a base by a probe; a file of predictions as a model."""

from __future__ import annotations

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
    keep_report,
    lay_out,
    mapping_of,
    rows_left,
    scoring_demand,
    worker,
)
from bedplate.kinds.requests import Columns, Data, Device, JobRequest, SettingValues, names_of
from bedplate_registry.errors import Conflict, Refused
from bedplate_registry.models import ModelVersion
from bedplate_registry.tasks import get_task
from bedplate_trainers.examiners import PROBED
from bedplate_trainers.messages import DataFile
from bedplate_trainers.predicted import COLUMNS, check_count, check_predicted
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.slice_columns import check_slices

__all__ = ["KIND"]

SETTINGS = f"Any of: {', '.join(field.name for field in fields(EvaluateSettings))}."


class EvaluateRequest(JobRequest):
    """Evaluate a model on data, alone or against another one; or predictions that are there already."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "evaluate",
                    "model": "support-intent:1",
                    "task": "text-classification",
                    "data": "tickets",
                    "columns": {"sentence1": "text", "label": "intent"},
                }
            ]
        }
    )

    kind: Literal["evaluate"]
    model: Annotated[str | None, Field(description="Needed unless there are predictions.")] = None
    predictions: Annotated[
        Data | None, Field(description="In place of a model: what was predicted for each row. A .txt is taken, too.")
    ] = None
    name: Annotated[
        str | None, Field(min_length=1, max_length=100, description="What the predictions are called; else their file.")
    ] = None
    task: str
    data: Data
    against: Annotated[str | None, Field(description="Another model, on the same rows.")] = None
    train: Annotated[Data | None, Field(description="What a base's probe is fitted on.")] = None
    columns: Columns = None
    settings: Annotated[SettingValues, Field(description=SETTINGS)] = None
    device: Device = None


REQUIRED, OPTIONAL = names_of(EvaluateRequest)


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    check_keys("evaluate", request, required=set(), optional=REQUIRED | OPTIONAL)
    _check_subject(request)  # first: without a model its task is missing, too, and is not to be asked for alone
    check_keys("evaluate", request, required=REQUIRED, optional=OPTIONAL)
    task = get_task(str(request["task"])).name
    models = context.registry.models
    model, against = (models.get(str(request[name])) if request.get(name) else None for name in ("model", "against"))
    predictions = _predictions(context, request, task)
    data = DataRef.resolve(context.registry, request["data"], "data")
    train = DataRef.resolve(context.registry, request["train"], "train") if request.get("train") else None
    for version in (model, against):
        if version is not None:
            _check_model(version, task, train)
    settings = mapping_of(request, "settings")
    wanted = EvaluateSettings.from_mapping(settings, task)  # refuses what is unknown, by name
    columns = columns_given(request)
    check_slices(DataFile(data.path(context.registry), data.format), wanted.slices)
    for ref, what in ((data, "data"), (train, "train")):
        if ref is not None:
            mapped = ref.check_columns(context.registry, task, columns, need_label=True, what=what)
            if task == "image-classification":
                ref.check_holds_images(context.registry, mapped["image"], what)
            if ref is data and predictions is not None:
                _check_not_the_labels(context, predictions, data, mapped, task)
                _check_as_many(context, predictions, data)
    return {
        "task": task,
        "model": model.ref if model else None,
        "predictions": predictions.to_json() if predictions else None,
        "name": request.get("name") or (predictions.filename if predictions else None),
        "against": against.ref if against else None,
        "data": data.to_json(),
        "train": train.to_json() if train else None,
        "columns": columns,
        "settings": settings,
        "device": choose_device(context.machine, request.get("device")),
    }


def _check_subject(request: Mapping[str, Any]) -> None:
    """Raises Refused unless there is either a model or predictions, and a name for no model."""
    if bool(request.get("model")) == bool(request.get("predictions")):
        both = request.get("model")
        raise Refused(
            "evaluate takes a model or predictions, and not both."
            if both
            else "evaluate needs a model, or predictions.",
            hint="Leave one of them out." if both else "Give a model, or predictions: a file with one for each row.",
            code="bad-setting" if both else "missing-setting",
        )
    if request.get("name") and request.get("model"):
        hint = "A model has a name: leave it out."
        raise Refused(f"name={request['name']!r} is for predictions.", hint=hint, code="bad-setting")


def _predictions(context: Context, request: Mapping[str, Any], task: str) -> DataRef | None:
    """Raises Refused where the file has no column for what was predicted, or the task is not evaluated."""
    if not request.get("predictions"):
        return None
    if task not in COLUMNS:
        raise Refused(f"{task} cannot be evaluated.", hint=f"It can be: {', '.join(COLUMNS)}.", code="no-recipe")
    ref = DataRef.resolve(context.registry, request["predictions"], "predictions", lines=True)
    check_predicted(DataFile(ref.path(context.registry), ref.format), task)
    return ref


def _check_not_the_labels(
    context: Context, predictions: DataRef, data: DataRef, mapped: Mapping[str, str], task: str
) -> None:
    """Raises Refused where the right answers of a file would be taken for predictions of them."""
    read = check_predicted(DataFile(predictions.path(context.registry), predictions.format), task).get("predicted")
    labels = {mapped[key.name] for key in get_task(task).keys if key.is_label and key.name in mapped}
    if predictions.sha256 == data.sha256 and read in labels:
        raise Refused(
            f"The predictions are the data itself, and their column {read!r} holds what is right.",
            hint="Give the file that holds what was predicted, in a column 'predicted'.",
            code="bad-predictions",
        )


def _check_as_many(context: Context, predictions: DataRef, data: DataRef) -> None:
    """Of datasets it is known how many rows they have before anything is read."""
    if predictions.dataset is not None and data.dataset is not None:
        datasets = context.registry.datasets
        check_count(datasets.get(predictions.dataset).rows, datasets.get(data.dataset).rows)


def _check_model(version: ModelVersion, task: str, train: DataRef | None) -> None:
    """A model with a head for the task is judged as it is; one that could be fine-tuned for it, by a probe.

    Summarization and translation have the same head.
    """
    if version.facts.task is not None and get_task(task).fits(version.facts.architecture):
        return
    if task not in version.facts.finetunable_tasks:
        does = version.facts.task or "nothing by itself"
        raise Conflict(f"{version.ref} does {does}, not {task}.", hint="Choose another model or another --task.")
    if task not in PROBED:
        raise Conflict(
            f"{version.ref} has no head for {task}, so there is nothing to evaluate.",
            hint=f"Fine-tune it first: bedplate finetune {version.ref} --task {task} …",
            code="no-probe",
        )
    if train is None:
        raise Refused(
            f"{version.ref} has no head for {task}: evaluating it as a base fits a probe, which needs training data.",
            hint="Give --train FILE as well.",
            code="needs-train",
        )


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    versions = _versions(context, spec)
    if not versions:
        return Demand(cores=1, memory_bytes=2 * GIB)
    largest = max(versions, key=lambda version: version.loaded_bytes)
    return scoring_demand(context, largest, spec["device"])


def _command(context: Context, spec: Mapping[str, Any], folder: Path, epoch: int, lease: Lease) -> Command:
    for part in ("data", "train"):
        if spec[part]:
            DataRef.from_json(spec[part]).images(context.registry)  # laid out for a worker, which only reads
    return worker("bedplate.workers.evaluate", context, folder, epoch, lay_out(context, _versions(context, spec)))


def _versions(context: Context, spec: Mapping[str, Any]) -> list[ModelVersion]:
    return [context.registry.models.get(ref) for ref in (spec["model"], spec["against"]) if ref]


def called(name: str) -> str:
    """What reports and leaderboards call a file of predictions. No model's name has a blank."""
    return f"{name} (predictions)"


def _finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    report = {**result["report"], "model": spec["model"] or called(spec["name"])}
    if report.get("against"):
        report["against"] = {**report["against"], "model": spec["against"]}
    return {
        "evaluation": keep_report(context, job_id, report, rows_left(context, job_id)),
        "metrics": report["metrics"],
        "kind": report["kind"],
    }


KIND = Kind(
    "evaluate",
    scope="train",
    request=EvaluateRequest,
    prepare=_prepare,
    demand=_demand,
    command=_command,
    finish=_finish,
)
