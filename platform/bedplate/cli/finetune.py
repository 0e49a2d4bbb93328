"""`bedplate finetune`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.config import FINETUNE, merged, read_config
from bedplate.cli.output import (
    ConfigOption,
    DetachOption,
    Format,
    FormatOption,
    GpusOption,
    HomeOption,
    MapOption,
    NeedOption,
    PriorityOption,
    SetOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    on_gpus,
    pairs,
    parse_needs,
    parse_settings,
    say,
    show,
)

__all__ = ["finetune", "show_result"]

# What is shown of the metrics of a fine-tune, the one that matters most first.
HEADLINES = {
    "text-classification": ("accuracy", "f1_score_macro"),
    "token-classification": ("f1_score_micro", "accuracy"),
    "question-answering": ("f1_score", "exact_match"),
    "summarization": ("rougeL", "rouge1"),
    "translation": ("bleu", "chrf"),
}


def finetune(
    model: Annotated[str | None, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task to learn.")] = None,
    train: Annotated[str | None, typer.Option("--train", help="A file or dataset.")] = None,
    validation: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    test: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    map: MapOption = None,
    config: ConfigOption = None,
    from_job: Annotated[
        str | None, typer.Option("--from-job", help="Do what this fine-tune did, but for what else is given here.")
    ] = None,
    set: SetOption = None,
    output: Annotated[str | None, typer.Option("--output", help="The name to register the result under.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    processes: Annotated[int | None, typer.Option("--processes", help="Processes, one a GPU.")] = None,
    gpus: GpusOption = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve and check, start nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Fine-tune a model on data and register the result, with a report on its test rows."""
    from bedplate_trainers.settings import FinetuneSettings

    flags: dict[str, Any] = {"model": model, "task": task, "train": train, "validation": validation, "test": test}
    flags |= {"output": output, "priority": priority, **on_gpus(gpus, processes, device)}
    flags |= {
        "columns": pairs(map or (), "--map"),
        "settings": parse_settings(set, FinetuneSettings),
    }
    flags |= {"needs": parse_needs(need)}
    base = _request_of_job(connect(home, url), from_job) if from_job else {}
    request = merged(merged(base, read_config(config, FINETUNE) if config else {}), flags)
    ref = request.pop("model", None)
    if not ref:
        raise WrongUse("finetune needs a model.", hint="For example: bedplate finetune REF --task TASK …")
    for needed in ("task", "train", "output"):
        if not request.get(needed):
            raise WrongUse(f"finetune needs {needed}.", hint=f"Add --{needed}, or write it in --config.")
    ws = connect(home, url)
    if dry_run:
        _show_plan(ws.plan_finetune(ref, **request), format)
        return
    job = follow(ws.finetune(ref, **request), detach=detach, format=format)
    if not detach:
        show_result(job.result, str(request["task"]), format)


def show_result(result: dict[str, Any], task: str, format: Format) -> None:
    """What a fine-tune came to: all of it as JSON; or the figures that matter most, and where the others are."""
    if format is Format.json:
        show(result, format)
        return
    show(_finetuned(result, task), format)
    if result["evaluation"]:
        say(f"See it: bedplate evaluations show {result['evaluation']}")


def _request_of_job(ws: Any, job_id: str) -> dict[str, Any]:
    from bedplate.finetune_requests import request_of

    return request_of(ws.jobs.get(job_id).data)


def _show_plan(spec: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(spec, format)
        return
    show({key: spec[key] for key in ("model", "task", "rows", "columns", "output", "device", "processes")}, format)
    print()
    values, sources = spec["forecast"]["values"], spec["forecast"]["sources"]
    rows = [{"setting": name, "value": value, "from": sources[name]} for name, value in values.items()]
    show(rows, format, columns=("setting", "value", "from"))


def _finetuned(result: dict[str, Any], task: str) -> dict[str, Any]:
    """The metrics that matter most, and the first of them of the baselines."""
    metrics = result["test_metrics"] or result["metrics"]
    names = [name for name in HEADLINES.get(task, tuple(metrics)[:2]) if name in metrics]
    figures = {f"test {name}": metrics[name] for name in names}
    known = result["baselines"] or {}
    baselines = {f"{kind} {name}": each[name] for name in names[:1] for kind, each in known.items() if name in each}
    return {"model": result["model"], **figures, **baselines, "steps": result["steps"], "seconds": result["seconds"]}
