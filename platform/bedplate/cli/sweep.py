"""`bedplate sweep …`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.output import (
    DetachOption,
    Format,
    FormatOption,
    HomeOption,
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
    say,
    show,
)

__all__ = ["sweep"]

PLANNED = ("model", "task", "rows", "columns", "settings", "output", "device", "processes", "metric", "parallel")


def sweep(
    model: Annotated[str, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")],
    task: Annotated[str, typer.Option("--task", help="The task to learn.")],
    train: Annotated[str, typer.Option("--train", help="A file or dataset.")],
    output: Annotated[str, typer.Option("--output", help="The name to register the best model under.")],
    search: Annotated[
        list[str], typer.Option("--search", help="setting=value,value,… once for each setting to search over.")
    ],
    validation: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    test: Annotated[str | None, typer.Option(help="auto, a file or a dataset.")] = None,
    map: Annotated[list[str] | None, typer.Option("--map", help="key=column, once for each key of the task.")] = None,
    set: SetOption = None,
    method: Annotated[str, typer.Option(help="grid: every combination in turn; random: some of them.")] = "grid",
    trials: Annotated[int | None, typer.Option(help="Trials at most; the whole grid, up to 20.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which ones random tries.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Trials at the same time: 2 unless given.")] = None,
    metric: Annotated[str | None, typer.Option(help="What trials are compared by, on validation rows.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    processes: Annotated[int | None, typer.Option("--processes", "--gpus", help="Processes of each trial.")] = None,
    priority: PriorityOption = None,
    need: NeedOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve and check, start nothing.")] = False,
    detach: DetachOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Fine-tune over combinations of settings and register the best model, chosen on validation rows."""
    given: dict[str, Any] = {"validation": validation, "test": test, "method": method, "trials": trials, "seed": seed}
    given |= {"parallel": parallel, "metric": metric, "device": device, "processes": processes}
    given |= {"priority": priority, "needs": parse_needs(need)}
    request = {name: value for name, value in given.items() if value is not None}
    request |= {"task": task, "train": train, "output": output, "search": _values(search)}
    request |= {"columns": pairs(map or (), "--map"), "settings": parse_values(pairs(set or (), "--set"))}
    ws = connect(home, url)
    if dry_run:
        _show_plan(ws.plan_sweep(model, **request), format)
        return
    job = follow(ws.sweep(model, **request), detach=detach, format=format)
    if not detach:
        _show_result(job.result, format)


def _values(given: list[str]) -> dict[str, list[Any]]:
    """`--search name=value,value` as lists of values. Raises WrongUse."""
    found = pairs(given, "--search")
    if len(found) < len(given):
        raise WrongUse("--search names one setting twice.", hint="Write all its values in one: name=value,value.")
    return {name: [parse_values({name: value})[name] for value in text.split(",")] for name, text in found.items()}


def _show_plan(plan: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(plan, format)
        return
    show({name: plan[name] for name in PLANNED}, format)
    print()
    trials = [{"trial": number, **settings} for number, settings in enumerate(plan["trials"], 1)]
    show(trials, format, columns=tuple(trials[0]))


def _show_result(result: dict[str, Any], format: Format) -> None:
    if format is Format.json:
        show(result, format)
        return
    metric, best = result["metric"], result["best"]
    rows = [
        {**trial, **trial["settings"], metric: trial["metric"], "error": (trial["error"] or {}).get("message", "")}
        for trial in result["trials"]
    ]
    show(rows, format, columns=("trial", "job", "state", *best["settings"], metric, "seconds", "error"))
    say(f"Trial {best['trial']} is the best by {metric} and was registered as {result['model']}.")
    if result["test_metrics"]:
        say(f"Its test {metric}: {result['test_metrics'].get(metric, 'not computed')}")
