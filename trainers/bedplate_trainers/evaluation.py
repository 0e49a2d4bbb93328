"""Evaluation of a model on labeled rows, and of two on the same rows. The task's examiner does the work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter
from bedplate_registry.tasks import architecture_of, get_task

from .changes import changes
from .examiners import PROBED, Examiner, Setup, get_examiner
from .judged import JudgedRows
from .messages import DataFile, EvaluateRequest
from .notes import Noting
from .predicted import check_predicted, read_predicted
from .row_predictions import RowFile
from .settings import EvaluateSettings
from .slice_columns import read_columns
from .splits import tell_twins

__all__ = ["EvaluateRequest", "Evaluated", "evaluate", "examine", "has_head"]

CLASSIFIERS = ("text-classification", "image-classification")
OF_OTHER = "Of the model that it is held against"
FEWEST_PERFECT = 10  # rows that are all right: of fewer that may well be


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
    judged_models = (_judge(examiner, task, folder, derived, rows, train) for folder, derived in models)
    mine, *others = [*said, *_told_apart(judged_models, request, reporter)]
    report, judged = examiner.report(mine, columns), examiner.rows_of(mine)
    if request.predictions is not None:
        report |= {"kind": "predictions", "seconds": None, "samples_per_second": None}
        report["predictions_of"] = {"column": check_predicted(request.predictions, task).get("predicted")}
        _tell_of_perfection(judged, report["predictions_of"]["column"], reporter)
    report["baselines"] = examiner.baselines(mine, train)
    for other in others:
        whole = examiner.report(other, columns)
        report["against"] = {name: value for name, value in whole.items() if name != "curves"}  # the bulk of a report
        report["difference"] = examiner.difference(mine, other)
        target = "label" if task in CLASSIFIERS else "target"
        report["changed"] = changes(examiner.rows_of(other), judged, target)
    report |= {"settings": settings.to_json(task), "device": request.device, "notes": reporter.notes}
    return Evaluated(report, RowFile(judged, columns))


def _told_apart(judged: Iterator[Any], request: EvaluateRequest, reporter: Noting) -> Iterator[Any]:
    """Each as it is judged; what is wrong with the model that another one is held against says so, and its notes."""
    if request.model_dir is not None:
        yield next(judged)
    reporter.of = OF_OTHER
    try:
        yield from judged
    except Refused as error:
        raise Refused(f"{OF_OTHER}: {error.message}", hint=error.hint, code=error.code) from error
    reporter.of = ""


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


def _tell_of_perfection(judged: JudgedRows, column: str | None, reporter: Reporter) -> None:
    """Says where every prediction is what is right: more likely the column of the labels was taken than that."""
    count = 0
    for count, row in enumerate(judged.row_predictions(), 1):  # noqa: B007 - read behind the loop
        several = isinstance(row.target, list) and not isinstance(row.predicted, list)
        if row.predicted not in (row.target or [""]) if several else row.predicted != row.target:
            return
    if count >= FEWEST_PERFECT:
        where = f"The column {column!r} of the predictions" if column else "The file of predictions"
        reporter.message(f"{where} has what is right in every row. Are these the labels themselves?")


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
