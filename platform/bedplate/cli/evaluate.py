"""`bedplate evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.caller import writable
from bedplate.cli.config import EVALUATE, merged, read_config
from bedplate.cli.output import (
    ConfigOption,
    DetachOption,
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
    model: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="Left out with --from-predictions.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="A file, dataset or folder of images to measure on.")
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
    config: ConfigOption = None,
    set: SetOption = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
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
    flags: dict[str, Any] = {"task": task, "data": data, "train": train, "against": against, "name": name}
    flags |= {"predictions": from_predictions, "device": device, "priority": priority, "needs": parse_needs(need)}
    flags |= {"columns": pairs(map or (), "--map"), "settings": parse_values(pairs(set or (), "--set"))}
    request = merged(read_config(config, EVALUATE) if config else {}, flags)
    if not request.get("data"):
        raise WrongUse("evaluate needs data.", hint="Add --data, or write it in --config.")
    ws = connect(home, url)
    for part in ("data", "train"):
        if request.get(part):
            request[part] = take_data(ws, request[part])
    job = ws.evaluate(model, **request)
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
