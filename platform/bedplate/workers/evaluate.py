"""Evaluate a model, alone or against another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bedplate.data_refs import DataRef
from bedplate.home import Home
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate.row_files import rows_file
from bedplate_registry.registry import Registry
from bedplate_trainers.evaluation import examine
from bedplate_trainers.messages import DataFile, EvaluateRequest
from bedplate_trainers.settings import EvaluateSettings
from bedplate_trainers.stored_rows import keep_rows_in

__all__ = ["work"]


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    keep_rows_in(folder.path)
    spec = folder.spec
    home = Home(Path(os.environ["BEDPLATE_HOME"]))
    registry = Registry(home.registry)
    data = DataRef.from_json(spec["data"])
    train = DataRef.from_json(spec["train"]) if spec["train"] else None
    said = DataRef.from_json(spec["predictions"]) if spec.get("predictions") else None
    request = EvaluateRequest(
        task=spec["task"],
        **{"model_dir": None} | _folders(home, registry, "model", spec["model"]),
        **_folders(home, registry, "against", spec["against"]),
        data=_file(registry, data),
        train=_file(registry, train) if train else None,
        predictions=_file(registry, said) if said else None,
        columns=spec["columns"],
        settings=spec["settings"],
        device=spec["device"],
    )
    found = examine(request, reporter)
    predictions = found.rows.write(rows_file(folder.path, reporter.epoch))
    class_names = EvaluateSettings.from_mapping(spec["settings"], spec["task"]).class_names
    about = {
        "sha256": data.sha256,
        "filename": data.filename,
        "dataset": data.dataset,
        **data.read_as(registry, spec["task"], spec["columns"], class_names),
    }
    report = {**found.report, "predictions": predictions, "data": {**about, **found.report["data"]}}
    if said:
        report["predictions_of"] |= {"filename": said.filename, "sha256": said.sha256, "dataset": said.dataset}
    return {"report": report}


def _file(registry: Registry, data: DataRef) -> DataFile:
    return DataFile(data.path(registry), data.format, data.images(registry), registry.blobs.root)


def _folders(home: Home, registry: Registry, which: str, ref: str | None) -> dict[str, Any]:
    """Where a model is, and what was derived of it."""
    if not ref:
        return {}
    version = registry.models.get(ref)
    return {f"{which}_dir": registry.models.files_dir(version), f"{which}_derived": home.derived_of(version.digest)}


if __name__ == "__main__":
    run_worker(work)
