"""`bedplate evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.caller import writable
from bedplate.cli.output import (
    DetachOption,
    DeviceOption,
    Format,
    FormatOption,
    HomeOption,
    MapOption,
    NeedOption,
    PriorityOption,
    SetOption,
    TaskOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    pairs,
    parse_needs,
    parse_values,
    say,
    show,
    take_data,
)

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[str, typer.Option("--data", help="A file, dataset or folder of images to measure on.")],
    model: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="Left out with --from-predictions.", show_default=False)
    ] = None,
    task: TaskOption = None,
    from_predictions: Annotated[
        str | None, typer.Option(help="In place of a model: a file with what was predicted for each row.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What those predictions are called.")] = None,
    against: Annotated[str | None, typer.Option(help="Another model, on the same rows.")] = None,
    train: Annotated[str | None, typer.Option(help="Training data: needed for a base, gives baselines.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="A file for what the model says of each row, as Parquet.")
    ] = None,
    map: MapOption = None,
    set: SetOption = None,
    device: DeviceOption = "auto",
    priority: PriorityOption = None,
    need: NeedOption = None,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Evaluate a model, or a file of predictions; a base by a probe (frozen features and a logistic regression)."""
    if predictions is not None:
        _check_target(predictions, detach=detach)
    ws = connect(home, url)
    settings = parse_values(pairs(set or (), "--set"))
    job = ws.evaluate(
        model,
        predictions=from_predictions,
        **({"name": name} if name else {}),
        data=take_data(ws, data),
        task=task,
        against=against,
        train=take_data(ws, train) if train else None,
        columns=pairs(map or (), "--map"),
        settings=settings,
        device=device,
        priority=priority,
        needs=parse_needs(need),
    )
    follow(job, detach=detach, format=format)
    if not detach:
        found = job.report
        if predictions is not None:
            say(f"What it says of each row: {found.predictions(predictions)}")
        report = found.data
        show(report if format is Format.json else _figures(report), format, columns=("metric", *_sides(report)))


def _check_target(predictions: Path, *, detach: bool) -> None:
    """Before anything runs. Raises WrongUse, and what `writable` does."""
    if detach:
        raise WrongUse(
            "--predictions waits for the end of the evaluation, and --detach does not.",
            hint="Leave one of them out; later, in Python: ws.evaluations.get(ID).predictions(FILE).",
        )
    writable(predictions)


def _sides(report: dict[str, Any]) -> list[str]:
    baselines = list(report.get("baselines") or {})
    return [report["kind"], *(["against"] if report.get("against") else []), *baselines]


def _figures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One line a metric, one column for the model, the other one and each baseline."""
    against = (report.get("against") or {}).get("metrics", {})
    baselines = report.get("baselines") or {}
    return [
        {
            "metric": name,
            report["kind"]: value,
            "against": against.get(name),
            **{side: values.get(name) for side, values in baselines.items()},
        }
        for name, value in report["metrics"].items()
    ]
