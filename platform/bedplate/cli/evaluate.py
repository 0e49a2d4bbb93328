"""`bedplate evaluate`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

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
    parse_settings,
    take_data,
)
from bedplate.cli.report import PageOption, PredictionsOption, check_files, show_report, write_files

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
    predictions: PredictionsOption = None,
    page: PageOption = None,
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
    from bedplate_trainers.settings import EvaluateSettings

    if detach and (page or predictions):
        raise WrongUse(
            "--page and --predictions wait for the end of the evaluation, and --detach does not.",
            hint="Leave it out; or later: bedplate evaluations show ID --page FILE --predictions FILE",
        )
    check_files(page, predictions)
    flags: dict[str, Any] = {"task": task, "data": data, "train": train, "against": against, "name": name}
    flags |= {"predictions": from_predictions, "device": device, "priority": priority, "needs": parse_needs(need)}
    flags |= {
        "columns": pairs(map or (), "--map"),
        "settings": parse_settings(set, EvaluateSettings),
    }
    request = merged(read_config(config, EVALUATE) if config else {}, flags)
    if not model and not request.get("predictions"):
        raise WrongUse(
            "evaluate needs a model, or a file of predictions.",
            hint="For example: bedplate evaluate REF --data FILE …, or without REF and with --from-predictions FILE",
        )
    if not request.get("data"):
        raise WrongUse("evaluate needs data.", hint="Add --data, or write it in --config.")
    ws = connect(home, url)
    for part in ("data", "train"):
        if request.get(part):
            request[part] = take_data(ws, request[part])
    job = ws.evaluate(model, **request)
    follow(job, detach=detach, format=format)
    if not detach:
        report = job.report
        write_files(report, page, predictions)
        show_report(report.data, format)
