"""Evaluation of a model on labeled rows, and of two on the same rows. The task's examiner does the work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_registry.tasks import architecture_of, get_task

from .changes import changes
from .examiners import PROBED, Examiner, Setup, get_examiner
from .messages import DataFile, EvaluateRequest
from .notes import Noting
from .predicted import read_predicted
from .row_predictions import RowFile
from .settings import EvaluateSettings
from .slice_columns import read_columns
from .splits import tell_twins

__all__ = ["EvaluateRequest", "Evaluated", "evaluate", "examine", "has_head"]

CLASSIFIERS = ("text-classification", "image-classification")


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation came to."""

    report: dict[str, Any]
    rows: RowFile  # what the model said of each


def evaluate(request: EvaluateRequest, reporter: Reporter) -> dict[str, Any]:
    """The report of the model, and of the one it is held against."""
    return examine(request, reporter).report


def examine(request: EvaluateRequest, reporter: Reporter) -> Evaluated:
    """The report, and the rows that it is about. What the reporter is told by the way is among its `notes`."""
    reporter = Noting(reporter)
    task = get_task(request.task).name
    settings = EvaluateSettings.from_mapping(request.settings, task)
    examiner = get_examiner(Setup(task, request.columns, request.device, reporter, settings))
    given = ((request.model_dir, request.model_derived), (request.against_dir, request.against_derived))
    models = [(folder, derived) for folder, derived in given if folder is not None]
    _check_bases([folder for folder, _ in models], request)
    reporter.progress("load", 0, 1)
    rows = examiner.read(request.data, "The data")
    train = examiner.read(request.train, "The training data") if request.train else None
    if train is not None and task != "image-classification":  # images in a folder tell nothing by their names
        tell_twins(rows, train, "rows", reporter)
    columns = read_columns(request.data, settings.slices)

    said = [] if request.predictions is None else [_said(examiner, request.predictions, task, rows)]
    mine, *others = said + [_judge(examiner, task, folder, derived, rows, train) for folder, derived in models]
    report, judged = examiner.report(mine, columns), examiner.rows_of(mine)
    if said:
        report |= {"kind": "predictions", "seconds": None, "samples_per_second": None}
    report["baselines"] = examiner.baselines(mine, train)
    for other in others:
        whole = examiner.report(other, columns)
        report["against"] = {name: value for name, value in whole.items() if name != "curves"}  # the bulk of a report
        report["difference"] = examiner.difference(mine, other)
        target = "label" if task in CLASSIFIERS else "target"
        report["changed"] = changes(examiner.rows_of(other), judged, target)
    report |= {"settings": settings.to_json(task), "device": request.device, "notes": reporter.notes}
    return Evaluated(report, RowFile(judged, columns))


def has_head(folder: Path, task: str = "text-classification") -> bool:
    """Whether the model in `folder` can answer by itself."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return get_task(task).fits(architecture_of(config))


def _judge(examiner: Examiner, task: str, folder: Path, derived: Path | None, rows: Any, train: Any) -> Any:
    if has_head(folder, task):
        return examiner.judge(folder, rows, derived=derived)
    return examiner.probe(folder, rows, train)


def _said(examiner: Examiner, file: DataFile, task: str, rows: Any) -> Any:
    return examiner.said(rows, read_predicted(file, task, len(rows)))


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
