"""`bedplate evaluate`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

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
    connect,
    follow,
    pairs,
    parse_needs,
    parse_values,
    show,
)

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[str, typer.Argument(metavar="REF")],
    data: Annotated[str, typer.Option("--data", help="A file or dataset to measure on.")],
    task: TaskOption = None,
    against: Annotated[str | None, typer.Option(help="Another model, on the same rows.")] = None,
    train: Annotated[str | None, typer.Option(help="Training data: needed for a base, gives baselines.")] = None,
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
    """Evaluate a model; a base by a probe (frozen features and a logistic regression)."""
    ws = connect(home, url)
    settings = parse_values(pairs(set or (), "--set"))
    job = ws.evaluate(
        model,
        data=data,
        task=task,
        against=against,
        train=train,
        columns=pairs(map or (), "--map"),
        settings=settings,
        device=device,
        priority=priority,
        needs=parse_needs(need),
    )
    follow(job, detach=detach, format=format)
    if not detach:
        report = job.report.data
        show(report if format is Format.json else _figures(report), format, columns=("metric", *_sides(report)))


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
