"""`bedplate finetune`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    HomeOption,
    MapOption,
    NeedOption,
    PriorityOption,
    SetOption,
    UrlOption,
    WrongUse,
    connect,
    follow,
    pairs,
    parse_needs,
    parse_values,
    show,
)

__all__ = ["finetune"]

# What is shown of the metrics of a fine-tune, the one that matters most first.
HEADLINES = {
    "text-classification": ("accuracy", "f1_score_macro"),
    "token-classification": ("f1_score_micro", "accuracy"),
    "question-answering": ("f1_score", "exact_match"),
    "summarization": ("rougeL", "rouge1"),
    "translation": ("bleu", "chrf"),
}


def finetune(
    model: Annotated[str, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")],
    task: Annotated[str | None, typer.Option("--task", help="The task to learn.")] = None,
    train: Annotated[str | None, typer.Option("--train", help="A file or dataset.")] = None,
    validation: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    test: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    map: MapOption = None,
    config: Annotated[Path | None, typer.Option(help="A flat YAML file; flags override it.")] = None,
    set: SetOption = None,
    output: Annotated[str | None, typer.Option("--output", help="The name to register the result under.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    processes: Annotated[int | None, typer.Option("--processes", "--gpus", help="Processes, one a GPU.")] = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve and check, start nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Fine-tune a model on data and register the result, with a report on its test rows."""
    flags: dict[str, Any] = {"task": task, "train": train, "validation": validation, "test": test}
    flags |= {"output": output, "device": device, "processes": processes, "priority": priority}
    request = _config(config) | {k: v for k, v in flags.items() if v is not None}
    request["needs"] = {**(request.get("needs") or {}), **(parse_needs(need) or {})}
    request["columns"] = {**request.get("columns", {}), **pairs(map or (), "--map")}
    request["settings"] = {**request.get("settings", {}), **parse_values(pairs(set or (), "--set"))}
    for needed in ("task", "train", "output"):
        if not request.get(needed):
            raise WrongUse(f"finetune needs {needed}.", hint=f"Add --{needed}, or write it in --config.")
    ws = connect(home, url)
    if dry_run:
        _show_plan(ws.plan_finetune(model, **request), format)
        return
    job = follow(ws.finetune(model, **request), detach=detach, format=format)
    if not detach:
        show(_finetuned(job.result, str(request["task"])) if format is Format.table else job.result, format)


def _config(path: Path | None) -> dict[str, Any]:
    """The file of --config as a request; whatever is no flag's name is a setting, which the server knows or refuses."""
    from bedplate.cli.config import read_config

    return read_config(path) if path is not None else {}


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
