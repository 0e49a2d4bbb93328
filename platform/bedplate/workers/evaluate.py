"""Evaluate a model, alone or against another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bedplate.data_refs import DataRef
from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate_registry.registry import Registry
from bedplate_trainers.evaluation import evaluate
from bedplate_trainers.messages import DataFile, EvaluateRequest

__all__ = ["work"]


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    spec = folder.spec
    registry = Registry(Path(os.environ["BEDPLATE_HOME"]) / "registry")
    data = DataRef.from_json(spec["data"])
    train = DataRef.from_json(spec["train"]) if spec["train"] else None
    request = EvaluateRequest(
        task=spec["task"],
        model_dir=_files(registry, spec["model"]),
        against_dir=_files(registry, spec["against"]) if spec["against"] else None,
        data=DataFile(data.path(registry), data.format),
        train=DataFile(train.path(registry), train.format) if train else None,
        columns=spec["columns"],
        settings=spec["settings"],
        device=spec["device"],
    )
    report = evaluate(request, reporter)
    about = {"sha256": data.sha256, "filename": data.filename, "dataset": data.dataset}
    return {"report": {**report, "data": {**about, **report.get("data", {})}}}


def _files(registry: Registry, ref: str) -> Path:
    return registry.models.files_dir(registry.models.get(ref))


if __name__ == "__main__":
    run_worker(work)
