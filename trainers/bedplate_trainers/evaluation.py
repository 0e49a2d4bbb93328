"""Evaluation of a model on labeled rows, and of two on the same rows. The task's examiner does the work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_registry.tasks import architecture_of, get_task

from .examiners import PROBED, Examiner, Setup, get_examiner
from .messages import EvaluateRequest
from .settings import EvaluateSettings

__all__ = ["EvaluateRequest", "evaluate", "has_head"]


def evaluate(request: EvaluateRequest, reporter: Reporter) -> dict[str, Any]:
    """The report of the model, and of the one it is held against."""
    task = get_task(request.task).name
    settings = EvaluateSettings.from_mapping(request.settings, task)
    examiner = get_examiner(Setup(task, request.columns, request.device, reporter, settings))
    models = [(request.model_dir, request.model_derived)]
    if request.against_dir:
        models.append((request.against_dir, request.against_derived))
    _check_bases([folder for folder, _ in models], request)
    reporter.progress("load", 0, 1)
    rows = examiner.read(request.data, "The data")
    train = examiner.read(request.train, "The training data") if request.train else None

    mine, *others = [_judge(examiner, task, folder, derived, rows, train) for folder, derived in models]
    report = examiner.report(mine)
    report["baselines"] = examiner.baselines(mine, train)
    for other in others:
        report["against"] = examiner.report(other)
        report["difference"] = examiner.difference(mine, other)
    return report


def has_head(folder: Path, task: str = "text-classification") -> bool:
    """Whether the model in `folder` can answer by itself."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return get_task(task).fits(architecture_of(config))


def _judge(examiner: Examiner, task: str, folder: Path, derived: Path | None, rows: Any, train: Any) -> Any:
    if has_head(folder, task):
        return examiner.judge(folder, rows, derived=derived)
    return examiner.probe(folder, rows, train)


def _check_bases(folders: Sequence[Path], request: EvaluateRequest) -> None:
    for folder in folders:
        if has_head(folder, request.task):
            continue
        if request.task not in PROBED:
            raise Refused(
                f"The model is a base: it has no head for {request.task}, so there is nothing to evaluate.",
                hint="Fine-tune it, and evaluate what comes of it.",
                code="no-probe",
            )
        if request.train is None:
            raise Refused(
                "The model is a base: it has no head to answer with, so there is nothing to evaluate as it is.",
                hint="Give training data with --train: a probe on its frozen features is then evaluated.",
                code="base-needs-training-data",
            )
